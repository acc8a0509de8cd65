"""``llmtrain predict`` and ``llmtrain.load``: rows of any task answered in order, a plugin's too."""

from __future__ import annotations

import copy
import gzip
import json
import pickle
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_plugins import documented
from tests.integration.test_task_plugin import misspelled

import llmtrain
from helpers import Finished, environment, pairs, warm_cli, write_jsonl
from llmtrain.core.errors import ConfigError, DataError
from llmtrain.plugins import using
from warm.libraries import python

SPELLING, MEETING = ("--plugin", "spelling.py"), ("--plugin", "meeting.py")
TWO_COLUMNS = '''
"""A task that reads two columns: what both texts say."""
from dataclasses import dataclass
from llmtrain.config.keys import key
from llmtrain.config.sections.data import DataConfig, RowColumns, RowTexts
from llmtrain.config.sections.eval import EvalConfig
from llmtrain.registry import register
from llmtrain.tasks.metric import Metric
from llmtrain.tasks.task import Scorer
from llmtrain.tasks.text_task import TextTask


@dataclass(kw_only=True, slots=True)
class MeetingConfig:
    name: str = key("meeting", "registered name of the task")


@dataclass(kw_only=True, slots=True)
class MeetingData(DataConfig):
    left: str = key("left", "column of one text")
    right: str = key("right", "column of the other text")
    both: str = key("both", "column of what both say")
    target_limit = "data.max_both"
    max_both: int = key(8, "longest target", "tokens", min=1)

    def columns(self):
        return RowColumns(self.left, self.both, source_key="data.left", target_key="data.both",
                          others={"data.right": self.right}, read=self.texts)

    def texts(self, row, labelled):
        left, right, both = (row.get(name) for name in (self.left, self.right, self.both))
        if not isinstance(left, str) or not isinstance(right, str):
            return f"no text in column {self.right if isinstance(left, str) else self.left!r}"
        if labelled and not isinstance(both, str):
            return f"no text in column {self.both!r}"
        return RowTexts(f"{left} / {right}", both or "", (both,) if both else (), {"right": right})

    @property
    def max_target_tokens(self):
        return self.max_both


class Same(Scorer):
    signature = "the same text"

    def score(self, prediction, example, detail=None):
        return {"same": 100.0 * (prediction == example.target)}


class Meeting(TextTask):
    name, title = "meeting", "same text"
    metrics = (Metric("same", "same"),)

    def scorer(self, config, examples):
        return Same()

    def answer(self, prediction, example):
        return {**super().answer(prediction, example), "right": example.fields["right"] if example.fields else None}


register("task", "meeting", MeetingConfig, Meeting, "what two texts have in common", term="common", head="transformer",
         data=MeetingData, eval=EvalConfig, metrics=("same",))
'''
SMALL = ("data=files", "data.train=train.jsonl", "data.validation=held.jsonl", "data.test=held.jsonl",
         "data.max_source_tokens=24", "head.layers=1", "trainer.batch_size=8", "trainer.max_steps=2",
         "generation.max_new_tokens=4", "eval.bootstrap_samples=5", "run.name=run")


