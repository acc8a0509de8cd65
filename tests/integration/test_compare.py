"""``llmtrain compare`` and ``eval.precisions``: of every task, of runs of several seeds, of one among several tasks."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tests.docs.pages import Page

import several
from helpers import Finished, warm_cli, write_jsonl
from several import read, rows_of
from task_rows import ROWS

PAGE = Page("docs/compare.md")
DATA = "data: {train: labels.jsonl, validation: held.jsonl, test: held.jsonl}"
TASKS = f"task.tasks=[{{task: classification, name: one, {DATA}}}, {{task: classification, name: two, {DATA}}}]"


def gold_of(row: dict[str, Any]) -> str:
    answers = row.get("answers")
    return answers[0]["text"] if answers else "" if answers == [] else str(
        row.get("summary") or row.get("target") or row.get("label"))


@pytest.mark.parametrize("task", ROWS)
def test_files_of_every_task_are_scored_and_compared(task: str, tmp_path: Path) -> None:
    rows = ROWS[task](40, 3)
    write_jsonl(tmp_path / "rows.jsonl", rows)
    right = [gold_of(row) for row in rows]
    wrong = [*random.Random(0).sample(right, 10), *right[10:]]
    for name, texts in (("right", right), ("wrong", wrong)):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"id": row["id"], "prediction": text} for row, text in
                                                 zip(rows, texts, strict=True)])
    options = (f"task={task}", "data=files", "data.test=rows.jsonl")
    done = warm_cli("compare", "right.jsonl", "b=wrong.jsonl", "same=right.jsonl", *options, "compare.samples=300",
                    "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [side["label"] for side in found["sides"]] == ["right.jsonl", "b", "same"] and found["rows"] == 40
    assert found["metrics"] and found["task"] == task
    for name, metric in found["metrics"].items():
        if name != "ece":
            assert metric["sides"]["right.jsonl"]["value"] == pytest.approx(100)
            assert metric["differences"]["b"]["value"] < 0
        same = metric["differences"]["same"]
        assert (same["value"], same["low"], same["high"], same["p"], same["paired_seeds"]) == (0, 0, 0, 1, None)
    assert found["changed"]["same"]["differ"] == 0 < found["changed"]["b"]["differ"] <= 10
    shown = warm_cli("compare", "right.jsonl", "b=wrong.jsonl", *options, "compare.samples=300", "compare.rows=1",
                     cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    first = found["changed"]["b"]["rows"][0]
    assert f"    row:        {first['id']}" in shown.stdout and "b against right.jsonl:" in shown.stdout


@pytest.fixture(scope="module")
def place(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds that learn, two that hardly do, and a run of two tasks."""
    folder = tmp_path_factory.mktemp("compared")
    write_jsonl(folder / "labels.jsonl", ROWS["classification"](60, 0))
    write_jsonl(folder / "held.jsonl", ROWS["classification"](30, 1))
    for name, rate in (("joint", "1e-2"), ("alone", "1e-6")):
        for seed in (0, 1):
            done = train(tiny_base, folder, f"run.name={name}-{seed}", f"run.seed={seed}", f"optim.head_lr={rate}")
            assert done.returncode == 0, done.stderr
    done = several.train(tiny_base, folder, "run.name=both", "data=files", tasks=TASKS)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("command", PAGE.commands)
def test_a_command_of_the_page_runs(command: str, place: Path) -> None:
    rows = ROWS["classification"](30, 1)
    write_jsonl(place / "test.jsonl", rows)
    write_jsonl(place / "predictions.jsonl", [{"id": row["id"], "prediction": row["label"]} for row in rows])
    for name in ("one", "two"):
        (place / f"{name}.txt").write_text("high\n" * len(rows), encoding="utf-8")
    done = PAGE.run(command, place, [])
    assert done.returncode == 0, done.stderr


