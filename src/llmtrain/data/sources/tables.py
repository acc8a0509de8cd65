"""CSV and TSV as people's tools write them, read so that a stray quote is told and never merges rows.

A field that begins with a quote must end with one. In a .tsv, where most tools write no quotes at all, a field like
``"Yes," he said`` is taken as it stands; in a .csv it is a bad row.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from llmtrain.core.errors import DataError, shown
from llmtrain.core.files import SURROGATE
from llmtrain.data.sources.cells import TWICE, Reading, names_in
from llmtrain.data.sources.compression import kind_of
from llmtrain.data.sources.encodings import NOT_UTF8, SAVE_AS

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
# the first line that Excel writes and obeys; saved as a table once more, cells without a value follow it
DECLARED = re.compile(r"\s*[\"']?sep=(.)[\"']?\1*\s*", re.IGNORECASE)
LONGEST = 10_000  # lines of one row; a quote that is still open then is a stray one
UNBALANCED = "a quote opens a field and does not close it"
Row = tuple[str, dict[str, Any] | str]
csv.field_size_limit(1 << 28)


def read_table(path: Path, content: bytes, how: Reading) -> Iterator[Row]:
    """Rows under the header, each with the first of its lines; the delimiter is the asked, the declared (``sep=;``),
    the kind's own, or the only other one that fits. Rows of nothing but delimiters are left out and counted.

    Raises:
        DataError: The header cannot be read, or no row follows it.
    """
    # a byte that is not UTF-8 becomes a lone surrogate, and with it only its own row is bad
    lines = io.StringIO(content.decode("utf-8", "surrogateescape"), newline="").readlines()
    start, delimiter = _delimiter(path, lines, how)
    records = _records(lines, delimiter, start)
    number, header = next(((at, cells) for at, cells in records if _holds(cells)), (1, []))
    if isinstance(header, str) or any(SURROGATE.search(name) for name in header):
        problem, todo = (header, "mend it") if isinstance(header, str) else (NOT_UTF8, SAVE_AS)
        raise DataError(f"cannot read the header ({problem}) at {path}:{number}; {todo}")
    twice = {name: TWICE for name, count in Counter(header).items() if count > 1}  # harmless where nobody needs them
    nothing, absent, none = 0, Counter[str](), True
    at = number
    for number, cells in records:
        if len(header) > 1 and not _holds(cells):
            nothing += 1
            continue
        row, none = cells if isinstance(cells, str) else _row(header, cells, how.empty_cells, absent), False
        yield f"{path}:{number}", row | twice if twice and not isinstance(row, str) else row
    if none and header:
        blank = f" but {nothing} without any value" if nothing else ""
        raise DataError(f"no rows under the header ({names_in(dict.fromkeys(header), 6)}){blank} at {path}:{at}; a "
                        "table needs at least one under the line that names its columns")
    if nothing:
        how.notes.append(f"{nothing} rows without any value left out at {path}")
    if absent:
        told = ", ".join(f"{count} {shown(cell, 16)}" for cell, count in absent.most_common(6))
        how.notes.append(f"cells taken as empty: {told} at {path} (data.empty_cells)")


def _delimiter(path: Path, lines: list[str], how: Reading) -> tuple[int, str]:
    """(line where the header is looked for, delimiter)."""
    own = "\t" if kind_of(path)[0] == ".tsv" else ","
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    declared = DECLARED.fullmatch(lines[first].rstrip("\r\n")) if lines else None
    start = first + 1 if declared else 0
    if how.delimiter is not None:
        asked = "\t" if how.delimiter in ("tab", "\\t") else how.delimiter
        if len(asked) != 1 or asked in "\"\r\n":
            raise DataError(f"the delimiter {shown(how.delimiter, 16)} is no single character; set data.delimiter to "
                            "one, such as ';', or to tab")
        return start, asked
    if declared:
        how.notes.append(f"delimiter {shown(declared[1])} by the first line, {lines[first].strip()}, at {path}")
        return start, declared[1]
    if _widths(lines, own)[:1] > [1]:
        return start, own
    fitting = [one for one in DELIMITERS if one != own and (widths := _widths(lines, one))[:1] > [1]
               and len(set(widths)) == 1]
    if len(fitting) != 1:
        return start, own
    how.notes.append(f"delimiter guessed: {DELIMITERS[fitting[0]]}, not {DELIMITERS[own]}, at {path} (data.delimiter)")
    return start, fitting[0]


def _widths(lines: list[str], delimiter: str) -> list[int]:
    """Cells of the header and the first rows."""
    return [len(cells) for _, cells in islice(_records(lines, delimiter, 0), 4)
            if isinstance(cells, list) and _holds(cells)]


def _holds(cells: list[str] | str) -> bool:
    """Whether a record is more than white space and delimiters."""
    return isinstance(cells, str) or any(cell.strip() for cell in cells)


def _row(header: list[str], cells: list[str], empty: frozenset[str], absent: Counter[str]) -> dict[str, Any] | str:
    if any(SURROGATE.search(cell) for cell in cells):
        return NOT_UTF8
    while len(cells) > len(header) and not cells[-1].strip():  # delimiters that a spreadsheet leaves behind
        cells = cells[:-1]
    if len(cells) > len(header):
        return "more columns than the header"
    absent.update(cell for cell in cells if cell in empty)
    values = [None if cell in empty else cell for cell in cells]
    return dict(zip(header, [*values, *[None] * (len(header) - len(cells))], strict=True))


def _records(lines: list[str], delimiter: str, start: int) -> Iterator[tuple[int, list[str] | str]]:
    """(number of its first line, cells or problem) of each record, blank lines left out."""
    at, columns = start, None
    while at < len(lines):
        taken, cells = _record(lines, at, delimiter)
        if taken > 1 and isinstance(cells, list) and _merged(cells, columns, delimiter):
            taken, cells = 1, UNBALANCED
        if isinstance(cells, str) and delimiter == "\t" and lines[at].count('"') > 1:
            literal = lines[at].rstrip("\r\n").split("\t")
            taken, cells = (1, literal) if len(literal) == columns else (taken, cells)
        if cells:
            yield at + 1, cells
            columns = len(cells) if columns is None and isinstance(cells, list) and _holds(cells) else columns
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
