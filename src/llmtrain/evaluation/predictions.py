"""Somebody's predictions: one a line, or rows of a data file matched by ``id``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from llmtrain.config.schema import EvaluateConfig
from llmtrain.config.sections.data import DataConfig
from llmtrain.core.errors import DataError, shown
from llmtrain.core.files import SURROGATE
from llmtrain.data.examples import Example
from llmtrain.data.sources.cells import Reading, Unusable, names_in
from llmtrain.data.sources.columns import Columns
from llmtrain.data.sources.encodings import NOT_UTF8, NUL, SAVE_AS
from llmtrain.data.sources.readers import SUFFIXES, kind_of, read_bytes, read_rows, read_text
from llmtrain.tasks.task import Prediction, Task

Given = TypeVar("Given")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the file; ``document`` is the document that stands beside the prediction, where one does."""

    place: str
    id: str | None
    made: Prediction
    document: str | None


def read_predictions(path: Path, examples: list[Example], column: str = "prediction",
                     document: str | None = None, how: Reading | None = None, task: Task | None = None,
                     data: DataConfig | None = None) -> list[Prediction]:
    """One prediction for each example: plain lines or a JSON list of texts in order, a JSON object of texts by id (as
    SQuAD's script reads them), or rows, matched by ``id`` where they have one.

    Args:
        column: The column of rows that holds the predictions; no other one is taken for it.
        document: A column that, where rows have it, tells which document each belongs to.
        how: How tables are read; its notes tell what was guessed.
        task: Says what of a row is a prediction, and what the row tells of it besides; None: texts as they stand.
        data: How the task reads its own columns; None: as its keys stand by default.

    Raises:
        DataError: The file is missing, not UTF-8, or does not fit the examples.
    """
    kind = kind_of(path)[0]
    if kind not in SUFFIXES or kind == ".txt":
        lines = read_text(path).removesuffix("\n").split("\n")
        _refuse_json(lines, path)
        return _as_many([Prediction(_text_of(line.removesuffix("\r"), task, data)) for line in lines], path, examples)
    if kind == ".json" and (listed := _list_of_texts(path)) is not None:
        return _as_many([Prediction(_text_of(text, task, data)) for text in listed], path, examples)
    if kind == ".json" and (named := _texts_by_id(path, column)) is not None:
        rows = [Row(str(path), name, Prediction(_text_of(text, task, data)), None) for name, text in named.items()]
        return _in_order(_as_many(rows, path, examples), path, examples)
    how = how or Reading()
    columns = Columns({"eval.prediction": column}, how.notes)
    rows = [_row(place, row if isinstance(row, str) else columns.find(row), column, document, task, data)
            for place, row in read_rows(path, how)]
    return _in_order(_as_many(rows, path, examples), path, examples)


def _in_order(rows: list[Row], path: Path, examples: list[Example]) -> list[Prediction]:
    """The rows' predictions, each for the example of its id; in their order where no row has one."""
    ids = [row.id for row in rows]
    if ids == [e.id for e in examples] or all(identity is None for identity in ids):
        _check_documents(rows, examples)
        return [row.made for row in rows]
    by_id = _by_id(rows)
    missing = [e.id for e in examples if e.id not in by_id]
    if missing:
        raise DataError(f"no prediction for id {shown(missing[0])} at {path} ({len(missing)} of {len(examples)} "
                        "missing); add them, or leave out every id to match by order")
    matched = [by_id[e.id] for e in examples]
    _check_documents(matched, examples)
    return [row.made for row in matched]


def told_of_predictions(config: EvaluateConfig, texts: list[str], examples: list[Example]) -> list[str]:
    """What to tell of predictions that may be the data's own texts."""
    column = config.eval.prediction
    named = [f"{key}={column}" for key, name in config.data.columns().named().items() if name == column]
    lines = []
    if named:
        lines.append(f"eval.prediction={column} is also {named[0]}; if the file is the data itself, its own texts are "
                     "scored, and no model's")
    if texts and all(text in (e.target, *e.references) for text, e in zip(texts, examples, strict=True)):
        lines.append(f"each of the {len(texts)} predictions is a reference word for word; see that the file holds what "
                     "a model wrote")
    return lines