def trained(folder: Path, base: Path, *more: str) -> Path:
    made = warm_cli("train", f"model.path={base}", f"data.cache_dir={folder / 'cache'}", *SMALL, *more, cwd=folder)
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def spelling(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spelling")
    documented("spelling.py", folder)
    write_jsonl(folder / "train.jsonl", misspelled(24))
    write_jsonl(folder / "held.jsonl", misspelled(6, 1))
    return trained(folder, tiny_base, *SPELLING, "task=spelling")


@pytest.fixture(scope="module")
def meeting(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("meeting")
    (folder / "meeting.py").write_text(TWO_COLUMNS)
    for name, count in (("train", 16), ("held", 4)):
        write_jsonl(folder / f"{name}.jsonl", [{"left": row["document"], "right": "a tree", "both": row["summary"]}
                                               for row in pairs(count)])
    return trained(folder, tiny_base, *MEETING, "task=meeting")


@pytest.fixture(scope="module")
def summaries(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("summaries")
    write_jsonl(folder / "train.jsonl", pairs(24))
    write_jsonl(folder / "held.jsonl", pairs(4, 9))
    return trained(folder, tiny_base)


@pytest.fixture
def known(spelling: Path, meeting: Path) -> Iterator[None]:
    with using([str(spelling / "spelling.py"), str(meeting / "meeting.py")]):
        yield


def predict(folder: Path, *more: str, stdin: str = "") -> Finished:
    return warm_cli("predict", "checkpoint=runs/run", *more, cwd=folder, stdin=stdin)


def lines_of(done: Finished) -> list[str]:
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def told(done: Finished) -> str:
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    return done.stderr


def test_lines_and_rows_of_a_plugins_task_are_answered_in_order(spelling: Path) -> None:
    rows = misspelled(5, 3)
    texts = [row["written"] for row in rows]
    asked = [*texts[:2], "", *texts[2:], "  "]
    lines = lines_of(predict(spelling, *SPELLING, stdin="\n".join(asked) + "\n"))
    assert len(lines) == len(asked) and lines[2] == lines[6] == ""
    write_jsonl(spelling / "asked.jsonl", [{"id": f"row {i}", "written": text} for i, text in enumerate(asked)])
    told = [json.loads(line) for line in lines_of(predict(spelling, *SPELLING, "input=asked.jsonl",
                                                          "predict.format=jsonl", "predict.batch=2"))]
    assert [row["prediction"] for row in told] == lines
    assert [row["id"] for row in told] == [f"row {i}" for i in range(len(asked))]
    assert all(row["score"] < 0 and "copied" in row for row in told if row["prediction"])
    assert told[2] == {"id": "row 2", "prediction": "", "score": 0.0}


def test_what_predict_writes_can_be_scored(spelling: Path) -> None:
    done = predict(spelling, *SPELLING, "input=held.jsonl", "predict.format=jsonl")
    (spelling / "own.jsonl").write_text("\n".join(lines_of(done)))
    scored = warm_cli("eval", *SPELLING, "task=spelling", "data=files", "data.test=held.jsonl", "predictions=own.jsonl",
                      "eval.output=scored", cwd=spelling)
    assert scored.returncode == 0, scored.stderr
    found = json.loads((spelling / "scored/results.json").read_text())["metrics"]["test"]
    assert found["cer"]["value"] == json.loads(
        (spelling / "runs/run/results.json").read_text())["metrics"]["test"]["cer"]["value"]


def test_a_line_is_answered_before_the_next_one_comes(spelling: Path) -> None:
    process = subprocess.Popen([python(), "-m", "llmtrain", "predict", *SPELLING, "checkpoint=runs/run"], cwd=spelling,
                               env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    assert process.stdin is not None and process.stdout is not None
    for _ in range(2):
        process.stdin.write("ist of words\n")
        process.stdin.flush()
        assert process.stdout.readline().endswith("\n")
    process.stdin.close()
    assert process.wait(30) == 0


def test_files_of_every_kind_are_read_as_in_training(spelling: Path) -> None:
    texts = ["ist of words", "table graph"]
    (spelling / "lines").write_text("\n".join(texts) + "\n")
    wanted = lines_of(predict(spelling, *SPELLING, stdin="\n".join(texts)))
    packed = gzip.compress("".join(json.dumps({"as_typed": text}) + "\n" for text in texts).encode())
    (spelling / "rows.jsonl.gz").write_bytes(packed)
    (spelling / "rows.csv").write_text("id,Written\n" + "".join(f"{i},{text}\n" for i, text in enumerate(texts)))
    (spelling / "pairs.txt").write_text("".join(f"{text}\tnothing\n" for text in texts))
    for given in (["input=lines"], ["input=rows.jsonl.gz", "data.written=as_typed"], ["input=rows.csv"],
                  ["input=pairs.txt"]):
        assert lines_of(predict(spelling, *SPELLING, *given)) == wanted
    assert "column 'Written' is read as 'written'" in predict(spelling, *SPELLING, "input=rows.csv").stderr
    assert "2 of 2 lines are pairs" in predict(spelling, *SPELLING, "input=pairs.txt").stderr


def test_a_task_of_two_columns_reads_objects(meeting: Path) -> None:
    rows = [{"left": "list of words", "right": "a tree"}, {"left": "", "right": "x"}, {"left": "graph", "right": "b"}]
    stdin = "\n".join([json.dumps(rows[0]), json.dumps(rows[1]), "", json.dumps(rows[2])]) + "\n"
    told = [json.loads(line) for line in lines_of(predict(meeting, *MEETING, "predict.format=jsonl", stdin=stdin))]
    assert [row["right"] for row in told] == ["a tree", None, None, "b"]
    assert [bool(row["prediction"]) for row in told] == [True, False, False, True]


@pytest.mark.parametrize(("line", "problem"), [
    ("list of words", "bad row: a text alone (task=meeting reads data.left and data.right) at line 2; write "
                      '{"left": ..., "right": ...}'),
    ("[1]", "bad row: a text alone (task=meeting reads data.left and data.right) at line 2"),
    ('{"left": "a",', "bad row: not JSON ("),
    ('{"left": "a", "left": "b"}', "the key 'left' stands twice"),
    ('{"left": "a"}', "bad row: no text in column 'right' at line 2; mend it, or name the column by data.right"),
    ('{"right": "a"}', "bad row: no text in column 'left' at line 2"),
    ('{"left": 3, "right": "a"}', "bad row: no text in column 'left' at line 2; mend it\n"),
    ('{"left": "a\\u0000", "right": "a"}', "a column holds a NUL character"),
    ('{"left": "a", "right": "\\ud83d"}', "half a character")])
def test_a_line_that_is_no_row_is_told_with_its_place(line: str, problem: str, meeting: Path) -> None:
    first = json.dumps({"left": "a", "right": "b"})
    done = predict(meeting, *MEETING, stdin=f"{first}\n{line}\n{first}\n")
    assert problem in told(done) and "line 2" in done.stderr
    assert done.stdout.count("\n") == 1  # the row before it is answered, though it came together with it


@pytest.mark.parametrize(("given", "problem"), [
    (("input=none.jsonl",), "no input file at none.jsonl; check input="),
    (("input=broken.jsonl",), "bad row: not JSON ("),
    (("input=other.jsonl",), "bad row: no column 'written' (it has 'text'"),
    (("input=other.jsonl", "data.writen=text"), "did you mean data.written?"),
    (("input=numbers.jsonl",), "column 'written' is int, not text"),
    (("input=nul.jsonl",), "holds a NUL character"),
    (("input=empty.jsonl",), "empty data file at empty.jsonl"),
    (("input=bytes.bin",), "not UTF-8 text"),
    (("predict.format=xml",), "predict.format=xml is not one of text, jsonl"),
    (("predict.batch=0",), "predict.batch=0 must be more than 0"),
    (("predict.fromat=jsonl",), "did you mean predict.format?"),
    (("summarize.format=jsonl",), "summarize.format"),
    (("task=summarization",), "task is fixed by the checkpoint and cannot be given to predict"),
    (("head.layers=2",), "head.layers is fixed by the checkpoint"),
    (("generation.num_beams=0",), "generation.num_beams=0 must be more than 0")])
def test_what_cannot_be_predicted_is_one_line(given: tuple[str, ...], problem: str, spelling: Path) -> None:
    (spelling / "broken.jsonl").write_text('{"written": "a"}\n{"written":\n')
    write_jsonl(spelling / "other.jsonl", [{"text": "a"}])
    write_jsonl(spelling / "numbers.jsonl", [{"written": 3}])
    write_jsonl(spelling / "nul.jsonl", [{"written": "a\0b"}])
    (spelling / "empty.jsonl").write_text("")
    (spelling / "bytes.bin").write_bytes(bytes(range(256)))
    done = predict(spelling, *SPELLING, *given, stdin="a\n")
    assert problem in told(done) and not done.stdout


def test_all_bad_rows_of_a_file_are_told_at_once(spelling: Path) -> None:
    write_jsonl(spelling / "bad.jsonl", [{"written": row} for row in ("a", 1, "b", *[None] * 12)])
    done = predict(spelling, *SPELLING, "input=bad.jsonl")
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.count("\n") == 11 and "... and 3 more bad rows" in done.stderr


def test_the_commands_that_need_the_tasks_file_say_so(spelling: Path, tmp_path: Path) -> None:
    assert "add --plugin spelling.py" in told(predict(spelling, stdin="a\n"))
    assert "predict needs checkpoint=PATH" in told(warm_cli("predict", cwd=tmp_path))
    shown = predict(spelling, *SPELLING, "--cfg", "job")
    assert shown.returncode == 0 and "written: written" in shown.stdout and "format: text" in shown.stdout


def test_long_rows_are_cut_and_told(spelling: Path) -> None:
    done = predict(spelling, *SPELLING, stdin="a\n" + "graph " * 100 + "\n")
    assert lines_of(done)
    assert "1 documents are longer than data.max_source_tokens=24 and are cut: line 2" in done.stderr


def test_summaries_are_those_of_summarize(summaries: Path) -> None:
    texts = [row["document"] for row in pairs(4, 5)]
    stdin, several = "\n".join([*texts, ""]) + "\n", ("generation.num_beams=3", "generation.num_return_sequences=2")
    for more in ((), several):
        wanted = warm_cli("summarize", "checkpoint=runs/run", *more, cwd=summaries, stdin=stdin)
        assert predict(summaries, *more, stdin=stdin).stdout == wanted.stdout
        wanted = warm_cli("summarize", "checkpoint=runs/run", "summarize.format=jsonl", *more, cwd=summaries,
                          stdin=stdin)
        rows = [json.loads(line) for line in lines_of(predict(summaries, "predict.format=jsonl", *more, stdin=stdin))]
        for row, line in zip(rows, lines_of(wanted), strict=True):
            other = json.loads(line)
            assert row.pop("prediction") == other.pop("summary") and row == other


def test_python_takes_texts_and_rows(summaries: Path, meeting: Path, known: None) -> None:
    texts = [row["document"] for row in pairs(3, 5)]
    model = llmtrain.load(summaries / "runs/run")
    made: Any = model(texts)
    assert model(texts[0]) == made[0] and model(iter(texts)) == made and model("") == "" and model([]) == []
    assert model({"document": texts[1]}) == made[1]
    assert model([{"document": texts[0]}, texts[1]]) == made[:2]
    answers: Any = model.answers(texts)
    assert [one["prediction"] for one in answers] == made
    assert all(one["score"] < 0 and "copied" in one for one in answers)
    assert isinstance(llmtrain.load(summaries / "runs/run", num_beams=2, num_return_sequences=2)(texts[0]), list)
    both = llmtrain.load(meeting / "runs/run")
    rows: Any = [{"left": "list of words", "right": "a tree"}, {"left": "", "right": ""}]
    assert both(rows)[1] == "" and both(rows[0]) == both(rows)[0]
    assert both.answers(rows[0])["right"] == "a tree"


def test_python_is_told_what_is_no_row(summaries: Path, meeting: Path, known: None) -> None:
    model, both = llmtrain.load(summaries / "runs/run"), llmtrain.load(meeting / "runs/run")
    for given, problem in ((3, "what to predict is of type int, not a str"), (["a", 3], "text 1 is of type int"),
                           ([None], "text 0 is None"), (b"a", "decode it"),
                           ({"text": "a"}, "no column 'document'"), ({"document": 3}, "is int, not text")):
        with pytest.raises(DataError, match=problem):
            model(given)
    with pytest.raises(DataError, match="a text alone .task=meeting reads data.left and data.right. at row 1; write"):
        both([{"left": "a", "right": "b"}, "a"])
    with pytest.raises(DataError) as raised:
        both([{"left": "a"}] * 12)
    assert len(raised.value.problems) == 11 and raised.value.problems[-1] == "... and 2 more rows like these"
    with pytest.raises(ConfigError, match=r"task=meeting and writes no summaries; use llmtrain predict"):
        llmtrain.Summarizer(meeting / "runs/run")
    with pytest.raises(ConfigError, match="did you mean precision"):
        llmtrain.load(summaries / "runs/run", precison="bf16")


def test_copies_of_a_loaded_model_say_the_same(meeting: Path, known: None) -> None:
    made = llmtrain.load(meeting / "runs/run", precision="bf16", num_beams=2)
    row = {"left": "list of words", "right": "a tree"}
    kept = pickle.dumps(made)
    assert len(kept) < 5000
    for again in (pickle.loads(kept), copy.deepcopy(made)):
        assert again(row) == made(row) and again.generation == made.generation
    assert made.published.precision.running == "bf16"
