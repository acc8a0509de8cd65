"""``llmtrain demo`` as programs meet it: answers of every task, limits, refusals, a clean end."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.demo.conftest import HOSTILE, Client, served

from helpers import environment, pairs, warm_cli
from task_rows import ROWS
from warm.libraries import python

SHUT = ("checkpoint=runs/one", "demo.queue=12", "demo.batch=4", "demo.wait_ms=20", "demo.timeout_seconds=30",
        "demo.max_characters=2000")
COLUMNS = {"summarization": ("document",), "translation": ("source",), "classification": ("text",),
           "question_answering": ("context", "question")}


@pytest.fixture(scope="module")
def small(trained: Path) -> Iterator[Client]:
    """A server of one model with small limits."""
    with served(trained, *SHUT) as made:
        yield made


def asked_of(task: str, count: int, seed: int) -> list[dict[str, str]]:
    return [{name: row[name] for name in COLUMNS[task]} for row in ROWS[task](count, seed)]


def predicted(folder: Path, run: str, rows: list[Any], *more: str) -> list[str]:
    """The lines that ``llmtrain predict`` writes for rows, each alone."""
    path = folder / f"asked-{run}-{len(rows)}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = warm_cli("predict", f"checkpoint=runs/{run}", f"input={path.name}", "predict.format=jsonl",
                    "predict.batch=1", *more, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def exact(answer: dict[str, Any]) -> str:
    """An answer without the numbers that depend, in their last digits, on what it was computed beside."""
    return json.dumps({name: value for name, value in answer.items() if not isinstance(value, float)}
                      if "copied" not in answer else
                      {"prediction": answer["prediction"], "copied": [word["text"] for word in answer["copied"]]})


def test_answers_are_those_of_predict_for_every_task(client: Client, trained: Path) -> None:
    for task in COLUMNS:
        rows = asked_of(task, 3, 5)
        lines = predicted(trained, "every", rows, f"task={task}")
        for row, line in zip(rows, lines, strict=True):
            (found,) = client.predict(rows=[row], model=f"every/{task}")["models"]
            assert json.dumps(found["answers"][0], ensure_ascii=False) == line, "byte for byte"
            assert (found["name"], found["task"], found["cut"]) == (f"every/{task}", task, [])


def test_models_that_read_the_same_answer_side_by_side(client: Client, trained: Path) -> None:
    rows = [{"document": row["document"]} for row in pairs(2, 4)]
    found = client.predict(rows=rows, task="summarization", evidence=True)["models"]
    assert [one["name"] for one in found] == ["one", "two", "every/summarization"]
    for run, one in zip(("one", "two"), found, strict=False):
        assert [made["prediction"] for made in one["answers"]] == [
            json.loads(line)["prediction"] for line in predicted(trained, run, rows)]
        assert [shown["inputs"] for shown in one["evidence"]] == rows
        assert all(mark["where"] == "document" for shown in one["evidence"] for mark in shown["marks"])
    texts = client.predict(rows=[row["document"] for row in rows], task="summarization")["models"]
    assert [[made["prediction"] for made in one["answers"]] for one in texts] == [
        [made["prediction"] for made in one["answers"]] for one in found]
    told = json.loads(client.ask("/models")[1])
    assert [(form["name"], form["fields"]) for form in told["forms"]] == [
        (task, list(columns)) for task, columns in COLUMNS.items()]
    examples = told["forms"][0]["examples"]
    assert {"inputs": {"document": HOSTILE}, "reference": HOSTILE[:40]} in examples
    assert all(set(one["inputs"]) == set(form["fields"]) for form in told["forms"] for one in form["examples"])
    assert all(form["examples"] for form in told["forms"])


def test_settings_of_a_request_are_of_that_request_alone(client: Client, trained: Path) -> None:
    row = {"document": pairs(1, 6)[0]["document"]}
    for more, wanted in (({"num_beams": 3, "num_return_sequences": 2, "length_penalty": 2.0},
                          ("generation.num_beams=3", "generation.num_return_sequences=2",
                           "generation.length_penalty=2")),
                         ({"max_new_tokens": 2}, ("generation.max_new_tokens=2",)), ({}, ()),
                         ({"do_sample": True, "temperature": 2},
                          ("generation.do_sample=true", "generation.temperature=2"))):
        found = client.predict(rows=[row], model="one", generation=more)["models"][0]["answers"]
        assert json.dumps(found[0], ensure_ascii=False) == predicted(trained, "one", [row], *wanted)[0]
    for settings, problem in (({"num_beam": 2}, "did you mean num_beams"), ({"num_beams": 0}, "num_beams=0"),
                              ({"num_beams": 17}, "the most that this server decodes (demo.max_beams)"),
                              ({"max_new_tokens": 100000}, "demo.max_new_tokens"), ({"num_beams": "x"}, "num_beams"),
                              ({"num_return_sequences": 2}, "greedy decoding has one output"),
                              ({"batch_tokens": 1}, "batch_tokens is a setting of the server")):
        assert problem in client.refused(422, rows=[row], model="one", generation=settings)
    assert "writes nothing" in client.refused(422, rows=["a"], model="every/classification",
                                              generation={"num_beams": 2})


def test_what_cannot_be_asked_is_refused_in_one_line(client: Client) -> None:
    for status, body, problem in (
            (422, {"rows": [{"context": "a tree"}], "task": "question_answering"}, "question"),
            (422, {"rows": ["a tree"], "task": "question_answering"}, "reads data.context and data.question"),
            (422, {"rows": [{"document": 3}], "model": "one"}, "is int, not text"),
            (422, {"rows": ["a"], "model": "three"}, "choose from one, two, every/summarization"),
            (422, {"rows": ["a"], "task": "sorting"}, "choose from summarization, translation"),
            (422, {"rows": ["a"]}, "models of several tasks are served"),
            (422, {"rows": ["\ud83d"], "model": "one"}, "half a character"),
            (422, {"rows": [{"document": "a", "id": "\ud83d"}], "model": "one"}, "half a character"),
            (400, {"rows": []}, "rows"), (400, {"rows": ["a"], "modell": "one"}, "modell"),
            (400, {"rows": [3]}, "rows"),
            (400, {}, "rows"), (413, {"rows": ["a"] * 65, "model": "one"}, "65 rows"),
            (413, {"rows": ["a" * 100_001], "model": "one"}, "demo.max_characters")):
        assert problem in client.refused(status, **body)
    for body in (b"", b"[", b"null", b"[" * 100_000, b'{"rows": ["a"], "n": ' + b"9" * 10_000 + b"}", b"\xff\xfe"):
        status, text, _ = client.ask("/predict", body)
        assert status == 400 and set(json.loads(text)) == {"error"}, (body[:20], text)
    for path in ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/page.css/..", "/demo", "//etc/passwd"):
        status, text, _ = client.ask(path)
        assert status == 404 and set(json.loads(text)) == {"error"}
    assert client.ask("/predict")[0] == 405
    assert client.ask("/models", headers={"Host": "evil.example"})[0] == 403
    (told,) = client.predict(rows=["", {"document": " "}], model="one", evidence=True)["models"]
    assert told["evidence"] == [None, None]


def test_the_api_is_described_and_nothing_is_fetched_from_elsewhere(client: Client) -> None:
    described = json.loads(client.ask("/openapi.json")[1])
    assert set(described["paths"]) == {"/predict", "/models", "/healthz"}
    assert set(described["paths"]["/predict"]["post"]["responses"]) >= {"200", "413", "429", "503", "504"}
    assert json.loads(client.ask("/healthz")[1]) == {
        "status": "ok", "models": ["one", "two", *(f"every/{task}" for task in COLUMNS)], "waiting": 0}
    scripts = ("/demo.js", "/docs.js", "/elements.js", "/theme.js", "/evidence.js", "/word_diff.js")
    for path in ("/", "/docs", "/page.css", "/demo.css", *scripts):
        status, text, headers = client.ask(path)
        assert status == 200 and not re.findall(r"(?:src|href|url\()\s*=?\s*[\"']?(?:https?:)?//", text)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert not [name for name in headers if name.startswith("access-control")]
    for script in scripts:
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", client.ask(script)[1])


def test_64_clients_at_once_are_answered_as_predict_answers_or_told_to_come_again(small: Client, trained: Path) -> None:
    """Each in its own order, alone or beside whatever else was asked; none hangs, and the queue stays bounded."""
    rows = [{"document": row["document"]} for row in pairs(16, 7)]
    wanted = [exact(json.loads(line)) for line in predicted(trained, "one", rows)]
    statuses: list[int] = []
    answers: list[tuple[int, str]] = []
    waiting: list[int] = []
    ended = threading.Event()

    def client(number: int) -> None:
        draw = random.Random(number)
        for _ in range(3):
            which = draw.randrange(len(rows))
            status, text, headers = small.ask("/predict", {"rows": [rows[which]]})
            statuses.append(status)
            if status == 200:
                answers.append((which, exact(json.loads(text)["models"][0]["answers"][0])))
            else:
                assert status in (429, 503) and headers["retry-after"] == "1" and set(json.loads(text)) == {"error"}
                time.sleep(0.05)

    def watch() -> None:
        while not ended.wait(0.02):
            waiting.append(json.loads(small.ask("/healthz")[1])["waiting"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    clients = [threading.Thread(target=client, args=(number,)) for number in range(64)]
    for one in clients:
        one.start()
    for one in clients:
        one.join(120)
    ended.set()
    watcher.join(10)
    assert not any(one.is_alive() for one in clients) and len(statuses) == 3 * 64
    assert 429 in statuses and 200 in statuses
    assert all(found == wanted[which] for which, found in answers)
    assert max(waiting) <= 12
    assert json.loads(small.ask("/healthz")[1])["waiting"] == 0


def test_one_that_takes_too_long_is_given_up_and_the_next_is_answered(trained: Path) -> None:
    with served(trained, "checkpoint=runs/one", "demo.timeout_seconds=0.05", "demo.max_new_tokens=400") as client:
        slow = {"min_new_tokens": 100, "max_new_tokens": 100, "num_beams": 16, "no_repeat_ngram_size": 0}
        begun = time.monotonic()
        told = client.refused(504, rows=["a tree " * 20] * 8, generation=slow)
        assert "not answered within 0.05 seconds (demo.timeout_seconds)" in told and time.monotonic() - begun < 5
        for _ in range(100):  # the pass that runs ends, and nothing of it is left to wait for
            status, _, _ = client.ask("/predict", {"rows": ["a"], "generation": {"max_new_tokens": 1}})
            if status == 200:
                break
        assert status == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_its_exit_code(number: signal.Signals, trained: Path) -> None:
    with served(trained, "checkpoint=runs/one", "demo.max_new_tokens=400") as client:
        slow = {"min_new_tokens": 100, "max_new_tokens": 100, "num_beams": 16, "no_repeat_ngram_size": 0}
        found: list[Any] = []
        asks = threading.Thread(target=lambda: found.append(
            client.ask("/predict", {"rows": ["a tree " * 20] * 30, "generation": slow})))
        asks.start()
        time.sleep(0.3)
        os.kill(client.process.pid, number)
        _, told = client.process.communicate(timeout=20)
        asks.join(10)
        assert client.process.returncode == 128 + number, told
        assert told.count("\n") == 1 and told.startswith(f"llmtrain: stopped by {number.name}; "), told
        assert [(status, text) for status, text, _ in found] == [(503, '{"error": "the server stops"}')]


def test_a_port_in_use_is_told_in_one_line_before_a_model_is_read(small: Client, trained: Path) -> None:
    done = subprocess.run([python(), "-m", "llmtrain", "demo", "checkpoint=runs/one", f"demo.port={small.port}"],
                          cwd=trained, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (f"llmtrain: port {small.port} is in use on this machine; choose another one, --port N "
                           "(demo.port=N; 0: one that is free)\n")


def test_what_cannot_be_served_is_told_in_one_line(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(*arguments: str) -> str:
        done = warm_cli("demo", *arguments, cwd=trained)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    assert "demo needs checkpoint=PATH" in told()
    assert "no checkpoint at runs/none" in told("checkpoint=runs/one", "checkpoint=runs/none")
    assert "has learnt no task 'sorting'" in told("checkpoint=runs/every", "task=sorting")
    assert "did you mean demo.port" in told("checkpoint=runs/one", "demo.prt=1")
    assert "demo.port=70000" in told("checkpoint=runs/one", "--port", "70000")
    assert "--port needs a number, not 'x'" in told("checkpoint=runs/one", "--port", "x")
    monkeypatch.setattr("llmtrain.cli.commands.demo.find_spec", lambda name: None)
    assert told("checkpoint=runs/one") == (
        "llmtrain: llmtrain demo needs fastapi and uvicorn, which are not installed; run: pip install "
        "'llmtrain[demo]'\n")
    shown = warm_cli("demo", "checkpoint=runs/one", "--cfg", "job", cwd=trained)
    assert shown.returncode == 0 and "max_characters: 100000" in shown.stdout
