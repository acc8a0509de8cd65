"""JSON and JSON Lines, told apart by what a file holds and not by its name."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmtrain.core.errors import DataError, shorten, shown
from llmtrain.data.sources.cells import Reading
from llmtrain.data.sources.encodings import NOT_UTF8, not_utf8

Row = tuple[str, dict[str, Any] | str]
PYTHON = re.compile(rb"\s*\[?\s*\{\s*'")  # a dict as Python prints it
NO_LIST = 'a .json file holds a list of objects, one under "data", or an object a line'


def lines_of(path: Path, content: bytes) -> Iterator[tuple[str, str | None]]:
    """(place, line) of every line that is not blank; None where it is not UTF-8."""
    for number, raw in enumerate(io.BytesIO(content), start=1):
        if raw.strip():
            try:
                yield f"{path}:{number}", raw.decode().rstrip("\r\n")
            except UnicodeDecodeError:
                yield f"{path}:{number}", None


def read_lines(path: Path, content: bytes, how: Reading) -> Iterator[Row]:
    """An object a line; also a list of objects, or objects over several lines, where the file holds that."""
    _refuse_python(path, content)
    start = content.lstrip()
    if start.startswith(b"["):
        try:
            value = _loads(content.decode())
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            how.notes.append(f"a JSON list, not JSON Lines, at {path}")
            yield from _placed(path, value)
            return
    elif start.startswith(b"{"):
        line, _, rest = start.partition(b"\n")
        if line.strip() == b"{" and (objects := _one_after_another(content)) is not None:
            how.notes.append(f"objects over several lines, not JSON Lines, at {path}")
            yield from _placed(path, objects)
            return
        if not rest.strip() and (rows := _of_one_line(content)) is not None:
            how.notes.append(f"one JSON object of many rows, not JSON Lines, at {path}")
            yield from _placed(path, rows)
            return
    yield from _by_line(path, content)


def read_json(path: Path, content: bytes, how: Reading) -> Iterator[Row]:
    """A list of objects, one under a key, an object of columns, or objects one after another."""
    _refuse_python(path, content)
    try:
        value = _loads(content.decode())
    except (ValueError, RecursionError) as error:
        lines = content.strip().split(b"\n")
        if not _is_object(lines[0]) and content.lstrip().startswith(b"{") and (
                objects := _one_after_another(content)) is not None:
            how.notes.append(f"JSON objects one after another at {path}")
            yield from _placed(path, objects)
            return
        if _are_objects(lines):
            how.notes.append(f"JSON Lines in a .json file at {path}")
            yield from _by_line(path, content)
            return
        if isinstance(error, UnicodeDecodeError):
            raise not_utf8(path, content, error) from error
        raise DataError(f"not a JSON file at {path} ({shorten(str(error), 80)}); repair it") from error
    if isinstance(value, dict):
        rows, told = _rows_in(value)
        if told:
            how.notes.append(f"{told} at {path}")
    else:
        rows = value if isinstance(value, list) else None
    if rows is None:
        raise DataError(f"no list of rows at {path}; {NO_LIST}")
    yield from _placed(path, rows)


def _rows_in(value: dict[str, Any]) -> tuple[list[Any] | None, str]:
    """(rows of an object, what it was where that is not the usual ``data``)."""
    data, columns = value.get("data"), value.get("columns")
    if isinstance(data, list) and isinstance(columns, list) and data and all(
            isinstance(row, list) and len(row) == len(columns) for row in data) and all(
            isinstance(name, str) for name in columns):
        return [dict(zip(columns, row, strict=True)) for row in data], "columns and data of pandas (orient=split)"
    if isinstance(data, list) and (len(value) == 1 or not data or any(isinstance(row, dict) for row in data)):
        return data, ""
    lists = [(name, rows) for name, rows in value.items()
             if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)]
    if len(lists) == 1:
        return lists[0][1], f"rows under the key {shown(lists[0][0])}"
    if value and all(isinstance(cells, list) for cells in value.values()):
        if not lists and len({len(cells) for cells in value.values()}) == 1:
            return [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)], (
                "an object of columns")
    elif value and all(isinstance(cells, dict) for cells in value.values()):
        keys = list(next(iter(value.values())))
        if all(list(cells) == keys for cells in value.values()) and all(key.isdecimal() for key in keys):
            return [{name: cells[key] for name, cells in value.items()} for key in keys], (
                "an object of columns (pandas' to_json)")
    elif any(isinstance(cell, str) for cell in value.values()):
        return [value], "one row, an object alone"
    return None, ""


def _of_one_line(content: bytes) -> list[Any] | None:
    """Rows of a single line that holds many, never one that may be a row itself."""
    try:
        value = _loads(content.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or any(isinstance(cell, str) for cell in value.values()):
        return None
    return _rows_in(value)[0]


def _one_after_another(content: bytes) -> list[Any] | None:
    """Objects with nothing but white space between them; None for anything else."""
    decoder = json.JSONDecoder(parse_constant=_no_number, object_pairs_hook=_once)
    found, at = [], 0
    try:
        text = content.decode().strip()
        while at < len(text):
            if text[at].isspace():
                at += 1
                continue
            value, at = decoder.raw_decode(text, at)
            found.append(value)
    except (ValueError, RecursionError):
        return None
    return found if all(isinstance(one, dict) for one in found) else None


def object_of(line: str) -> tuple[dict[str, Any] | None, str]:
    """(the JSON object that a line holds, ""), (None, "") for a line that is no JSON, or (None, what is wrong)."""
    if not line.lstrip().startswith("{"):
        return None, ""
    try:
        return _loads(line), ""
    except (ValueError, RecursionError) as error:
        return None, f"not JSON ({shorten(str(error), 80)})"


def _refuse_python(path: Path, content: bytes) -> None:
    """Raises DataError for dicts as Python prints them: one line for the file, not one for each row."""
    if PYTHON.match(content):
        raise DataError(f"Python dicts with single quotes, not JSON, at {path}; write each row by json.dumps(row), or "
                        "a table by DataFrame.to_json(PATH, orient='records', lines=True)")


def _by_line(path: Path, content: bytes) -> Iterator[Row]:
    for place, line in lines_of(path, content):
        if line is None:
            yield place, NOT_UTF8
            continue
        try:
            value = _loads(line)
        except (ValueError, RecursionError) as error:
            yield place, f"not JSON ({shorten(str(error), 80)})"
            continue
        yield place, value if isinstance(value, dict) else "not a JSON object"


def _placed(path: Path, rows: list[Any]) -> Iterator[Row]:
    for number, row in enumerate(rows, start=1):
        yield f"{path}:{number}", row if isinstance(row, dict) else "not a JSON object"


def _are_objects(lines: list[bytes]) -> bool:
    """Whether a file's lines are rows of their own: its first is one, or most are, so that a broken one spoils itself
    alone."""
    if _is_object(lines[0]):
        return True
    written = [line for line in lines if line.strip()]
    return 2 * sum(map(_is_object, written)) > len(written)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(_loads(line.decode()), dict)
    except (ValueError, RecursionError):
        return False


def _loads(text: str) -> Any:
    return json.loads(text, parse_constant=_no_number, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys all differ: which of two values counts would be anybody's guess."""
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise ValueError(f"the key {shown(name, 40)} stands twice")
        made[name] = value
    return made


def _no_number(_name: str) -> None:
    """NaN and infinities, which JSON does not have, are read as nothing: only the rows that need them are bad."""
