"""Rows that a model shall predict: lines of a stream, rows of a file, what a Python program gives. They have no target.

A row is read by the task's own columns, as in training. One whose source is empty is a row like any other: what stands
in the place of its prediction is empty too, and the others keep their places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtrain.config.sections.data import DataConfig
from llmtrain.core.errors import DataError
from llmtrain.data.examples import Example
from llmtrain.data.features import clean
from llmtrain.data.sources.cells import Reading, Unusable
from llmtrain.data.sources.columns import Columns
from llmtrain.data.sources.encodings import NOT_UTF8, SAVE_AS
from llmtrain.data.sources.json_rows import object_of
from llmtrain.data.sources.line_stream import batches_of_stdin
from llmtrain.data.sources.own_files import SHOWN_PROBLEMS, expanded, without_target
from llmtrain.data.sources.readers import SUFFIXES, kind_of, read_rows, read_text

PAIRS = ".txt"  # of training: a source, a tab and its target a line


@dataclass(frozen=True, slots=True)
class AskedRow:
    """A row that a prediction is asked for.

    Attributes:
        place: Where it stands, for messages.
        id: Its own name, where it has one.
    """

    place: str
    example: Example
    id: str | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """What is wrong with a row, and what to do about it."""

    what: str
    todo: str = "mend it"

    def at(self, place: str) -> str:
        """The line that tells of it."""
        return f"bad row: {self.what} at {place}; {self.todo}"


class RowReader:
    """Makes rows of what is given.

    Args:
        config: Says which columns the task reads.
        task: Its name, for messages.

    Attributes:
        notes: Lines about what was guessed.
        needed: The columns of a row, by the key that names each.
        takes_texts: Whether a text alone is a row.
    """

    def __init__(self, config: DataConfig, task: str) -> None:
        self.config, self.task, self.named = config, task, config.columns()
        self.notes: list[str] = []
        self.needed = {self.named.source_key: self.named.source, **self.named.others}
        self._columns = Columns(self.needed, self.notes)
        self.takes_texts = not isinstance(self._made({self.named.source: "a"}, ""), str)

    def text(self, text: str, place: str) -> AskedRow | BadRow:
        """A row that is a text alone: a task may read more columns than one."""
        if not text.strip():
            return AskedRow(place, Example(place, "", "", ()))
        if self.takes_texts:
            return self.row({self.named.source: clean(text)}, place)
        written = ", ".join(f'"{name}": ...' for name in self.needed.values())
        return BadRow(f"a text alone (task={self.task} reads {' and '.join(self.needed)})", f"write {{{written}}}")

    def line(self, text: str, place: str) -> AskedRow | BadRow:
        """A line: a text, or the JSON object of a task that reads several columns."""
        if self.takes_texts or not text.strip():
            return self.text(text, place)
        value, problem = object_of(text)
        if problem:
            return BadRow(problem)
        return self.text(text, place) if value is None else self.row(value, place)

    def row(self, row: Mapping[str, Any], place: str) -> AskedRow | BadRow:
        """A row of columns."""
        found = self._columns.find(dict(row))
        if self.named.read is None:
            found = self._columns.join(found, self.named.source_key)
        own = found.get("id")
        if isinstance(own, Unusable) or own == "":
            own = found["id"] = None
        identity, source = None if own is None else str(own), found.get(self.named.source)
        if isinstance(source, str):
            if not source.strip():
                return AskedRow(place, Example(identity or place, "", "", ()), identity)
            found[self.named.source] = source.encode("utf-8", "replace").decode()  # half a character is read as a mark
        made = self._made(found, place)
        if isinstance(made, str):
            missing = next((key for key, name in self.needed.items() if name not in found), None)
            return BadRow(made) if missing is None else BadRow(made, f"mend it, or name the column by {missing}")
        return AskedRow(place, made, identity)

    def _made(self, row: dict[str, Any], place: str) -> Example | str:
        return without_target(row, self.named, place)


def batches_from_stdin(reader: RowReader, size: int) -> Iterator[list[AskedRow]]:
    """Lines of standard input as they come, ``size`` or fewer together. Raises DataError at a line that is no row, once
    those before it were given."""
    done = 0
    for lines in batches_of_stdin(size):
        rows: list[AskedRow] = []
        problem = None
        for number, line in enumerate(lines, start=done + 1):
            made = reader.line(line, f"line {number}")
            if isinstance(made, BadRow):
                problem = made.at(f"line {number}")
                break
            rows.append(made)
        if rows:
            yield rows
        if problem is not None:
            raise DataError(problem)
        done += len(lines)


def rows_of_file(reader: RowReader, path: Path) -> list[AskedRow]:
    """Every row of a data file, or every line of another text file.

    Raises:
        DataError: It is missing or none of text, or with a line for each of the first bad rows.
    """
    made = _rows(reader, path) if _holds_rows(path) else _lines(reader, path)
    found, problems = [], []
    for place, one in made:
        if isinstance(one, BadRow):
            problems.append(one.at(place))
        else:
            found.append(one)
    if problems:
        hidden = len(problems) - SHOWN_PROBLEMS
        raise DataError(problems[:SHOWN_PROBLEMS] + ([f"... and {hidden} more bad rows"] if hidden > 0 else []))
    return found


def one_text(path: Path) -> list[AskedRow]:
    """A text file as one row."""
    return [AskedRow(str(path), Example(str(path), read_text(path), "", ()))]


def is_one_text(path: Path) -> bool:
    """Whether a file holds no rows: plain text, or a kind that is not known."""
    return not _holds_rows(path)


def check_input(path: Path) -> None:
    """Raise DataError where there is no such file."""
    if not path.is_file():
        raise DataError(f"no input file at {path}; check input=")


def _holds_rows(path: Path) -> bool:
    kind = kind_of(path)[0]
    return kind in SUFFIXES and kind != PAIRS


def _rows(reader: RowReader, path: Path) -> Iterator[tuple[str, AskedRow | BadRow]]:
    rows = read_rows(path, Reading.of(reader.config, reader.notes))
    for place, row in expanded(rows, reader.named):
        if isinstance(row, str):
            yield place, BadRow(row, SAVE_AS) if row == NOT_UTF8 else BadRow(row)
        else:
            yield place, reader.row(row, place)


def _lines(reader: RowReader, path: Path) -> Iterator[tuple[str, AskedRow | BadRow]]:
    """Line by line; of paired text, as in training, what stands before the tab."""
    lines, paired = read_text(path).removesuffix("\n").split("\n"), 0
    for number, line in enumerate(lines, start=1):
        text, tab, _ = line.removesuffix("\r").partition("\t") if kind_of(path)[0] == PAIRS else (
            line.removesuffix("\r"), "", "")
        paired += bool(tab)
        yield f"{path}:{number}", reader.line(text, f"{path}:{number}")
    if paired:
        reader.notes.append(f"{paired} of {len(lines)} lines are pairs: what stands behind their tab is a target and "
                            f"not read at {path}")
