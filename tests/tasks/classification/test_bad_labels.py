"""What is wrong with rows, keys and files of predictions of labels: one clear line each, exit 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers import warm_cli
from labelled import arguments, coloured

GOOD = coloured(12)


def with_row(**changed: Any) -> str:
    """Good rows, the third of them changed; a value of ... takes its key away."""
    rows = [dict(row) for row in GOOD]
    rows[2] = {key: value for key, value in (rows[2] | changed).items() if value is not ...}
    return lines(rows)


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def labels(*given: Any) -> str:
    return lines([row | {"label": label} for row, label in zip(GOOD, given, strict=False)])


SEVERAL = "task.multi_label=true"
ROWS: list[tuple[str, str, tuple[str, ...], str]] = [
    ("no label", with_row(label=...), (), "no column 'label' (it has 'id', 'text') at train.jsonl:3; mend it"),
    ("another name", with_row(label=..., Sentiment="red"), (), "no column 'label' (it has 'id', 'text', 'Sentiment')"),
    ("null", with_row(label=None), (), "column 'label' is empty (data.empty_cells counts as empty) at train.jsonl:3"),
    ("empty", with_row(label=" "), (), "column 'label' is empty"),
    ("number among texts", with_row(label=1), (), "'label' holds a number here and a text in the rows before, labels"),
    ("truth among numbers", labels(0, 1, True), (), "holds true or false here and a number in the rows before"),
    ("list", with_row(label=["red"]), (), "the labels of 1 rows are lists, the first at train row '0-2'; set "
                                          "task.multi_label=true, or give each row one label"),
    ("mapping", with_row(label={"red": 1}), (), "are lists, the first at train row '0-2'"),
    ("mapping of shares", with_row(label={"red": 0.5}), (), "maps 'red' to something else than 0 or 1"),
    ("nan", with_row(label=float("nan")), (), "train.jsonl:3"),
    ("infinity", with_row(label=float("inf")), (), "train.jsonl:3"),
    ("NUL", with_row(label="a\0"), (), "holds half a character or a NUL"),
    ("half a character", '{"text": "a", "label": "\\ud83d"}\n' + lines(GOOD), (), "half a character"),
    ("a whole text", with_row(label="red " * 80), (), "is a text of 319 characters"),
    ("no text", with_row(text=...), (), "no column 'text' (it has 'id', 'label') at train.jsonl:3"),
    ("empty text", with_row(text=""), (), "column 'text' is empty at train.jsonl:3"),
    ("number for a text", with_row(text=7), (), "column 'text' is int, not text"),
    ("one label alone", lines([row | {"label": "red"} for row in GOOD]), (),
     "all 12 training rows have the label 'red' alone, and there is nothing to tell apart; check data.label=label"),
    ("no second text", lines(GOOD), ("data.text_pair=other",), "no column 'other'"),
    ("empty second text", lines([row | {"other": ""} for row in GOOD]), ("data.text_pair=other",),
     "column 'other' is empty"),
    ("two kinds in a list", with_row(label=["red", 1]), (SEVERAL,), "lists labels of two kinds, a number and a text"),
    ("empty in a list", with_row(label=["red", None]), (SEVERAL,), "column 'label' is empty"),
    ("a list in a list", with_row(label=[["red"]]), (SEVERAL,), "is a list, not a label"),
    ("lists that nothing takes apart", labels(*["blue", "red", "red; blue"] * 4), (SEVERAL,),
     "task.multi_label=true and no training row lists its labels: 'red; blue' at train row '0-2' is one"),
    ("a list as Python prints it", with_row(label="['red', 'blue']"), (SEVERAL,), "a list as Python prints it; write"),
    ("no label in any row", lines([row | {"label": []} for row in GOOD]), (SEVERAL,), "have no label, and there is"),
    ("no rows", "", (), "train.jsonl"),
    ("quoted weights of no label", lines(GOOD), ("head.class_weights='{很好: 2}'",), "names 很好 and no training row"),
    ("weights of no label", lines(GOOD), ("head.class_weights={pink:2}",),
     "head.class_weights names pink and no training row has that label; the labels are blue, green, red"),
]
KEYS: list[tuple[tuple[str, ...], str]] = [
    (("head.class_weights=balancd",), "head.class_weights='balancd' is neither balanced nor {LABEL: WEIGHT}"),
    (("head.class_weights={red:0}",), "gives red the weight 0, which is no number above 0"),
    (("head.class_weights={red:much}",), "gives red the weight 'much', which is no number above 0"),
    (("head.pooling=max",), "head.pooling=max is none of mean, first, last, attention; choose one"),
    (("head.activation=selu",), "head.activation=selu is none of tanh, relu, gelu; choose one"),
    (("head.label_smoothing=1",), "head.label_smoothing=1"), (("head.dropout=2",), "head.dropout=2 must be from 0"),
    (("head.hidden=-1",), "head.hidden=-1 must be"), (("head.layers=2",), "head=classifier has no key head.layers"),
    (("head=transformer",), "makes nothing that task=classification asks for; use a head of classifier"),
    (("task=summarization", "head=classifier", "objective=joint"), "makes nothing that task=summarization asks for"),
    (("objective.base=select",), "the objective select reads targets as texts and those of task=classification"),
    (("objective.base=label",), "objective.terms names label twice; keep one of them"),
    (("objective.base=extraction",), "the objective extraction reads targets as texts"),
    (("task.threshold=0.4",), "task.threshold=0.4 is of task.multi_label=true"),
    (("task.threshold=1.5", SEVERAL), "task.threshold=1.5 must be from 0 to 1"),
    (("task.multilabel=true",), "unknown key task.multilabel; did you mean task.multi_label?"),
    (("task.native=true", "data.long=sliding"), "reads a text in one piece at the base's own positions and data.long"),
    (("task.native=true", SEVERAL), "has no place for a threshold of its own; set task.threshold=0.5"),
    (("trainer.best_metric=mcc", SEVERAL), "trainer.best_metric=mcc is a score of one label a row"),
    (("trainer.best_metric=micro_f1",), "trainer.best_metric=micro_f1 is a score of several labels a row"),
    (("trainer.best_metric=rouge1",), "choose from accuracy, macro_f1, micro_f1, mcc, ece, loss.total"),
    (("data.text_pair=text",), "the column text is named by two of data.text, data.text_pair and data.label"),
    (("data.label=text",), "the column text is named by two of"),
    (("data.text_pair=other", "data.long=head_tail"), "data.text_pair is read with data.text in one piece"),
    (("data=docstrings", "data.text_pair=other", "data.train=null", "data.validation=null", "data.test=null"),
     "names a second text and data=docstrings has one"),
    (("data.label_separator=''",), "data.label_separator is empty and cuts nothing"),
    (("data.document=text",), "data.document is a key of task=summarization and task is classification"),
    (("data.max_summary_tokens=8",), "data.max_summary_tokens is a key of task=summarization"),
    (("task=summarization", "task.native=true", "head=transformer", "objective=joint"),
     "task.native is a key of task=classification and task is summarization"),
]
PREDICTIONS: list[tuple[str, str, str]] = [
    ("p.txt", "red\n", "1 predictions at p.txt for 12 documents"),
    ("p.jsonl", lines([{"id": row["id"], "label": "red"} for row in GOOD]), "no column 'prediction'"),
    ("p.jsonl", lines([{"id": row["id"], "prediction": None} for row in GOOD]),
     "column 'prediction' is empty, not a label or a list of labels"),
    ("p.jsonl", lines([{"id": row["id"], "prediction": {"red": 0.5}} for row in GOOD]),
     "column 'prediction' is dict, not a label or a list of labels"),
    ("p.jsonl", lines([{"id": "other", "prediction": "red"} for row in GOOD]), "stands twice"),
]


def refused(folder: Path, *command: str) -> str:
    done = warm_cli(*command, cwd=folder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), (done.stdout[-500:], done.stderr)
    assert done.stderr.startswith("llmtrain: ") and "Traceback" not in done.stderr
    return done.stderr


def test_there_are_forty() -> None:
    assert len(ROWS) + len(KEYS) + len(PREDICTIONS) >= 40


@pytest.mark.parametrize(("content", "overrides", "told"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_bad_rows_are_one_line(content: str, overrides: tuple[str, ...], told: str, tiny_base: Path,
                               tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(content)
    (tmp_path / "held.jsonl").write_text(lines(
        [row | {"other": "a", "label": ["red"] if SEVERAL in overrides else row["label"]} for row in GOOD]))
    line = refused(tmp_path, *arguments(tiny_base, "objective=task_only", *overrides))
    assert told in line
    assert not (tmp_path / "runs/run/checkpoints").exists()


@pytest.mark.parametrize(("overrides", "told"), KEYS, ids=[" ".join(row[0]) for row in KEYS])
def test_bad_keys_are_one_line_before_anything_is_read(overrides: tuple[str, ...], told: str, tmp_path: Path) -> None:
    assert told in refused(tmp_path, *arguments(tmp_path / "no base", "objective=task_only", *overrides))


@pytest.mark.parametrize(("name", "content", "told"), PREDICTIONS, ids=[str(i) for i in range(len(PREDICTIONS))])
def test_bad_predictions_are_one_line(name: str, content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "held.jsonl").write_text(lines(GOOD))
    (tmp_path / name).write_text(content)
    assert told in refused(tmp_path, "eval", "task=classification", "data=files", "data.test=held.jsonl",
                           f"predictions={name}")


def test_bad_rows_can_be_skipped(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(with_row(label=3))
    (tmp_path / "held.jsonl").write_text(lines(GOOD))
    done = warm_cli(*arguments(tiny_base, "objective=task_only", "data.on_bad_row=skip"), cwd=tmp_path)
    assert done.returncode == 0 and "1 bad rows skipped in train, first: column 'label' holds a number" in done.stdout
