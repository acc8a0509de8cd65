"""Rows of a file, each with its place, from JSONL, JSON, CSV, TSV, Parquet or paired text, also .gz and .zst."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from llmtrain.data.cells import TWICE, UNREADABLE, shown
from llmtrain.data.tables import read_table
from llmtrain.errors import DataError, shorten

Row = tuple[str, dict[str, Any] | str]  # (place, columns) or (place, what is wrong with the row)
PIECE = 1 << 20  # bytes unpacked at a time
LARGE, DENSE = 256 << 20, 100  # bytes, and times the packed size: no text packs like that
THIN = 2000  # the same of what its lines and items take in memory; tables and logs as texts come to 200
ROW, ITEM = 200, 32  # bytes that a row takes beside its texts, and a number in a list
OPENING = (b"\n", b"{", b"[")  # what a row begins with
FEWEST_ROWS, MOST_ROWS = 4, 4096  # of a batch of Parquet
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")


def kind_of(path: Path) -> tuple[str, str]:
    """(kind, packing): the suffix in lower case, ``.gz`` or ``.zst`` apart; each empty where there is none."""
    suffixes = [s.lower() for s in path.suffixes]
    packed = suffixes.pop() if suffixes and suffixes[-1] in (".gz", ".zst") else ""
    return (suffixes[-1] if suffixes else ""), packed


def read_rows(path: Path) -> Iterator[Row]:
    """Every row of a file with its place, ``PATH:LINE``; a row that cannot be parsed comes as its problem.

    Raises:
        DataError: The file is missing, without a row, of an unknown kind, or damaged as a whole.
    """
    kind, _ = kind_of(path)
    if kind not in SUFFIXES:
        raise DataError(f"unknown kind of data file at {path}; use {', '.join(SUFFIXES)}, also with .gz or .zst")
    readers: dict[str, Callable[[Path, bytes], Iterator[Row]]] = {
        ".json": _json, ".csv": _comma, ".tsv": _tab, ".txt": _text, ".parquet": _parquet}
    none = True
    for row in readers.get(kind, _jsonl)(path, read_bytes(path)):
        none = False
        yield row
    if none:
        raise DataError(f"no rows in the data file at {path}; it needs at least one")


def read_bytes(path: Path) -> bytes:
    """A file's content, unpacked. Raises DataError when it is missing, empty or damaged."""
    if not path.is_file():
        raise DataError(f"no data file at {path}; check the path")
    try:
        if path.stat().st_size == 0:
            raise DataError(f"empty data file at {path}; it needs at least one row")
        packed = kind_of(path)[1]
        if packed == ".gz":
            with gzip.open(path) as file:
                return b"".join(_bounded(path, iter(lambda: file.read(PIECE), b"")))
        return b"".join(_bounded(path, _unpack_zst(path))) if packed else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read the data file at {path} ({error}); check or restore it") from error


