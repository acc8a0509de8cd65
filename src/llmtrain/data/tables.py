"""CSV and TSV as people's tools write them, read so that a stray quote is told and never merges rows.

A field that begins with a quote must end with one. In a .tsv, where most tools write no quotes at all, a field like
``"Yes," he said`` is taken as it stands; in a .csv it is a bad row.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmtrain.data.cells import TWICE
from llmtrain.data.examples import SURROGATE
from llmtrain.errors import DataError

EMPTY = frozenset({"NaN", "nan", "NA"})  # how pandas and R write a cell without a value
LONGEST = 10_000  # lines of one row; a quote that is still open then is a stray one
UNBALANCED = "a quote opens a field and does not close it"
Row = tuple[str, dict[str, Any] | str]
csv.field_size_limit(1 << 28)


def read_table(path: Path, content: bytes, delimiter: str) -> Iterator[Row]:
    """Rows under the header, each with the first of its lines.

    Raises:
        DataError: The header cannot be read.
    """
    # a byte that is not UTF-8 becomes a lone surrogate, and with it only its own row is bad
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    records = _records(io.StringIO(text, newline="").readlines(), delimiter)
    number, header = next(records, (1, []))
    if isinstance(header, str) or any(SURROGATE.search(name) for name in header):
        problem = header if isinstance(header, str) else "not UTF-8"
        raise DataError(f"cannot read the header ({problem}) at {path}:{number}; save the table as UTF-8 with a header")
    twice = {name: TWICE for name, count in Counter(header).items() if count > 1}  # harmless where nobody needs them
    for number, cells in records:
        row = cells if isinstance(cells, str) else _row(header, cells)
        yield f"{path}:{number}", row | twice if twice and not isinstance(row, str) else row


def _row(header: list[str], cells: list[str]) -> dict[str, Any] | str:
    if any(SURROGATE.search(cell) for cell in cells):
        return "not UTF-8"
    if len(cells) > len(header):
        return "more columns than the header"
    values = [None if cell in EMPTY else cell for cell in cells]
    return dict(zip(header, [*values, *[None] * (len(header) - len(cells))], strict=True))


def _records(lines: list[str], delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """(number of its first line, cells or problem) of each record, blank lines left out."""
    at, columns = 0, None
    while at < len(lines):
        taken, cells = _record(lines, at, delimiter)
        if taken > 1 and isinstance(cells, list) and _merged(cells, columns, delimiter):
            taken, cells = 1, UNBALANCED
        if isinstance(cells, str) and delimiter == "\t" and lines[at].count('"') > 1:
            literal = lines[at].rstrip("\r\n").split("\t")
            taken, cells = (1, literal) if len(literal) == columns else (taken, cells)
        if cells:
            yield at + 1, cells
            columns = len(cells) if columns is None and isinstance(cells, list) else columns
        at += taken


def _record(lines: list[str], at: int, delimiter: str) -> tuple[int, list[str] | str]:
    """(lines taken, cells or problem) of the record that begins at a line."""
    reader = csv.reader((lines[i] for i in range(at, min(at + LONGEST, len(lines)))), delimiter=delimiter, strict=True)
    try:
        cells = next(reader)
    except csv.Error as error:
        # the next line starts afresh: what a stray quote swallowed is read again as rows
        return 1, UNBALANCED if "unexpected end" in str(error) or reader.line_num > 1 else str(error)
    return reader.line_num, cells


def _merged(cells: list[str], columns: int | None, delimiter: str) -> bool:
    """Whether a record of several lines is several rows: cells are missing, or a tab stands beside a line break."""
    if columns is not None and len(cells) < columns:
        return True
    return delimiter == "\t" and any("\t" in cell and ("\n" in cell or "\r" in cell) for cell in cells)
