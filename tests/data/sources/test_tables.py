"""CSV and TSV: a stray quote is told with its line, and never merges rows."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from llmtrain.core.errors import DataError
from llmtrain.data.sources.readers import read_rows


def rows(path: Path, text: str | bytes) -> list[tuple[str, Any]]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [(place.rpartition(":")[2], row) for place, row in read_rows(path)]


HEAD = "document\tsummary\n"


def test_an_unbalanced_quote_is_a_bad_row_of_its_line_and_no_other(tmp_path: Path) -> None:
    found = rows(tmp_path / "t.tsv", HEAD + 'a\tone\n"hello\ttwo\nb\tthree\nsay "x"\tfour\n')
    assert [number for number, _ in found] == ["2", "3", "4", "5"]
    assert "quote" in found[1][1]
    assert found[2][1] == {"document": "b", "summary": "three"}
    assert found[3][1] == {"document": 'say "x"', "summary": "four"}


def test_two_stray_quotes_merge_no_rows(tmp_path: Path) -> None:
    found = rows(tmp_path / "t.tsv", HEAD + 'a\t"hello\nb\tworld"\nc\td\n')
    assert "quote" in found[0][1]
    assert found[1][1] == {"document": "b", "summary": 'world"'}
    assert found[2][1] == {"document": "c", "summary": "d"}
    comma = rows(tmp_path / "t.csv", 'document,summary\n"a,b\nc,d\n"e,f\n')
    assert all(isinstance(row, str) or row["summary"] == "d" for _, row in comma)
    assert ("3", {"document": "c", "summary": "d"}) in comma


def test_a_quoted_beginning_is_ordinary_text_in_a_tsv(tmp_path: Path) -> None:
    found = rows(tmp_path / "t.tsv", HEAD + '"Yes," he said\tagrees\n')
    assert found == [("2", {"document": '"Yes," he said', "summary": "agrees"})]
    problem = rows(tmp_path / "t.csv", 'document,summary\n"Yes" he said,agrees\na,b\n')
    assert isinstance(problem[0][1], str)
    assert problem[1] == ("3", {"document": "a", "summary": "b"})


@pytest.mark.parametrize("mark", ["\t", ","])
def test_properly_quoted_fields_work_with_their_first_line(mark: str, tmp_path: Path) -> None:
    path = tmp_path / ("t.tsv" if mark == "\t" else "t.csv")
    written = [["two\nlines, \"quoted\"", "a"], ["plain", "b \"c\""], ["" if mark == "," else "x", "z"]]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=mark)
        writer.writerows([["", "document", "summary"], *([str(n), *row] for n, row in enumerate(written))])  # an index
    found = [(place.rpartition(":")[2], row) for place, row in read_rows(path)]
    assert [number for number, _ in found] == ["2", "4", "5"]
    assert [[row["document"], row["summary"]] for _, row in found] == written


def test_a_byte_that_is_not_utf8_spoils_its_row_alone(tmp_path: Path) -> None:
    found = rows(tmp_path / "t.csv", b"document,summary\na,b\n\xff,c\nd,e\n")
    assert found[1] == ("3", "not UTF-8")
    assert found[2] == ("4", {"document": "d", "summary": "e"})
    with pytest.raises(DataError, match=r"not UTF-8\) at .*t\.csv:1; save it as UTF-8, .* iconv -f WINDOWS-1252"):
        rows(tmp_path / "t.csv", b"document,summary\xff\na,b\n")


def test_cells_without_a_value_and_files_without_a_row(tmp_path: Path) -> None:
    found = rows(tmp_path / "t.csv", "document,summary\nNaN,b\na,NA\nnan is not a number,NaNs\n")
    assert [row["document"] for _, row in found] == [None, "a", "nan is not a number"]
    assert found[1][1]["summary"] is None
    with pytest.raises(DataError, match=r"no rows in the data file at .*t\.csv"):
        rows(tmp_path / "t.csv", "\n\n")


@pytest.mark.parametrize(("name", "text", "told"), [
    ("t.csv", "document,summary\n", r"no rows under the header \('document', 'summary'\) at .*t\.csv:1;"),
    ("t.csv", "\nsep=;\ndocument;summary", r"no rows under the header \('document', 'summary'\) at .*t\.csv:3;"),
    ("t.tsv", "\n\ntext\n\n", r"no rows under the header \('text'\) at .*t\.tsv:3;"),
    ("t.csv", "a,b\n,\n , \n", r"no rows under the header \('a', 'b'\) but 2 without any value at .*t\.csv:1;")])
def test_a_header_without_a_row_is_told_as_one(name: str, text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told):
        rows(tmp_path / name, text)


def test_parquet_without_a_row_names_its_columns(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([("document", pyarrow.string()), ("summary", pyarrow.string())])
    pyarrow.parquet.write_table(schema.empty_table(), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"no rows under the columns \('document', 'summary'\) at .*t\.parquet;"):
        list(read_rows(tmp_path / "t.parquet"))


def test_a_stray_quote_in_a_long_file_costs_little(tmp_path: Path) -> None:
    lines = "".join(f'{"" if i % 500 else chr(34)}d{i}\ts{i}\n' for i in range(1, 20_001))
    found = rows(tmp_path / "t.tsv", HEAD + lines)
    assert len(found) == 20_000
    assert sum(isinstance(row, str) for _, row in found) == 40
