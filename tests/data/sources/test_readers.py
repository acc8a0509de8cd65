"""Data files as people's programs write them: read for what they hold, told in a line, or named for what they are."""

from __future__ import annotations

import bz2
import codecs
import json
import lzma
import os
from pathlib import Path
from typing import Any

import pytest

from helpers import pairs, write_jsonl
from llmtrain.config.choices import OnBadRow
from llmtrain.core.errors import DataError
from llmtrain.data.examples import Example
from llmtrain.data.sources.cells import Reading
from llmtrain.data.sources.line_stream import batches_of_lines
from llmtrain.data.sources.own_files import examples_of
from llmtrain.data.sources.readers import read_rows
from llmtrain.data.sources.splits import load_splits
from llmtrain.data.text.preprocess.stopword_lists import read_list
from llmtrain.evaluation.predictions import read_predictions
from llmtrain.tasks.summarization.options import SummarizationData

ROWS = [{"document": row["document"], "summary": row["summary"]} for row in pairs(12)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def read(path: Path, content: str | bytes, **how: Any) -> tuple[list[Any], list[str]]:
    """(rows, notes) of a file with this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    reading = Reading(pair=("document", "summary"), **how)
    return [row for _, row in read_rows(path, reading)], reading.notes


def files(path: Path, **values: Any) -> SummarizationData:
    return SummarizationData(name="files", train=str(path), **values)


def refused(path: Path, content: str | bytes, **values: Any) -> list[str]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        load_splits(files(path, **values))
    return caught.value.problems


def table(mark: str, header: str = "document{}summary", quote: str = "") -> str:
    return header.format(mark) + "\n" + "".join(
        f"{quote}{row['document']}{quote}{mark}{quote}{row['summary']}{quote}\n" for row in ROWS)


@pytest.mark.parametrize(("mark", "name", "told"), [
    (";", "t.csv", "semicolon"), ("\t", "t.csv", "tab"), ("|", "t.csv", "pipe"), (",", "t.tsv", "comma")])
def test_the_delimiter_is_guessed_where_it_is_clear_and_told(mark: str, name: str, told: str, tmp_path: Path) -> None:
    for text in (table(mark), table(mark, '"document"{}"summary"', '"')):
        rows, notes = read(tmp_path / name, text)
        assert rows == ROWS
        assert len(notes) == 1 and f"delimiter guessed: {told}" in notes[0] and "data.delimiter" in notes[0]
    assert read(tmp_path / name, table(mark), delimiter="tab" if mark == "\t" else mark) == (ROWS, [])


def test_a_declared_delimiter_is_obeyed_and_an_unclear_one_is_not_guessed(tmp_path: Path) -> None:
    rows, notes = read(tmp_path / "t.csv", "sep=;\r\n" + table(";"))
    assert rows == ROWS and "sep=;" in notes[0]
    for first in ("\n\r\nsep=;\n", "\ufeff\nsep=;\n", '"sep=;";;\n', " \nSEP=;\n\n"):
        rows, notes = read(tmp_path / "t.csv", first + table(";"))
        assert rows == ROWS and "sep=;" in notes[0].lower() and len(notes) == 1
    assert read(tmp_path / "t.csv", "\nsep=;\n" + table(","), delimiter=",") == (ROWS, [])
    rows, notes = read(tmp_path / "t.csv", "a;b|c\nd;e|f\n")
    assert rows == [{"a;b|c": "d;e|f"}] and notes == []
    assert read(tmp_path / "t.csv", table(",")) == (ROWS, [])
    assert "no single character" in refused(tmp_path / "t.csv", table(";"), delimiter=";;")[0]


@pytest.mark.parametrize("header", ["Document,SUMMARY", " document , summary ", "\ufeffdocument,Summary"])
def test_a_header_that_nearly_fits_is_taken_and_told(header: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(table(",", header))
    found = load_splits(files(tmp_path / "t.csv"))
    assert len(found.train) + len(found.validation) + len(found.test) == 12
    assert sum("is read as" in note for note in found.notes) in (1, 2)
    assert "did you mean 'Document' or 'DOCUMENT'" in refused(
        tmp_path / "t.csv", "Document,DOCUMENT,summary\n" + "a,b,c\n" * 12)[0]


def test_underscores_and_spaces_in_a_name_are_one(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "t.jsonl", [{"full text": row["document"], "summary": row["summary"]} for row in ROWS])
    assert any("'full text' is read as 'Full_Text'" in note for note in load_splits(
        files(tmp_path / "t.jsonl", document="Full_Text")).notes)


def test_nested_columns_are_named_with_dots_and_a_literal_dot_wins(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    nested = [{"article": {"text": row["document"]}, "summary": row["summary"]} for row in ROWS]
    write_jsonl(tmp_path / "t.jsonl", nested)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(nested), tmp_path / "t.parquet")
    for name in ("t.jsonl", "t.parquet"):
        found = load_splits(files(tmp_path / name, document="article.text"))
        assert {e.source for e in found.train} < {row["document"] for row in ROWS}
    write_jsonl(tmp_path / "t.jsonl", [row | {"article.text": f"own {row['summary']}"} for row in nested])
    assert all(e.source.startswith("own ")
               for e in load_splits(files(tmp_path / "t.jsonl", document="article.text")).train)


def test_lists_of_paragraphs_are_joined_and_told(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "t.jsonl", [row | {"document": [row["document"], "end"]} for row in ROWS])
    found = load_splits(files(tmp_path / "t.jsonl"))
    assert all(e.source.endswith(".\nend") for e in found.train)
    assert sum("joined by line breaks" in note for note in found.notes) == 1


COLUMNS = {name: [row[name] for row in ROWS] for name in ("document", "summary")}
INDEXED = {name: {str(i): cell for i, cell in enumerate(cells)} for name, cells in COLUMNS.items()}
SPLIT = {"columns": list(COLUMNS), "index": list(range(12)), "data": [list(row.values()) for row in ROWS]}


@pytest.mark.parametrize(("name", "content", "told"), [
    ("t.json", LINES, "JSON Lines in a .json file"), ("t.jsonl", json.dumps(ROWS), "a JSON list"),
    ("t.jsonl", json.dumps(ROWS, indent=1), "a JSON list"),
    ("t.json", "\n".join(json.dumps(row, indent=2) for row in ROWS), "one after another"),
    ("t.jsonl", "\n".join(json.dumps(row, indent=2) for row in ROWS), "over several lines"),
    ("t.json", json.dumps(COLUMNS), "an object of columns"), ("t.json", json.dumps(INDEXED), "to_json"),
    ("t.jsonl", json.dumps(INDEXED), "one JSON object of many rows"), ("t.json", json.dumps(SPLIT), "orient=split"),
    ("t.json", json.dumps({"version": 1, "rows": ROWS}), "under the key 'rows'")])
def test_json_is_read_by_what_it_holds(name: str, content: str, told: str, tmp_path: Path) -> None:
    rows, notes = read(tmp_path / name, content)
    assert rows == ROWS
    assert len(notes) == 1 and told in notes[0]


def test_plain_json_has_no_notes_and_unclear_json_is_refused(tmp_path: Path) -> None:
    for name, content in (("t.json", json.dumps(ROWS)), ("t.json", json.dumps({"data": ROWS})), ("t.jsonl", LINES)):
        assert read(tmp_path / name, content) == (ROWS, [])
    for unclear in ({"train": ROWS, "test": ROWS}, {"document": ["a"], "summary": []}, 7, {}):
        assert "no list of rows" in refused(tmp_path / "t.json", json.dumps(unclear))[0]


def test_a_broken_first_row_of_json_lines_spoils_itself_alone(tmp_path: Path) -> None:
    for broken in ('{"document": "a", "summary": ', "x", "{}}", '{"document": "\xff"}'):
        content = broken.encode("latin-1") + b"\n" + LINES.encode()
        rows, notes = read(tmp_path / "t.json", content)
        assert isinstance(rows[0], str) and rows[1:] == ROWS
        assert len(notes) == 1 and "JSON Lines in a .json file" in notes[0]
        (problem,) = refused(tmp_path / "t.json", content)
        assert problem.startswith("bad row: not ") and "t.json:1;" in problem
        assert len(load_splits(files(tmp_path / "t.json", on_bad_row=OnBadRow.skip)).training) <= len(ROWS)
    for whole in ("[\n" + LINES.replace("\n", ",\n"), json.dumps(ROWS, indent=1)[:-2], '[\n{"document": "a"}\n',
                  "x\n{}"):
        assert "not a JSON file at" in refused(tmp_path / "t.json", whole)[0]


@pytest.mark.parametrize("skip", OnBadRow)
@pytest.mark.parametrize("name", ["t.json", "t.jsonl", "t.csv", "t.txt"])
def test_bytes_that_are_no_utf_8_are_told_with_what_converts_them(name: str, skip: OnBadRow, tmp_path: Path) -> None:
    texts = {"t.json": '[{"document": "ä", "summary": "b"}]', "t.jsonl": '{"document": "ä", "summary": "b"}\n',
             "t.csv": "document,summary\nä,b\n", "t.txt": "ä\tb\n"}
    (problem,) = refused(tmp_path / name, texts[name].encode("cp1252"), on_bad_row=skip)
    assert "not UTF-8" in problem and f"{name}:{2 if name == 't.csv' else 1}" in problem
    assert "iconv -f WINDOWS-1252 -t UTF-8" in problem
    if name != "t.txt":
        with pytest.raises(DataError, match="not UTF-8 .*iconv -f WINDOWS-1252"):
            read_predictions(tmp_path / name, [Example("0", "x", "y", ("y",))])


@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_python_dicts_are_told_once(name: str, tmp_path: Path) -> None:
    for text in ("".join(f"{row}\n" for row in ROWS), str(ROWS)):
        (problem,) = refused(tmp_path / name, text)
        assert "Python dicts" in problem and "json.dumps" in problem


def test_equal_problems_are_one_line_with_a_count(tmp_path: Path) -> None:
    lines = refused(tmp_path / "t.jsonl", LINES + '{"summary": "a"}\n' * 40 + "[1]\n")
    assert len(lines) == 2
    assert "no column 'document' (it has 'summary')" in lines[0] and "t.jsonl:13 and 39 more rows" in lines[0]


def test_no_usable_row_tells_the_first_reason(tmp_path: Path) -> None:
    for skip in OnBadRow:
        (problem,) = refused(tmp_path / "t.csv", table(",", "text{}title"), on_bad_row=skip)
        assert "no column 'document' (it has 'text', 'title') at" in problem and "t.csv:2" in problem
    assert "among 12 of train" in problem and "data.document and data.summary" in problem


def test_rows_of_nothing_are_left_out_and_cells_without_a_value_counted(tmp_path: Path) -> None:
    rows, notes = read(tmp_path / "t.csv", table(",", "document{}summary") + ",\n,,,\n , \nx,#N/A\nnull,y\n")
    assert rows == [*ROWS, {"document": "x", "summary": None}, {"document": None, "summary": "y"}]
    assert "3 rows without any value left out" in notes[0]
    assert "1 '#N/A', 1 'null'" in notes[1] and "data.empty_cells" in notes[1]
    kept, notes = read(tmp_path / "t.csv", "document,summary\nx,#N/A\n", empty_cells=frozenset())
    assert kept == [{"document": "x", "summary": "#N/A"}] and notes == []


@pytest.mark.parametrize("code", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "utf-8-sig"])
def test_a_byte_order_mark_is_obeyed_everywhere(code: str, tmp_path: Path) -> None:
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE, "utf-32-be": codecs.BOM_UTF32_BE}
    def packed(text: str) -> bytes:
        return mark.get(code, b"") + text.encode(code)

    for name, text in (("t.txt", table("\t").partition("\n")[2]), ("t.csv", table(",")), ("t.tsv", table("\t")),
                       ("t.json", json.dumps(ROWS)), ("t.jsonl", LINES)):
        assert read(tmp_path / name, packed(text)) == (ROWS, [])
    (tmp_path / "p.txt").write_bytes(packed("a\nb\n"))
    examples = [Example(str(i), "x", "y", ("y",)) for i in range(2)]
    assert [made.text for made in read_predictions(tmp_path / "p.txt", examples)] == ["a", "b"]
    (tmp_path / "words").write_bytes(packed("and\nor\n"))
    assert read_list(str(tmp_path / "words")) == ["and", "or"]
    there, back = os.pipe()
    os.write(back, packed("eins\nzwö\n"))
    os.close(back)
    assert [line for lines in batches_of_lines(there, 8) for line in lines] == ["eins", "zwö"]
    os.close(there)


def test_a_line_of_a_stream_is_given_before_the_next_one_comes() -> None:
    there, back = os.pipe()
    given = batches_of_lines(there, 8)
    for line in ("first", "é"):
        os.write(back, f"{line}\n".encode())
        assert next(given) == [line]
    os.write(back, b"no line end")
    os.close(back)
    assert list(given) == [["no line end"]]
    os.close(there)


def test_a_nul_is_a_bad_row_and_many_are_utf16(tmp_path: Path) -> None:
    assert "t.txt:1" in refused(tmp_path / "t.txt", "a\0b" + "c" * 99 + "\td\n" + LINES.replace("{", "\t"))[0]
    assert "UTF-16 without a byte order mark" in refused(tmp_path / "t.jsonl", LINES.encode("utf-16-le"))[0]
    line = refused(tmp_path / "t.jsonl", LINES.encode() + '{"document": "é", "summary": "b"}\n'.encode("latin-1"))[0]
    assert "not UTF-8 at" in line and "iconv -f WINDOWS-1252" in line


@pytest.mark.parametrize(("name", "content", "told"), [
    ("t.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "run: git lfs pull"),
    ("t.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "run: git lfs pull"),
    ("t.csv", b"PK\x03\x04" + bytes(9), "Office file"), ("t.xlsx", b"PK\x03\x04" + bytes(9), "Office file"),
    ("t.json", b"%PDF-1.4 x", "a PDF"), ("t.jsonl", b"\x80\x04\x95" + bytes(9), "pickle"),
    ("t.csv", b"\n<!DOCTYPE html>", "HTML page"), ("t.csv", b"PAR1xxx", "end its name in .parquet"),
    ("t.jsonl", b"\x1f\x8b\x08" + bytes(9), "end its name in .gz"), ("t.csv", b"document,summary\n", "no rows")])
def test_what_is_no_text_is_named_with_the_way_out(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    (problem,) = refused(tmp_path / name, content)
    assert told in problem


@pytest.mark.parametrize(("name", "pack"), [("t.jsonl.xz", lzma.compress), ("t.jsonl.bz2", bz2.compress)])
def test_xz_and_bz2_are_read_within_the_same_bounds(name: str, pack: Any, tmp_path: Path) -> None:
    half = len(LINES) // 2
    assert read(tmp_path / name, pack(LINES[:half].encode()) + pack(LINES[half:].encode())) == (ROWS, [])
    assert "ends too early" in refused(tmp_path / name, pack(LINES.encode())[:-9])[0]
    assert "as no text does" in refused(tmp_path / name, pack(bytes(1 << 20)) * 300)[0]
    assert "more lines or items" in refused(tmp_path / name, pack(b"1\n" * 1_400_000))[0]


def test_texts_that_stand_for_no_value_are_the_same_in_json(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"document": "a b", "summary": "N/A"}\n{"document": "a N/A", "summary": "c"}\n')
    config = SummarizationData(on_bad_row=OnBadRow.skip)
    notes: list[str] = []
    (kept,) = examples_of(read_rows(tmp_path / "t.jsonl"), config, "train", notes)
    assert kept.source == "a N/A"
    assert "texts of train taken as empty: 1 'N/A' (data.empty_cells)" in notes
    config.empty_cells = []
    assert len(examples_of(read_rows(tmp_path / "t.jsonl"), config, "train", [])) == 2


@pytest.mark.parametrize("row", [{"id": "a\0"}, {"references": ["x", "y\0"]}])
def test_a_nul_is_seen_in_names_and_references_too(row: dict[str, object], tmp_path: Path) -> None:
    rows = [(f"t:{number}", {"document": "a", "summary": "b", **row}) for number in (1, 2)]
    with pytest.raises(DataError, match="holds a NUL character"):
        examples_of(rows, SummarizationData(references="references" if "references" in row else None), "train", [])


def test_an_unclear_delimiter_is_hinted_at(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("document;summary\na;b\nc;d;e\n")
    with pytest.raises(DataError, match="if the table is cut by ';', set data.delimiter"):
        examples_of(read_rows(tmp_path / "t.csv"), SummarizationData(), "train", [])
