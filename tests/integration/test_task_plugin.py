"""A task from a plugin file, the one of docs/extending.md: no line of src/ knows it, and everything works on it."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.integration.test_plugins import documented

from cards import check_card
from helpers import WORDS, Finished, warm_cli, write_jsonl

PLUGIN = ("--plugin", "spelling.py")


def misspelled(n: int, seed: int = 0) -> list[dict[str, str]]:
    """Four words each; every other long one lacks its first letter."""
    draw, rows = random.Random(seed), []
    for index in range(n):
        words = draw.choices(WORDS, k=4)
        written = [word[1:] if len(word) > 3 and draw.random() < 0.5 else word for word in words]
        rows.append({"id": f"{seed}-{index}", "written": " ".join(written), "correct": " ".join(words)})
    return rows


@pytest.fixture
def place(tmp_path: Path) -> Path:
    documented("spelling.py", tmp_path)
    write_jsonl(tmp_path / "train.jsonl", misspelled(24))
    write_jsonl(tmp_path / "held.jsonl", misspelled(6, 1))
    return tmp_path


def train(place: Path, base: Path, *more: str, run: str = "run") -> Finished:
    return warm_cli("train", *PLUGIN, "task=spelling", f"model.path={base}", "data=files", "data.train=train.jsonl",
                    "data.validation=held.jsonl", "data.test=held.jsonl", f"data.cache_dir={place / 'cache'}",
                    "data.max_source_tokens=32", "head.layers=1", "trainer.batch_size=8", "trainer.max_steps=4",
                    "trainer.eval_every=2", "model.dropout=0.1", "generation.max_new_tokens=6",
                    "eval.bootstrap_samples=50", f"run.name={run}", *more, cwd=place)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def characters(rows: list[dict[str, Any]]) -> float:
    """Errors for 100 characters of the lines of a predictions.jsonl, by their sums."""
    return 100 * sum(row["edits"] for row in rows) / sum(row["characters"] for row in rows)


def test_the_documented_task_trains_resumes_and_scores(place: Path, tiny_base: Path) -> None:
    whole = train(place, tiny_base, run="whole")
    assert whole.returncode == 0, whole.stderr
    folder = place / "runs/whole"
    results, rows = read(folder / "results.json"), rows_of(folder / "predictions.jsonl")
    assert (results["task"], results["config"]["trainer"]["best_metric"]) == ("spelling", "exact_match")
    for scores in (*results["metrics"].values(), results["baselines"]["copy"]):
        assert list(scores) == ["exact_match", "cer"]
        assert all(score["low"] <= score["value"] <= score["high"] for score in scores.values())
    assert results["metrics"]["test"]["cer"]["value"] == pytest.approx(characters(rows))
    assert check_card(folder, place).data.tags[:2] == ["llmtrain", "spelling"]
    missing = sum(len(row["correct"]) - len(row["written"]) for row in misspelled(6, 1))
    letters = sum(len(row["correct"]) for row in misspelled(6, 1))
    assert results["baselines"]["copy"]["cer"]["value"] == pytest.approx(100 * missing / letters)
    assert "character errors" in whole.stdout and "the text as it is" in whole.stdout
    assert re.search(r"validation at step 4: .*correction \d.*  exact match \d.*, character errors \d", whole.stdout)
    log = rows_of(folder / "metrics.jsonl")
    assert all(row["loss.correction"] > 0 for row in log) and not any("loss.summary" in row for row in log)
    assert {"exact_match", "cer"} <= log[0].keys()

    stopped = place / "runs/stopped"
    shutil.copytree(folder, stopped)
    shutil.rmtree(stopped / "checkpoints/step-4")
    (stopped / "results.json").unlink()
    again = train(place, tiny_base, run="stopped")
    assert again.returncode == 0 and "going on from step 2" in again.stdout, again.stderr
    first, second = (load_file(run / "checkpoints/step-4/model/model.safetensors") for run in (folder, stopped))
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    assert read(stopped / "results.json")["metrics"] == results["metrics"]

    scored = warm_cli("eval", *PLUGIN, "checkpoint=runs/whole", "eval.output=scored", cwd=place)
    assert scored.returncode == 0, scored.stderr
    assert read(place / "scored/results.json")["metrics"]["test"] == results["metrics"]["test"]
    least = train(place, tiny_base, "trainer.best_metric=cer", run="least")
    assert least.returncode == 0, least.stderr
    told = [row["cer"] for row in rows_of(place / "runs/least/metrics.jsonl") if row["split"] == "validation"]
    assert read(place / "runs/least/checkpoints/best")["value"] == min(told)


def test_every_command_takes_a_model_of_such_a_task(place: Path, tiny_base: Path) -> None:
    made = train(place, tiny_base)
    assert made.returncode == 0, made.stderr
    whole = warm_cli("verify", *PLUGIN, "runs/run", cwd=place)
    assert whole.returncode == 0 and "good for resume, run.extend_from, eval, predict, model.init_from" in whole.stdout
    shown = warm_cli("data", "show", *PLUGIN, "checkpoint=runs/run", "show.rows=1", cwd=place)
    assert shown.returncode == 0, shown.stderr
    assert "written tokens" in shown.stdout and "data.max_correct_tokens=48" in shown.stdout
    assert re.search(r"^written: +\w.*^correct: +\w", shown.stdout, re.M | re.S)
    for command in (("summarize",), ("predict",), ("eval",)):
        without = warm_cli(*command, "checkpoint=runs/run", cwd=place)
        assert (without.returncode, without.stderr.count("\n")) == (2, 1), without.stderr
        assert "the task 'spelling'" in without.stderr and "add --plugin spelling.py" in without.stderr
    wrong = warm_cli("summarize", *PLUGIN, "checkpoint=runs/run", cwd=place)
    assert wrong.returncode == 2 and "task=spelling and writes no summaries; use llmtrain predict" in wrong.stderr
    assert not wrong.stdout


def test_predictions_are_scored_without_a_model(place: Path) -> None:
    write_jsonl(place / "own.jsonl", [{"id": row["id"], "fixed": row["correct"] + "s"} for row in misspelled(6, 1)])
    scored = warm_cli("eval", *PLUGIN, "task=spelling", "data=files", "data.test=held.jsonl", "predictions=own.jsonl",
                      "eval.prediction=fixed", "eval.output=scored", cwd=place)
    assert scored.returncode == 0, scored.stderr
    scores = read(place / "scored/results.json")["metrics"]["test"]
    assert scores["exact_match"]["value"] == 0
    assert scores["cer"]["value"] == pytest.approx(characters(rows_of(place / "scored/predictions.jsonl"))) == (
        pytest.approx(100 * 6 / sum(len(row["correct"]) for row in misspelled(6, 1))))
    itself = warm_cli("eval", *PLUGIN, "task=spelling", "data=files", "data.test=held.jsonl", "predictions=held.jsonl",
                      "eval.prediction=correct", cwd=place)
    assert itself.returncode == 0 and "eval.prediction=correct is also data.correct=correct" in itself.stderr


def test_paired_text_has_the_columns_of_the_task(place: Path) -> None:
    (place / "held.txt").write_text("".join(f"{row['written']}\t{row['correct']}\n" for row in misspelled(3, 1)))
    (place / "own.txt").write_text("a\nb\nc\n")
    scored = warm_cli("eval", *PLUGIN, "task=spelling", "data=files", "data.test=held.txt", "predictions=own.txt",
                      cwd=place)
    assert scored.returncode == 0, scored.stderr


@pytest.mark.parametrize(("overrides", "told"), [
    (("task=spelling", "data.document=text"), "data.document is a key of task=summarization and task is spelling"),
    (("data.written=text",), "data.written is a key of task=spelling and task is summarization"),
    (("task=spelling", "eval.lead=3"), "eval.lead is a key of task=summarization and task is spelling"),
    (("task=spelling", "data.corect=text"), "unknown key data.corect; did you mean data.correct?"),
    (("task=speling",), "speling; did you mean"),
    (("task=spelling", "trainer.best_metric=rouge1"), "choose from exact_match, cer, loss.total"),
    (("task=spelling", "data.max_correct_tokens=0"), "data.max_correct_tokens=0 must be more than 0")])
def test_what_another_task_has_is_refused_by_name(place: Path, overrides: tuple[str, ...], told: str) -> None:
    refused = warm_cli("train", *PLUGIN, *overrides, "trainer.max_steps=1", cwd=place)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert told in refused.stderr


def test_it_is_listed_and_its_keys_are_shown(place: Path) -> None:
    listed = warm_cli("list", "tasks", "architectures", *PLUGIN, cwd=place).stdout
    assert re.search(r"^  spelling +a text without its spelling mistakes \(from spelling.py\)$", listed, re.M)
    assert re.search(r"^  summarization +a document's summary", listed, re.M) and "seq2seq" in listed
    keys = warm_cli("config", *PLUGIN, "task=spelling", cwd=place).stdout
    assert "data.correct: correct  # column of the text without mistakes" in keys
    assert "data.document" not in keys and "eval.language" not in keys
    assert "data.correct" not in warm_cli("config", *PLUGIN, cwd=place).stdout


def test_its_head_is_chosen_where_none_is_named(place: Path) -> None:
    file = place / "spelling.py"
    file.write_text(file.read_text().replace('head="transformer"', 'head="gru"'))

    def head(*overrides: str) -> str:
        told = warm_cli("config", *PLUGIN, *overrides, cwd=place)
        assert told.returncode == 0, told.stderr
        return re.search(r"^head.name: (\w+)", told.stdout, re.M)[1]  # type: ignore[index]

    assert [head(), head("task=spelling")] == ["transformer", "gru"]
    assert head("task=spelling", "head=lstm") == "lstm"
    assert head("task=spelling", "+experiment=bert_ext_bf16") == "extractive"


@pytest.mark.parametrize(("old", "new", "told"), [
    ('"spelling", SpellingConfig, Spelling', '"summarization", SpellingConfig, Spelling', "must know their name"),
    ('term="correction",', "", "registered without term; add term=... to its register line"),
    ("data=SpellingData, eval=EvalConfig,", "", "without data and eval; add data=..., eval=... to its"),
    ('correct: str = key("correct"', 'summary: int = key(3',
     "task 'spelling' has a key data.summary of another type or default than task 'summarization'"),
    ("    def columns(self):", "    def named(self):",
     "SpellingData, the data of task 'spelling', does not say columns; derive it from DataConfig"),
    ('    target_limit: ClassVar[str] = "data.max_correct_tokens"\n', "", "does not say target_limit"),
    ('metrics=("exact_match", "cer")', 'metrics=("cer", "exact_match")',
     "is registered with the metrics cer, exact_match and its class has exact_match, cer"),
    ("    def scorer(self, config, examples):\n        return Characters()\n", "",
     "task 'spelling' of spelling.py cannot be made"),
    ('"characters": float(len(example.target))', '"letters": float(len(example.target))',
     "the metric cer is made of edits, characters and the task's scorer gives no characters")])
def test_a_task_that_is_wrongly_made_is_one_line(place: Path, old: str, new: str, told: str) -> None:
    file = place / "spelling.py"
    assert file.read_text().count(old) == 1
    file.write_text(file.read_text().replace(old, new))
    (place / "own.txt").write_text("a\n" * 6)
    refused = warm_cli("eval", *PLUGIN, "task=spelling", "data=files", "data.test=held.jsonl", "predictions=own.txt",
                       cwd=place)
    assert refused.returncode == 2, refused.stderr
    assert told in refused.stderr and "Traceback" not in refused.stderr


def test_a_task_that_is_registered_twice_is_one_line(place: Path) -> None:
    shutil.copy(place / "spelling.py", place / "other.py")
    twice = warm_cli("list", "tasks", *PLUGIN, "--plugin", "other.py", cwd=place)
    assert (twice.returncode, twice.stderr.count("\n")) == (2, 1), twice.stderr
    assert "task 'spelling' is registered twice" in twice.stderr and "rename one of them" in twice.stderr