def train(base: Path, folder: Path, *more: str) -> Finished:
    return warm_cli("train", "task=classification", f"model.path={base}", "data=files", "data.train=labels.jsonl",
                    "data.validation=held.jsonl", "data.test=held.jsonl", f"data.cache_dir={folder / 'cache'}",
                    "data.max_source_tokens=32", "trainer.batch_size=20", "trainer.max_steps=12",
                    "trainer.eval_every=12", "schedule.warmup_steps=1", "eval.bootstrap_samples=5", *more, cwd=folder)


def compared(place: Path, *words: str) -> dict[str, Any]:
    done = warm_cli("compare", *words, "compare.samples=300", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_runs_of_several_seeds_are_compared_under_one_label(place: Path) -> None:
    found = compared(place, "alone=runs/alone-*", "joint=runs/joint-*", "compare.metrics=[accuracy,mcc]")
    assert [(side["label"], side["seeds"]) for side in found["sides"]] == [("alone", [0, 1]), ("joint", [0, 1])]
    assert list(found["metrics"]) == ["accuracy", "mcc"]
    difference = found["metrics"]["accuracy"]["differences"]["joint"]
    values = [read(place / f"runs/{name}-{seed}/results.json")["metrics"]["test"]["accuracy"]["value"]
              for name in ("alone", "joint") for seed in (0, 1)]
    assert found["metrics"]["accuracy"]["sides"]["alone"]["by_seed"] == pytest.approx(values[:2])
    assert difference["value"] == pytest.approx((sum(values[2:]) - sum(values[:2])) / 2)
    assert difference["paired_seeds"] is True and difference["low"] <= difference["value"] <= difference["high"]
    shown = warm_cli("compare", "alone=runs/alone-*", "runs/joint-0", "compare.samples=300", cwd=place)
    assert "alone (2 seeds)" in shown.stdout and "joint-0 against alone:" in shown.stdout
    assert "the other is one model, so another training of it could differ by more" in shown.stdout


def test_runs_of_one_label_that_are_of_several_configurations_are_told(place: Path) -> None:
    done = warm_cli("compare", "runs/alone-1", "others=runs/*-0", "compare.samples=100", "compare.rows=0", cwd=place)
    assert done.returncode == 0
    assert done.stderr == ("llmtrain: the runs of others differ in more than their seed (optim.head_lr); see that they "
                           "are of one configuration\n")


def test_predictions_are_scored_on_the_rows_of_the_run_beside_them(place: Path) -> None:
    rows = rows_of(place / "held.jsonl")
    write_jsonl(place / "theirs.jsonl", [{"id": row["id"], "prediction": row["label"]} for row in rows])
    found = compared(place, "runs/alone-0", "theirs.jsonl")
    assert found["metrics"]["accuracy"]["sides"]["theirs.jsonl"]["value"] == 100
    assert "ece" not in found["metrics"]  # theirs tell no probability
    same = compared(place, "runs/alone-0", "again=runs/alone-0/predictions.jsonl")
    assert same["changed"]["again"]["differ"] == 0


def test_one_of_several_tasks_is_compared_by_its_name(place: Path) -> None:
    write_jsonl(place / "theirs.jsonl", [{"id": row["id"], "prediction": row["label"]} for row in
                                         rows_of(place / "held.jsonl")])
    found = compared(place, "runs/both", "runs/alone-0", "theirs.jsonl", "task=two")
    assert found["task"] == "classification" and found["rows"] == 30
    refused = warm_cli("compare", "runs/both", "runs/alone-0", cwd=place)
    assert refused.returncode == 2
    assert refused.stderr == "llmtrain: several tasks in the results at runs/both; name one of one, two, task=NAME\n"


@pytest.mark.parametrize(("words", "told"), [
    (("runs/alone-0",), "compare needs two or more runs"),
    (("runs/alone-0", "runs/none"), "no run, folder or file at runs/none; name a run folder"),
    (("runs/alone-0", "runs/alone-1/checkpoints/best"), "no scored predictions at runs/alone-1/checkpoints/best; let"),
    (("a=runs/alone-0", "a=runs/alone-1"), "two sides are called 'a'; give each a label of its own"),
    (("runs/alone-0", "runs/alone-1", "compare.row=3"), "unknown key compare.row; did you mean compare.rows?"),
    (("runs/alone-0", "runs/alone-1", "comprae.rows=3"), "unknown key comprae.rows; did you mean compare.rows?"),
    (("runs/alone-0", "runs/alone-1", "compare.metrics=[acc]"), "compare.metrics names 'acc', which classification"),
    (("held.jsonl", "labels.jsonl"), "nothing says which rows the predictions at held.jsonl are of; name them"),
    (("runs/alone-0", "few.jsonl", "data.test=few.jsonl", "eval.prediction=label"),
     "no row of id '1-3', '1-4', '1-5' ... (27 of 30) at few.jsonl, which runs/alone-0 has; compare predictions")])
def test_what_cannot_be_compared_is_told_in_one_line(place: Path, words: tuple[str, ...], told: str) -> None:
    write_jsonl(place / "few.jsonl", rows_of(place / "held.jsonl")[:3])
    done = warm_cli("compare", *words, cwd=place)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"llmtrain: {told}") and done.stderr.count("\n") == 1


