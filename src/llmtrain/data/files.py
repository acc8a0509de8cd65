"""data=files: a user's own documents and summaries."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llmtrain.config.schema import DataConfig, OnBadRow
from llmtrain.data.examples import Example, Splits, share_out
from llmtrain.data.readers import read_rows
from llmtrain.errors import DataError

SHOWN_PROBLEMS = 10
SPLIT_PERCENT = 5


def read_files(config: DataConfig, only: str | None) -> Splits:
    """Read each named split; a missing validation or test split is taken from train by a hash of the document."""
    if only is not None and getattr(config, only) is None and config.train is None:
        raise DataError(f"data.{only} is not given; name the file to score, data.{only}=FILE")
    notes: list[str] = []
    splits: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    from_train = only is None or getattr(config, only) is None  # a split that train must give
    for name in splits:
        value = getattr(config, name)
        if value is not None and (name == only or (from_train and (only is None or name == "train"))):
            splits[name] = examples_of(_rows(paths_of(value, f"data.{name}")), config, name, notes)
    for name in ("test", "validation") if from_train else ():
        if getattr(config, name) is None:
            taken = [e for e in splits["train"] if share_out(e.document, SPLIT_PERCENT, name)]
            splits["train"] = [e for e in splits["train"] if not share_out(e.document, SPLIT_PERCENT, name)]
            splits[name] = taken
            notes.append(f"no data.{name}: {len(taken)} rows ({SPLIT_PERCENT} % by a hash of the document) taken "
                         "from data.train")
    return Splits(splits["train"], splits["validation"], splits["test"], "files", notes)


def paths_of(value: Any, key: str) -> list[Path]:
    """Files of one path, a list, or a glob (an existing file wins over a glob). Raises DataError on no match."""
    paths: list[Path] = []
    for item in value if isinstance(value, list | tuple) else [value]:
        path = Path(str(item)).expanduser()
        if path.is_file():
            paths.append(path)
            continue
        matches = sorted(glob.glob(str(path), recursive=True))
        if not matches:
            raise DataError(f"no data file at {item}; check {key}")
        paths += [Path(match) for match in matches]
    return paths


def _rows(paths: list[Path]) -> Iterable[tuple[str, Any]]:
    for path in paths:
        yield from read_rows(path)


def examples_of(rows: Iterable[tuple[str, Any]], config: DataConfig, split: str, notes: list[str]) -> list[Example]:
    """Checked examples of parsed rows.

    Raises:
        DataError: Bad rows under ``data.on_bad_row=error`` (the first few, a line each), or no good row at all.
    """
    examples: list[Example] = []
    problems: list[str] = []
    place = split
    for number, (place, row) in enumerate(rows):
        result = row if isinstance(row, str) else _example(row, config, f"{split}-{number}")
        if isinstance(result, Example):
            examples.append(result)
        else:
            problems.append(f"{result} at {place}")
    if problems and config.on_bad_row is OnBadRow.error:
        hidden = len(problems) - SHOWN_PROBLEMS
        lines = [f"bad row: {p}; mend it or set data.on_bad_row=skip" for p in problems[:SHOWN_PROBLEMS]]
        raise DataError(lines + ([f"... and {hidden} more bad rows in {split}"] if hidden > 0 else []))
    if problems:
        notes.append(f"{len(problems)} bad rows skipped in {split}, first: {problems[0]}")
    if not examples:
        raise DataError(f"no usable row at {place}; rows need the columns {config.document!r} and {config.summary!r}")
    return examples


def _example(row: dict[str, Any], config: DataConfig, number: str) -> Example | str:
    """The row as an example, or what is wrong with it."""
    document = _text(row, config.document)
    if document[1]:
        return document[1]
    references: tuple[str, ...] = ()
    if config.references is not None:
        listed = row.get(config.references)
        if not isinstance(listed, list) or not listed or not all(isinstance(r, str) and r.strip() for r in listed):
            return f"column {config.references!r} is not a list of texts"
        references = tuple(listed)
    if config.references is None or config.summary in row:
        summary = _text(row, config.summary)
        if summary[1]:
            return summary[1]
        if summary[0] not in references:
            references = (summary[0], *references)
        elif references[0] != summary[0]:
            return f"column {config.references!r} does not begin with column {config.summary!r}"
    return Example(str(row.get("id") or number), document[0], references[0], references)


def _text(row: dict[str, Any], column: str) -> tuple[str, str]:
    """(text, "") or ("", problem)."""
    if column not in row:
        known = ", ".join(repr(name) for name in list(row)[:6])
        return "", f"no column {column!r} (it has {known})"
    value = row[column]
    if not isinstance(value, str):
        return "", f"column {column!r} is {'empty' if value is None else type(value).__name__}, not text"
    if not value.strip():
        return "", f"column {column!r} is empty"
    return value, ""
