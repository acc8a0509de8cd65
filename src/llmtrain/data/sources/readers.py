"""Rows of a file, each with its place, from JSONL, JSON, CSV, TSV, Parquet or paired text, also packed."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from llmtrain.core.errors import DataError, shorten
from llmtrain.data.sources.cells import TWICE, UNREADABLE, Reading, names_in
from llmtrain.data.sources.compression import PACKED, kind_of, read_bytes
from llmtrain.data.sources.encodings import NOT_UTF8, as_utf8, check_kind, decoded
from llmtrain.data.sources.json_rows import lines_of, read_json, read_lines
from llmtrain.data.sources.tables import read_table
from llmtrain.data.sources.unpacking_limits import LARGE, ROW, check_bound

__all__ = ["SUFFIXES", "kind_of", "read_bytes", "read_rows", "read_text", "rows_of_batch"]

Row = tuple[str, dict[str, Any] | str]  # (place, columns) or (place, what is wrong with the row)
FEWEST_ROWS, MOST_ROWS = 4, 4096  # of a batch of Parquet
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")


def read_rows(path: Path, how: Reading | None = None) -> Iterator[Row]:
    """Every row of a file with its place, ``PATH:LINE``; a row that cannot be parsed comes as its problem.

    Args:
        how: How tables are read, and the notes that what was guessed is told in.

    Raises:
        DataError: The file is missing, without a row, of an unknown kind, or damaged as a whole.
    """
    how = how or Reading()
    kind, _ = kind_of(path)
    if kind not in SUFFIXES:
        if path.is_file():
            with path.open("rb") as file:
                check_kind(path, file.read(1 << 12), kind)
        pair = ", or two plain texts with as many lines, the source's and the target's" if how.parallel else ""
        raise DataError(f"unknown kind of data file at {path}; use {', '.join(SUFFIXES)}, also with "
                        f"{', '.join(PACKED)}{pair}")
    readers: dict[str, Callable[[Path, bytes, Reading], Iterator[Row]]] = {
        ".json": read_json, ".csv": read_table, ".tsv": read_table, ".txt": _text, ".parquet": _parquet}
    content = read_bytes(path)
    check_kind(path, content, kind)
    if kind != ".parquet":
        content = as_utf8(path, content)
    none = True
    for row in readers.get(kind, read_lines)(path, content, how):
        none = False
        yield row
    if none:
        raise DataError(f"no rows in the data file at {path}; it needs at least one")


def read_text(path: Path) -> str:
    """A text file's content, unpacked, without a byte order mark. Raises DataError when it is not UTF-8."""
    content = read_bytes(path)
    check_kind(path, content, "")
    return decoded(path, content)


def _text(path: Path, content: bytes, how: Reading) -> Iterator[Row]:
    """Paired text: ``source<TAB>target`` a line."""
    first, second = how.pair
    for place, line in lines_of(path, content):
        if line is None:
            yield place, NOT_UTF8
            continue
        source, tab, target = line.partition("\t")
        yield place, {first: source, second: target} if tab else f"no tab between {first} and {second}"


def _parquet(path: Path, content: bytes, _how: Reading) -> Iterator[Row]:
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
        if not file.metadata.num_rows:
            named = names_in(dict.fromkeys(file.schema_arrow.names), 6)
            raise DataError(f"no rows under the columns ({named}) at {path}; it needs at least one")
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        check_bound(path, sum(group.total_byte_size for group in groups))
        longest = max((group.total_byte_size for group in groups), default=1)  # of any value
        total = 0
        for batch in batches():  # all of it before the first row: half a million rows take a while to be looked at
            total += batch.nbytes + ROW * batch.num_rows
            check_bound(path, total)
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