def read_text(path: Path) -> str:
    """A text file's content, unpacked, without a byte order mark. Raises DataError when it is not UTF-8."""
    content = read_bytes(path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[:error.start].count(b"\n") + 1
        raise DataError(f"not UTF-8 text at {path}:{line}; save it as UTF-8") from error


def _bounded(path: Path, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces of an unpacked file. Raises DataError for one that unpacks to far more than any text would.

    What a reader makes of it counts too: a hundred million short lines, or empty lists, take few bytes, but more memory
    than there is, and hours to be looked at.
    """
    total = made = 0
    for piece in pieces:
        total += len(piece)
        made += ROW * sum(map(piece.count, OPENING)) + ITEM * piece.count(b",")
        _check_bound(path, total)
        if made > LARGE and made > THIN * (packed := path.stat().st_size):
            raise DataError(f"the data file at {path} holds more lines or items than any text of {packed:,} packed "
                            "bytes would; unpack it yourself if you trust it")
        yield piece


def _check_bound(path: Path, unpacked: int) -> None:
    if unpacked > LARGE and unpacked > DENSE * (packed := path.stat().st_size):
        raise DataError(f"the data file at {path} unpacks to more than {DENSE} times its {packed:,} bytes, as no text "
                        "does; unpack it yourself if you trust it")


def _unpack_zst(path: Path) -> Iterator[bytes]:
    """Every frame of a .zst file; a stream reader would give the half of a truncated one without a word."""
    import zstandard

    packed, at = memoryview(path.read_bytes()), 0
    unpacker = zstandard.ZstdDecompressor()
    try:
        while at < len(packed):
            frame = unpacker.decompressobj()
            while not frame.eof:
                if at == len(packed):
                    raise zstandard.ZstdError("it ends in the middle of a frame")
                piece = packed[at:at + (PIECE >> 6)]
                yield frame.decompress(piece)
                at += len(piece) - len(frame.unused_data)  # what belongs to the next frame
    except zstandard.ZstdError as error:
        raise DataError(f"damaged .zst data file at {path} ({error}); restore it") from error


def _lines(path: Path, content: bytes) -> Iterator[tuple[str, str | None]]:
    """(place, line) of every line that is not blank; None where it is not UTF-8."""
    for number, raw in enumerate(io.BytesIO(content), start=1):
        if raw.strip():
            try:
                yield f"{path}:{number}", raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                yield f"{path}:{number}", None


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


def _jsonl(path: Path, content: bytes) -> Iterator[Row]:
    for place, line in _lines(path, content):
        if line is None:
            yield place, "not UTF-8"
            continue
        try:
            value = json.loads(line, parse_constant=_no_number, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            yield place, f"not JSON ({shorten(str(error), 80)})"
            continue
        yield place, value if isinstance(value, dict) else "not a JSON object"


def _json(path: Path, content: bytes) -> Iterator[Row]:
    try:
        value = json.loads(content.decode("utf-8-sig"), parse_constant=_no_number, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not a JSON file at {path} ({shorten(str(error), 80)}); repair it") from error
    rows = value.get("data") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise DataError(f"no list of rows at {path}; a .json file holds a list of objects, or one under \"data\"")
    for number, row in enumerate(rows, start=1):
        yield f"{path}:{number}", row if isinstance(row, dict) else "not a JSON object"


def _comma(path: Path, content: bytes) -> Iterator[Row]:
    return read_table(path, content, ",")


def _tab(path: Path, content: bytes) -> Iterator[Row]:
    return read_table(path, content, "\t")


def _text(path: Path, content: bytes) -> Iterator[Row]:
    """Paired text: ``document<TAB>summary`` a line."""
    for place, line in _lines(path, content):
        if line is None:
            yield place, "not UTF-8"
            continue
        document, tab, summary = line.partition("\t")
        yield place, {"document": document, "summary": summary} if tab else "no tab between document and summary"


def _parquet(path: Path, content: bytes) -> Iterator[Row]:
    """Batch by batch, and all of it twice: a page of one kilobyte may hold a million rows, or a value that a million
    rows repeat."""
    import pyarrow
    import pyarrow.parquet

    def batches() -> Iterator[Any]:
        for batch in file.iter_batches(batch_size=min(MOST_ROWS, max(FEWEST_ROWS, 4 * LARGE // max(1, longest)))):
            plain = [column.dictionary_decode() if isinstance(column, pyarrow.DictionaryArray) else column
                     for column in batch.columns]
            yield pyarrow.RecordBatch.from_arrays(plain, names=batch.schema.names)

    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(content))
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        _check_bound(path, sum(group.total_byte_size for group in groups))
        longest = max((group.total_byte_size for group in groups), default=1)  # of any value
        total = 0
        for batch in batches():  # all of it before the first row: half a million rows take a while to be looked at
            total += batch.nbytes + ROW * batch.num_rows
            _check_bound(path, total)
        for number, row in enumerate((row for batch in batches() for row in rows_of_batch(batch)), start=1):
            yield f"{path}:{number}", row
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        line = shorten(str(error), 100)
        raise DataError(f"cannot read the Parquet file at {path} ({line}); restore it") from error


def rows_of_batch(batch: Any) -> Iterator[dict[str, Any]]:
    """An arrow batch row by row. A column with a value that Python cannot hold, such as a date after the year 9999, is
    unusable, and harmless where nobody needs it; so is a name that stands twice."""
    import pyarrow

    columns: dict[str, list[Any]] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            values = column.to_pylist()
        except (OverflowError, ValueError, pyarrow.ArrowException):
            values = [UNREADABLE] * batch.num_rows
        columns[name] = [TWICE] * batch.num_rows if name in columns else values
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))
