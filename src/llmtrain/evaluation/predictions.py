"""Somebody's predictions: one a line, or rows of a data file matched by ``id``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmtrain.data.cells import Reading, Unusable, shown
from llmtrain.data.columns import Columns
from llmtrain.data.encodings import NUL
from llmtrain.data.examples import SURROGATE, Example
from llmtrain.data.readers import SUFFIXES, kind_of, read_rows, read_text
from llmtrain.errors import DataError

Row = tuple[str, str | None, str]  # (place, id, prediction)


def read_predictions(path: Path, examples: list[Example], how: Reading | None = None) -> list[str]:
    """One prediction for each example: plain lines in order, or rows, matched by ``id`` where they have one.

    Args:
        how: How tables are read; its notes tell what was guessed.

    Raises:
        DataError: The file is missing, not UTF-8, or does not fit the examples.
    """
    kind = kind_of(path)[0]
    if kind not in SUFFIXES or kind == ".txt":
        lines = read_text(path).removesuffix("\n").split("\n")
        return _as_many([line.removesuffix("\r") for line in lines], path, examples)
    how = how or Reading()
    columns = Columns({"prediction": "prediction"}, how.notes)
    rows = [_row(place, row if isinstance(row, str) or "summary" in row else columns.find(row))
            for place, row in read_rows(path, how)]
    found = _as_many([text for _, _, text in rows], path, examples)
    ids = [identity for _, identity, _ in rows]
    if ids == [e.id for e in examples] or all(identity is None for identity in ids):
        return found
    by_id = _by_id(rows)
    missing = [e.id for e in examples if e.id not in by_id]
    if missing:
        raise DataError(f"no prediction for id {shown(missing[0])} at {path} ({len(missing)} of {len(examples)} "
                        "missing); add them, or leave out every id to match by order")
    return [by_id[e.id] for e in examples]


def _as_many(found: list[str], path: Path, examples: list[Example]) -> list[str]:
    if len(found) != len(examples):
        raise DataError(f"{len(found)} predictions at {path} for {len(examples)} documents; they must be as many")
    return found


def _row(place: str, row: dict[str, Any] | str) -> Row:
    if isinstance(row, str):
        raise DataError(f"bad row: {row} at {place}; each needs a \"prediction\"")
    text = row.get("prediction", row.get("summary"))
    if not isinstance(text, str) or SURROGATE.search(text):
        known = ", ".join(shown(name, 24) for name in list(row)[:6])
        raise DataError(f"no text under \"prediction\" at {place} (it has {known}); each row needs one")
    if "\0" in text:
        raise DataError(f"column 'prediction' {NUL} at {place}; save the file as UTF-8")
    identity = row.get("id")
    if isinstance(identity, Unusable):
        raise DataError(f"column 'id' {identity.why} at {place}; give every row an id, or none")
    return place, None if identity is None or identity == "" else str(identity), text


def _by_id(rows: list[Row]) -> dict[str, str]:
    seen: dict[str, str] = {}
    for place, identity, text in rows:
        if identity is None:
            raise DataError(f"no id at {place}, where other rows have one; give every row an id, or none")
        if identity in seen:
            raise DataError(f"the id {shown(identity)} stands twice, again at {place}; each document has one "
                            "prediction")
        seen[identity] = text
    return seen