def test_a_checkpoint_is_decoded_in_each_precision(place: Path) -> None:
    done = warm_cli("eval", "checkpoint=runs/joint-0", "eval.precisions=[fp32,bf16,fp16]", "eval.output=audit",
                    "eval.bootstrap_samples=100", cwd=place)
    assert done.returncode == 0, done.stderr
    results = read(place / "audit/results.json")
    found = results["precisions"]
    assert found["first"] == "fp32" and results["precision"]["effective"] == "float32"
    assert {name: one["effective"] for name, one in found["decoded"].items()} == {
        "fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
    first = rows_of(place / "audit/predictions.jsonl")
    for name in ("bf16", "fp16"):
        other, told = rows_of(place / f"audit/{name}/predictions.jsonl"), found["decoded"][name]
        changed = [one["id"] for one, two in zip(first, other, strict=True) if one["prediction"] != two["prediction"]]
        assert [one["id"] for one in told["changes"]] == changed and told["changed"] == len(changed)
        assert told["rows_per_second"] > 0 and f"{name} against fp32: " in done.stdout
        assert read(place / f"audit/{name}/results.json")["precision"]["requested"] == name
        difference = found["comparison"]["metrics"]["accuracy"]["differences"][name]
        assert difference["value"] == pytest.approx(
            sum(two["accuracy"] - one["accuracy"] for one, two in zip(first, other, strict=True)) / len(first))
    assert compared(place, "audit", "audit/bf16")["metrics"]["accuracy"]["differences"]["bf16"]["value"] == (
        found["comparison"]["metrics"]["accuracy"]["differences"]["bf16"]["value"])


@pytest.mark.parametrize(("words", "told"), [
    (("eval", "predictions=held.jsonl", "task=classification", "data=files", "data.test=held.jsonl",
      "eval.precisions=[fp32,bf16]"), "eval.precisions decodes a checkpoint in each of them, and nothing is decoded"),
    (("eval", "checkpoint=runs/joint-0", "eval.precisions=[fp32]"), "eval.precisions compares two or more different"),
    (("eval", "checkpoint=runs/joint-0", "eval.precisions=[fp32,fp8]"), "eval.precisions has an entry that does not"),
    (("train", "task=classification", "eval.precisions=[fp32,bf16]"), "eval.precisions is for `llmtrain eval")])
def test_precisions_that_cannot_be_compared_are_refused(place: Path, words: tuple[str, ...], told: str) -> None:
    done = warm_cli(*words, cwd=place)
    assert done.returncode == 2 and done.stderr.startswith(f"llmtrain: {told}") and done.stderr.count("\n") == 1
