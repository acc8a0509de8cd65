"""Rows of a file, each with its place, from JSONL, JSON, CSV, TSV, Parquet or paired text, also .gz and .zst."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from llmtrain.errors import DataError

Row = tuple[str, dict[str, Any] | str]  # (place, columns) or (place, what is wrong with the row)
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")
csv.field_size_limit(1 << 28)


def read_rows(path: Path) -> Iterator[Row]:
    """Every row of a file with its place, ``PATH:LINE``; a row that cannot be parsed comes as its problem.

    Raises:
        DataError: The file is missing, empty, of an unknown kind, or damaged as a whole.
    """
    suffixes = [s.lower() for s in path.suffixes]
    packed = suffixes[-1] if suffixes and suffixes[-1] in (".gz", ".zst") else ""
    kind = (suffixes[-2] if len(suffixes) > 1 else "") if packed else (suffixes[-1] if suffixes else "")
    if kind not in SUFFIXES:
        raise DataError(f"unknown kind of data file at {path}; use {', '.join(SUFFIXES)}, also with .gz or .zst")
    if not path.is_file():
        raise DataError(f"no data file at {path}; check data.train, data.validation and data.test")
    if path.stat().st_size == 0:
        raise DataError(f"empty data file at {path}; it needs at least one row")
    if kind == ".parquet":
        yield from _parquet(path)
        return
    readers: dict[str, Callable[[Path, bytes], Iterator[Row]]] = {
        ".json": _json, ".csv": _csv, ".tsv": _csv, ".txt": _text}
    yield from readers.get(kind, _jsonl)(path, _content(path, packed))


def _content(path: Path, packed: str) -> bytes:
    try:
        if packed == ".gz":
            with gzip.open(path) as file:
                return file.read()
        if packed == ".zst":
            return _unpack_zst(path)
        return path.read_bytes()
    except (OSError, EOFError) as error:
        raise DataError(f"cannot read the data file at {path} ({error}); check or restore it") from error


def _unpack_zst(path: Path) -> bytes:
    try:
        import zstandard
    except ImportError as error:
        raise DataError(f"reading {path} needs zstandard; run: pip install zstandard") from error
    try:
        with path.open("rb") as file:
            return bytes(zstandard.ZstdDecompressor().stream_reader(file).read())
    except zstandard.ZstdError as error:
        raise DataError(f"damaged .zst data file at {path} ({error}); restore it") from error


def _reject_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _lines(path: Path, content: bytes) -> Iterator[tuple[str, str | None]]:
    """(place, line) of every line that is not blank; None where it is not UTF-8."""
    for number, raw in enumerate(content.split(b"\n"), start=1):
        if raw.strip():
            try:
                yield f"{path}:{number}", raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r")
            except UnicodeDecodeError:
                yield f"{path}:{number}", None


def _jsonl(path: Path, content: bytes) -> Iterator[Row]:
    for place, line in _lines(path, content):
        if line is None:
            yield place, "not UTF-8"
            continue
        try:
            value = json.loads(line, parse_constant=_reject_constant)
        except (ValueError, RecursionError) as error:
            yield place, f"not JSON ({str(error)[:80]})"
            continue
        yield place, value if isinstance(value, dict) else "not a JSON object"


def _json(path: Path, content: bytes) -> Iterator[Row]:
    try:
        value = json.loads(content.decode("utf-8-sig"), parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not a JSON file at {path} ({str(error)[:80]}); repair it") from error
    rows = value.get("data") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise DataError(f"no list of rows at {path}; a .json file holds a list of objects, or one under \"data\"")
    for number, row in enumerate(rows, start=1):
        yield f"{path}:{number}", row if isinstance(row, dict) else "not a JSON object"


def _csv(path: Path, content: bytes) -> Iterator[Row]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[:error.start].count(b"\n") + 1
        raise DataError(f"not UTF-8 at {path}:{line}; save the file as UTF-8") from error
    delimiter = "\t" if ".tsv" in [s.lower() for s in path.suffixes] else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="")
    try:
        for row in reader:
            place = f"{path}:{reader.line_num}"
            yield place, "more columns than the header" if "" in row else dict(row)
    except csv.Error as error:
        raise DataError(f"damaged table at {path}:{reader.line_num} ({error}); repair it") from error


def _text(path: Path, content: bytes) -> Iterator[Row]:
    """Paired text: ``document<TAB>summary`` a line."""
    for place, line in _lines(path, content):
        if line is None:
            yield place, "not UTF-8"
            continue
        document, tab, summary = line.partition("\t")
        yield place, {"document": document, "summary": summary} if tab else "no tab between document and summary"


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"cannot read the Parquet file at {path} ({str(error)[:100]}); restore it") from error
    for number, row in enumerate(table.to_pylist(), start=1):
        yield f"{path}:{number}", row
