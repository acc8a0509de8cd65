"""``llmtrain.Summarizer``: what it takes, what it refuses in one clear error, and that it can be copied."""

from __future__ import annotations

import copy
import json
import pickle
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

from helpers import Finished, warm_cli
from llmtrain import Summarizer
from llmtrain.core.errors import CheckpointError, ConfigError, DataError
from llmtrain.tasks.predictor import Predictor

TEXTS = ["list of words", "tree and graph", ""]


@pytest.fixture(scope="module")
def run(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("python")
    (folder / "rows.jsonl").write_text("".join(json.dumps(
        {"document": f"list of words and tree {i}", "summary": "list of words"}) + "\n" for i in range(8)))
    result = warm_cli("train", f"model.path={tiny_base}", "head.layers=1", "data=files", "trainer.max_steps=2",
                      *(f"data.{name}=rows.jsonl" for name in ("train", "validation", "test")), "run.name=run",
                      "trainer.batch_size=4", "generation.max_new_tokens=6", "data.max_source_tokens=32",
                      "eval.bootstrap_samples=5",
                      f"data.cache_dir={folder / 'cache'}", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "runs/run"


@pytest.fixture(scope="module")
def summarize(run: Path) -> Summarizer:
    return Summarizer(run)


def test_one_text_gives_one_summary(summarize: Summarizer) -> None:
    wanted = summarize(TEXTS)
    assert [summarize(text) for text in TEXTS] == wanted
    assert wanted[2] == ""
    assert all(isinstance(one, str) for one in wanted)
    one = summarize.details(TEXTS[0], with_copies=True)
    assert one.text == wanted[0]
    assert one.copied is not None
    assert summarize.details(TEXTS[:1], with_copies=True) == [one]


GIVEN: dict[str, Callable[[list[str]], Any]] = {
    "tuple": tuple, "generator": lambda texts: (text for text in texts), "iterator": iter,
    "dictionary's values": lambda texts: dict(enumerate(texts)).values(), "numpy": np.array,
    "numpy of objects": lambda texts: np.array(texts, dtype=object), "pandas": pd.Series,
    "a pandas column": lambda texts: pd.DataFrame({"text": texts}, index=range(9, 9 + len(texts)))["text"],
    "an index": pd.Index, "a dataset's column": lambda texts: datasets.Dataset.from_dict({"text": texts})["text"],
    "numpy's own str": lambda texts: [np.str_(text) for text in texts],
}


@pytest.mark.parametrize("kind", GIVEN)
def test_whatever_gives_texts_is_taken(kind: str, summarize: Summarizer) -> None:
    assert summarize(GIVEN[kind](TEXTS)) == summarize(TEXTS)
    assert summarize(GIVEN[kind](TEXTS[:1])) == summarize(TEXTS[:1])
    assert summarize([]) == summarize(iter(())) == []
    assert summarize(np.str_(TEXTS[0])) == summarize(TEXTS[0])


@pytest.mark.parametrize(("given", "told"), [
    (None, "what to summarize is None, not a str"), (b"text", r"of type bytes, not a str; decode it"),
    (3, "of type int"), (np.array("a"), "of type ndarray, which cannot be read"),
    ({"a": "text"}, "of type dict, not a list of str; give one column"),
    (pd.DataFrame({"a": ["text"]}), "of type DataFrame, not a list of str; give one column"),
    (["a", None], "text 1 is None, not a str; leave it out"), ([b"a"], r"text 0 is of type bytes.*decode"),
    (["a", "b", 3], "text 2 is of type int"), ([["a"]], "text 0 is of type list, not a str; give one flat list"),
    (pd.Series(["a", np.nan]), "text 1 is nan, not a str"), (np.array([["a"]]), "text 0 is of type ndarray"),
    (datasets.Dataset.from_dict({"t": ["a"]}), "text 0 is of type dict"),
    (["a\ud83d"], "text 0 holds half a character"),
    (torch.zeros(2), "text 0 is of type Tensor"), ("a\ud83d", "the text holds half a character"),
])
def test_what_is_no_text_is_told_with_its_place(given: Any, told: str, summarize: Summarizer) -> None:
    for call in (summarize, summarize.details):
        with pytest.raises(DataError, match=told):
            call(given)


def test_all_that_is_no_text_is_told_at_once(summarize: Summarizer) -> None:
    with pytest.raises(DataError) as raised:
        summarize([None, "a", 3] * 10)  # type: ignore[list-item]
    assert len(raised.value.problems) == 11
    assert raised.value.problems[-1] == "... and 10 more texts like these"


@pytest.mark.parametrize(("given", "told"), [
    ({"num_beams": 0}, ["num_beams=0 must be more than 0; change it"]),
    ({"num_beams": "12"}, ["num_beams='12' is not a whole number; give one"]),
    ({"num_beams": True}, ["num_beams=True is not a whole number; give one"]),
    ({"temperature": float("nan")}, ["temperature=nan is not a finite number; give one"]),
    ({"early_stopping": 1}, ["early_stopping=1 is not true or false or a text; give one"]),
    ({"num_beams": 10**9, "top_p": 2}, ["num_beams=1000000000 must be at most 1000; change it",
                                        "top_p=2 must be from 0 to 1; change it"]),
    ({"min_new_tokens": 7}, ["min_new_tokens=7 is more than max_new_tokens=6; change one of them"]),
    ({"num_return_sequences": 3, "num_beams": 2}, ["num_return_sequences=3 is more than num_beams=2; raise that to 3"]),
    ({"num_beam": 3}, ["unknown argument num_beam; did you mean num_beams?"]),
    ({"precison": "bf16"}, ["unknown argument precison; did you mean precision?"]),
    ({"precision": "bf61", "device": "gpu", "num_beams": 0, "plugins": 3},
     ["num_beams=0 must be more than 0; change it", "precision=bf61 is not one of fp32, fp16, bf16; did you mean bf16?",
      "device=gpu is not one of auto, cpu, cuda; did you mean cpu?",
      "plugins=3 is not a path or a list of paths; give Python files"]),
    ({"plugins": "none.py"}, ["no plugin file at none.py; check --plugin"]),
])
def test_arguments_are_checked_as_on_the_command_line(given: dict[str, Any], told: list[str], run: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        Summarizer(run, **given)
    assert raised.value.problems == told


def test_a_folder_must_be_one(run: Path, tmp_path: Path) -> None:
    for wrong in (None, 3, ""):
        with pytest.raises(ConfigError, match="is not a path; give a run folder"):
            Summarizer(wrong)  # type: ignore[arg-type]
    with pytest.raises((ConfigError, CheckpointError), match="no checkpoint at"):
        Summarizer(tmp_path / "none")


def test_arguments_of_other_libraries_are_taken(run: Path, summarize: Summarizer) -> None:
    made = Summarizer(str(run), device=torch.device("cpu"), num_beams=np.int64(1),  # type: ignore[arg-type]
                      temperature=np.float32(0.5))
    assert made(TEXTS) == summarize(TEXTS)


def test_a_setting_that_does_nothing_is_told_once(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Summarizer(run, temperature=0.5)
    assert capsys.readouterr().err.count("temperature=0.5 does nothing without do_sample=true\n") == 1
    made(TEXTS)
    Summarizer(run, num_beams=2, length_penalty=2)(TEXTS)
    pickle.loads(pickle.dumps(made))
    assert "does nothing" not in capsys.readouterr().err


def test_summaries_longer_than_the_heads_positions_are_warned_of(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Summarizer(run, max_new_tokens=128)
    assert capsys.readouterr().err == ""
    made = Summarizer(run, max_new_tokens=129)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "max_new_tokens=129 is more than the 128 positions of head=transformer" in told
    assert "generation." not in told
    pickle.loads(pickle.dumps(made))
    assert capsys.readouterr().err == ""


def test_several_summaries_a_text(run: Path, summarize: Summarizer) -> None:
    several = Summarizer(run, num_beams=3, num_return_sequences=2)
    one: Any = several(TEXTS[0])
    listed: Any = several(TEXTS)
    assert listed[0] == one
    assert [len(found) for found in listed] == [2, 2, 2]
    assert listed[2] == ["", ""]
    assert [found[0] for found in listed] == Summarizer(run, num_beams=3)(TEXTS)
    assert one[0] != one[1]


def test_a_copy_says_the_same(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    made = Summarizer(run.name, num_beams=2, num_return_sequences=2, early_stopping="never")
    wanted = made(TEXTS)
    kept = pickle.dumps(made)
    assert len(kept) < 5000  # the folder and the settings, no weights
    monkeypatch.chdir(tmp_path)
    twice = pickle.loads(pickle.dumps(pickle.loads(kept)))
    for again in (pickle.loads(kept), copy.deepcopy(made), copy.copy(made), twice):
        assert again(TEXTS) == wanted
        assert again.generation == made.generation
        assert again.generation is not made.generation


def test_a_copy_whose_folder_is_gone_is_told(run: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(run / "checkpoints/step-2/model", tmp_path / "model")
    kept = pickle.dumps(Summarizer(tmp_path / "model"))
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(ConfigError, match="no checkpoint at"):
        pickle.loads(kept)


def test_processes_may_share_the_work(summarize: Summarizer) -> None:
    with get_context("fork").Pool(1) as pool:
        assert pool.map(summarize, TEXTS, chunksize=1) == summarize(TEXTS)


def test_threads_may_share_one(run: Path, summarize: Summarizer) -> None:
    wanted = {name: Summarizer(run, num_beams=beams)(TEXTS) for name, beams in (("one", 1), ("two", 2))}
    sharing = {"one": summarize, "two": copy.copy(summarize)}
    sharing["two"].generation.num_beams = 2
    found: list[bool] = []

    def work(name: str) -> None:
        found.extend(sharing[name](TEXTS) == wanted[name] for _ in range(5))

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 30


def test_calls_of_threads_wait_for_each_other(summarize: Summarizer, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[str] = []
    together: list[int] = []
    work = Predictor._predict

    def watched(*given: Any) -> Any:
        inside.append("one")
        together.append(len(inside))
        time.sleep(0.02)
        try:
            return work(*given)
        finally:
            inside.pop()

    monkeypatch.setattr(Predictor, "_predict", watched)
    threads = [threading.Thread(target=summarize, args=(TEXTS,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [1] * 4


def several_of(run: Path, tmp_path: Path, *more: str) -> Finished:
    result = warm_cli("summarize", f"checkpoint={run}", "generation.num_beams=3", "generation.num_return_sequences=2",
                      *more, cwd=tmp_path, stdin="\n".join(TEXTS) + "\n")
    assert result.returncode == 0, result.stderr
    return result


def test_summarize_writes_several(run: Path, tmp_path: Path) -> None:
    wanted: Any = Summarizer(run, num_beams=3, num_return_sequences=2)(TEXTS)
    assert several_of(run, tmp_path).stdout.split("\n") == [*(text for found in wanted for text in found), ""]
    rows = [json.loads(line) for line in several_of(run, tmp_path, "summarize.format=jsonl").stdout.splitlines()]
    assert [row["summaries"] for row in rows] == wanted
    assert [row["summary"] for row in rows] == [found[0] for found in wanted]
    assert all(len(row["scores"]) == 2 and row["scores"][0] == row["score"] for row in rows)