def _list_of_texts(path: Path) -> list[str] | None:
    """What a .json file lists, where that is texts alone."""
    try:
        value = json.loads(read_bytes(path).decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None  # the reader of rows tells what is wrong with it
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        return None
    if bad := next((number for number, text in enumerate(value, start=1) if SURROGATE.search(text)), None):
        raise DataError(f"half a character (a lone surrogate, as in \\ud83d) at {path}:{bad}; mend it")
    return value


def _texts_by_id(path: Path, column: str) -> dict[str, str] | None:
    """What a .json file holds, where that is an object of texts and no row that has the column."""
    try:
        value = json.loads(read_bytes(path).decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None  # the reader of rows tells what is wrong with it
    if not isinstance(value, dict) or not value or column in value or not all(
            isinstance(text, str) for text in value.values()):
        return None
    if bad := next((name for name, text in value.items() if SURROGATE.search(name + text)), None):
        raise DataError(f"half a character (a lone surrogate, as in \\ud83d) of id {shown(bad)} at {path}; mend it")
    return value


def _refuse_json(lines: list[str], path: Path) -> None:
    """Rows under the name of a text file would be scored with their braces."""
    def is_row(line: str) -> bool:
        try:
            return isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            return False

    written = [line for line in lines if line.strip()]
    if written and all(line.lstrip().startswith("{") for line in written) and all(map(is_row, written)):
        raise DataError(f"JSON objects, one a line, in a text file at {path}; rename it to .jsonl")


def _as_many(found: list[Given], path: Path, examples: list[Example]) -> list[Given]:
    if len(found) != len(examples):
        raise DataError(f"{len(found)} predictions at {path} for {len(examples)} documents; they must be as many")
    return found


def _text_of(text: str, task: Task | None, data: DataConfig | None) -> str:
    """A prediction that is a text alone, as the task reads it; as it stands where the task makes nothing of it."""
    found = None if task is None else task.prediction_of(text, data)
    return text if found is None else found


def _row(place: str, row: dict[str, Any] | str, column: str, document: str | None, task: Task | None,
         data: DataConfig | None) -> Row:
    if isinstance(row, str):
        todo = SAVE_AS if row == NOT_UTF8 else f"each needs a {shown(column)}"
        raise DataError(f"bad row: {row} at {place}; {todo}")
    if column not in row:
        raise DataError(f"no column {shown(column)} (it has {names_in(row)}) at {place}; name the one that holds the "
                        "predictions, eval.prediction=COLUMN")
    cell = row[column]
    if isinstance(cell, Unusable):
        raise DataError(f"column {shown(column)} {cell.why} at {place}; mend it")
    text = cell if task is None else task.prediction_of(cell, data)
    if not isinstance(text, str) or SURROGATE.search(text):
        what = "half a character" if isinstance(text, str) else "empty" if cell is None else type(cell).__name__
        wanted = "text" if task is None else task.prediction_word
        raise DataError(f"column {shown(column)} is {what}, not {wanted}, at {place}; each row needs one prediction")
    if "\0" in text:
        raise DataError(f"column {shown(column)} {NUL} at {place}; save the file as UTF-8")
    identity = row.get("id")
    if isinstance(identity, Unusable):
        raise DataError(f"column 'id' {identity.why} at {place}; give every row an id, or none")
    beside = row.get(document) if document is not None and document != column else None
    made = Prediction(text, {} if task is None else task.detail_of(row))
    return Row(place, None if identity is None or identity == "" else str(identity), made,
               beside if isinstance(beside, str) else None)


def _by_id(rows: list[Row]) -> dict[str, Row]:
    seen: dict[str, Row] = {}
    for row in rows:
        if row.id is None:
            raise DataError(f"no id at {row.place}, where other rows have one; give every row an id, or none")
        if row.id in seen:
            raise DataError(f"the id {shown(row.id)} stands twice, again at {row.place}; each document has one "
                            "prediction")
        seen[row.id] = row
    return seen


def _check_documents(rows: list[Row], examples: list[Example]) -> None:
    """Refuse a prediction that stands beside another row's document. One that the data do not hold tells nothing: it
    may be shortened."""
    known = {e.source for e in examples}
    for number, (row, example) in enumerate(zip(rows, examples, strict=True), start=1):
        if row.document is not None and row.document != example.source and row.document in known:
            raise DataError(f"the prediction at {row.place} stands beside another document than row {number} of the "
                            f"data (id {shown(example.id)}); sort the file as the data, or give both the same ids")
