"""Files that are nearly something: read where one reading is clear, else a row or the file is told as bad."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import pytest

from llmtrain.core.errors import DataError, LlmtrainError
from llmtrain.data.examples import Example
from llmtrain.data.sources.cells import TWICE, Reading, Unusable, names_in, shown
from llmtrain.data.sources.columns import Columns, near_names
from llmtrain.data.sources.own_files import examples_of, paths_of, text_of
from llmtrain.data.sources.readers import read_rows
from llmtrain.data.text.preprocess.stopword_lists import read_list
from llmtrain.evaluation.predictions import read_predictions
from llmtrain.tasks.summarization.options import SummarizationData

ROW = {"document": "a b", "summary": "c"}
LINE = json.dumps(ROW)


def read(path: Path, content: str | bytes, **how: Any) -> tuple[list[Any], list[str]]:
    """(rows, notes) of a file with this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    reading = Reading(pair=("document", "summary"), **how)
    return [row for _, row in read_rows(path, reading)], reading.notes


def refused(path: Path, content: str | bytes) -> str:
    with pytest.raises(DataError) as caught:
        read(path, content)
    (problem,) = caught.value.problems
    return problem


def test_a_text_may_begin_like_a_packed_file(tmp_path: Path) -> None:
    assert read(tmp_path / "t.txt", "BZhaus\tc\n") == ([{"document": "BZhaus", "summary": "c"}], [])
    assert "packed by bzip2" in refused(tmp_path / "t.txt", b"BZh91AY&SY" + bytes(9))


def test_half_a_character_in_utf_16_spoils_its_row_alone(tmp_path: Path) -> None:
    text = LINE + "\n" + LINE.replace("a b", "\ud83d") + "\n" + LINE + "\n"
    rows, _ = read(tmp_path / "t.jsonl", codecs.BOM_UTF16_LE + text.encode("utf-16-le", "surrogatepass"))
    assert rows == [ROW, "not UTF-8", ROW]


def test_what_a_byte_order_mark_promises_in_vain_is_told(tmp_path: Path) -> None:
    problem = refused(tmp_path / "t.jsonl", codecs.BOM_UTF16_LE + LINE.encode("utf-16-le") + b"x")
    assert "not UTF-16 text, though it begins with its byte order mark" in problem


def test_a_nul_in_a_plain_text_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(b"one and more\n" * 9 + b"tw\0o\n")
    examples = [Example(str(i), "x", "y", ("y",)) for i in range(10)]
    for reader in (lambda: read_predictions(tmp_path / "p.txt", examples), lambda: read_list(str(tmp_path / "p.txt"))):
        with pytest.raises(LlmtrainError, match=r"NUL character .* at .*p\.txt:10;"):
            reader()


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.txt"])
def test_blank_lines_are_no_rows(name: str, tmp_path: Path) -> None:
    text = "a b\tc" if name == "t.txt" else LINE
    rows, _ = read(tmp_path / name, f"\n{text}\n \t\r\n\n{text}\n\n")
    assert rows == [ROW, ROW]


@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
@pytest.mark.parametrize("deep", ["[", '{"a": ', '[{"a": '])
def test_what_is_nested_too_deep_is_one_line_or_a_bad_row(deep: str, name: str, tmp_path: Path) -> None:
    content = deep * 100_000
    if name == "t.json":
        assert "not a JSON file at" in refused(tmp_path / name, content)
    else:
        (row,), _ = read(tmp_path / name, content)
        assert row.startswith("not JSON (")
    rows, _ = read(tmp_path / name, f"{LINE}\n{content}\n{LINE}\n")
    assert rows[::2] == [ROW, ROW] and rows[1].startswith("not JSON (")


def test_a_list_that_is_none_of_rows_is_a_bad_row_of_json_lines(tmp_path: Path) -> None:
    for broken in ("[1, 2", "[1, 2]", '["a", "b"]', "[]"):
        (row, *_), notes = read(tmp_path / "t.jsonl", f"{broken}\n")
        assert row.startswith("not JSON") or row == "not a JSON object"
        assert notes == [] and len(_) == 0
        assert read(tmp_path / "t.jsonl", f"{broken}\n{LINE}\n")[0] == [row, ROW]
    (problem, row), _ = read(tmp_path / "t.json", json.dumps([7, ROW]))
    assert (problem, row) == ("not a JSON object", ROW)
    assert "not a JSON file" in refused(tmp_path / "t.json", '{"a": 1}[1]')


UNCLEAR: list[Any] = [
    {"columns": ["a", "b", "c"], "data": [["a", "b"], ["c"]]}, {"columns": [1, 2], "data": [["a", "b"]]},
    {"document": {"x": "a"}, "summary": {"x": "b"}},
    {"document": {"0": "a"}, "summary": {"1": "b"}}, {"document": ["a", "b"], "summary": ["c"]},
    {"document": [ROW], "summary": [ROW]}, {"data": [1, 2], "more": 3}, {"n": 1}, {}]


@pytest.mark.parametrize("value", UNCLEAR)
def test_an_object_that_holds_no_clear_rows_is_refused(value: Any, tmp_path: Path) -> None:
    assert "no list of rows at" in refused(tmp_path / "t.json", json.dumps(value))


def test_an_object_that_holds_clear_rows_is_read(tmp_path: Path) -> None:
    for value, told in (({"data": [1, 2], "rows": [ROW]}, "under the key 'rows'"), (ROW, "one row, an object alone"),
                        ({"data": [ROW], "version": 3}, ""), ({"data": [ROW, 7]}, "")):
        rows, notes = read(tmp_path / "t.json", json.dumps(value))
        assert rows[0] == ROW and told in "".join(notes) and bool(told) == bool(notes)
    assert read(tmp_path / "t.jsonl", LINE) == ([ROW], [])
    assert read(tmp_path / "t.jsonl", json.dumps({"n": 1})) == ([{"n": 1}], [])


def test_numbers_that_json_lacks_are_nothing_and_a_key_twice_is_a_bad_row(tmp_path: Path) -> None:
    for name in ("t.jsonl", "t.json"):
        rows, _ = read(tmp_path / name, '{"document": NaN, "summary": -Infinity}\n{"document": "a", "document": "b"}\n')
        assert rows[0] == {"document": None, "summary": None}
        assert "the key 'document' stands twice" in rows[1]


def find(row: dict[Any, Any], **named: str) -> tuple[dict[Any, Any], list[str]]:
    notes: list[str] = []
    columns = Columns({f"data.{key}": name for key, name in named.items()}, notes)
    found = columns.find(row)
    return columns.join(found, "data.document") if "document" in named else found, notes


def test_only_a_list_of_texts_is_joined() -> None:
    for value in ([], ["a", 3], ["a", None], [["a"]], "a", None, ("a", "b")):
        assert find({"document": value}, document="document") == ({"document": value}, [])
    assert find({"document": ["a", "b"]}, document="document")[0] == {"document": "a\nb"}


def test_a_name_with_dots_leads_into_groups_alone() -> None:
    for row in ({"a": "text"}, {"a": ["b"]}, {"a": {"c": 1}}, {"a": Unusable("is twice")}, {"a": None}, {"b": 1}):
        assert find(row, document="a.b") == (row, [])
    assert find({"a": {"b": {"c": "x"}}}, document="a.b.c")[0]["a.b.c"] == "x"


def test_names_that_nearly_fit() -> None:
    for name in ("\ufeffdocument", '"Document"', "'document'", " document ", "DOCUMENT"):
        found, notes = find({name: "a"}, document="document")
        assert found["document"] == "a" and len(notes) == 1
    assert near_names({7: "a", None: "b", "7": "c"}, "7") == ["7"]  # type: ignore[dict-item]
    assert find({"Document": "a", "DOCUMENT": "b"}, document="document")[0].get("document") is None
    notes: list[str] = []
    named = SummarizationData(references="Gold Texts").columns().named()
    row = Columns(named, notes).find(ROW | {"gold_texts": ["a"]})
    assert row["Gold Texts"] == ["a"] and "data.references" in notes[0]
    columns = Columns(SummarizationData().columns().named(), [])
    assert columns.find({"document": 1, "summary": 2, "REFERENCES": 3}).get("references") is None


def test_names_in_messages_are_short_and_hold_no_secret() -> None:
    assert len(shown("x" * 999)) <= 62 and "hf_abcdefgh" not in shown("hf_abcdefghijklmnopqrstuvwxyz")
    assert names_in({str(n): 0 for n in range(20)}, 2) == "'0', '1' ..."
    assert names_in({"a": 0, "b": 0}, 2) == "'a', 'b'"


TABLES = {
    'document,"summary\na,b\n': "cannot read the header (a quote opens a field and does not close it) at",
    "": "empty data file at", "\n \n": "no rows in the data file at"}


@pytest.mark.parametrize(("content", "told"), TABLES.items())
def test_a_table_without_a_header_is_told(content: str, told: str, tmp_path: Path) -> None:
    assert told in refused(tmp_path / "t.csv", content)


def test_rows_of_a_table_that_nearly_fit(tmp_path: Path) -> None:
    head = "document,summary\n"
    for line, row in (("a b,c,,", ROW), ("a b,c, ,\t", ROW), ("a b", ROW | {"summary": None}), (",c", {
            "document": "", "summary": "c"}), ("a,b,c", "more columns than the header"),
            ('a b,"c', "a quote opens a field and does not close it")):
        assert read(tmp_path / "t.csv", head + line + "\n")[0] == [row], line
    rows, _ = read(tmp_path / "t.csv", "document,document,summary\na,b,c\n")
    assert rows == [{"document": TWICE, "summary": "c"}]
    assert text_of(rows[0], "document")[1] == "column 'document' stands twice in the header"
    assert read(tmp_path / "t.csv", f"\n \n,,,\n{head}a b,c\n")[0] == [ROW]  # what stands above the header
    assert read(tmp_path / "t.csv", " \n\ndocument;summary\na b;c\n")[0] == [ROW]
    assert read(tmp_path / "t.csv", 'text\n" "\nx\n')[0] == [{"text": " "}, {"text": "x"}]  # one column: a blank text
    long = "w" * 200_000  # more than Python's csv takes unasked
    assert read(tmp_path / "t.csv", f"{head}{long},c\n")[0] == [{"document": long, "summary": "c"}]


def test_quotes_of_a_tsv_that_close_nothing(tmp_path: Path) -> None:
    head = "document\tsummary\n"
    assert read(tmp_path / "t.tsv", head + '"a" b\tc\n')[0] == [{"document": '"a" b', "summary": "c"}]
    (row,) = read(tmp_path / "t.tsv", head + '"a b\tc\n')[0]
    assert row == "a quote opens a field and does not close it"
    (row,) = read(tmp_path / "t.tsv", head + '"a" b\tc\td\n')[0]
    assert isinstance(row, str)


def test_the_delimiter_is_guessed_only_where_one_fits(tmp_path: Path) -> None:
    for text in ("a;b|c\n1;2|3\n", "document;summary\na;b\nc;d;e\n", "document,summary\na;b,c;d\n"):
        assert read(tmp_path / "t.csv", text)[1] == []
    assert read(tmp_path / "t.csv", "document;x,summary\na;b,c\n")[0] == [{"document;x": "a;b", "summary": "c"}]
    for wrong in ("", ";;", '"', "\n", "\r"):
        with pytest.raises(DataError, match="is no single character; set data.delimiter"):
            read(tmp_path / "t.csv", "a;b\nc;d\n", delimiter=wrong)


def problems_of(*rows: Any, **values: Any) -> tuple[list[Example], list[str]]:
    """(examples, notes or problems) of rows."""
    notes: list[str] = []
    placed = [(f"t:{number}", row) for number, row in enumerate(rows, 1)]
    try:
        return examples_of(placed, SummarizationData(**values), "train", notes), notes
    except DataError as error:
        return [], error.problems


def test_what_makes_a_row_unusable_is_told() -> None:
    half = "half a character"
    for row, told in ((ROW | {"document": "\ud83d"}, half), (ROW | {"id": "\ud83d"}, half), (
            ROW | {"summary": "a\ud83d"}, half), (
            ROW | {"document": "a\0"}, "NUL"), (ROW | {"document": 3}, "is int, not text"), (
            ROW | {"document": None}, "is empty, not text"), (ROW | {"document": " \n"}, "is empty"), (
            ROW | {"id": TWICE}, "column 'id' stands twice"), ({"text": "a"}, "no column 'document' (it has 'text')"), (
            {"a;b": "c;d"}, "if the table is cut by ';', set data.delimiter")):
        (line,) = problems_of(ROW, row)[1]
        assert told in line and "t:2" in line, line
    assert half in problems_of(ROW | {"references": ["\ud83d"]}, references="references")[1][0]


def test_a_row_without_a_summary_is_held_to_the_same() -> None:
    def alone(row: dict[str, Any]) -> list[str]:
        with pytest.raises(DataError) as caught:
            rows: list[Any] = [("t:1", {"document": "x"}), ("t:2", row)]
            examples_of(rows, SummarizationData(), "unlabelled", [], labelled=False)
        return caught.value.problems

    for row, told in (({"document": "\ud83d"}, "half a character"), ({"document": "a", "id": TWICE}, "stands twice"), (
            {"document": "a", "id": "\ud83d"}, "half a character"), ({"document": "", "summary": " "}, "is empty"), (
            {"document": "a", "summary": TWICE}, "column 'summary' stands twice")):
        assert told in alone(row)[0]
    (example,) = examples_of([("t:1", {"document": "a", "summary": " "})], SummarizationData(), "x", [], labelled=False)
    assert (example.target, example.references, example.id) == ("", (), "x-0")


def test_references_count_where_every_row_has_them() -> None:
    listed, plain = ROW | {"references": ["c", "d"]}, ROW | {"references": "c"}
    assert [e.references for e in problems_of(listed, listed)[0]] == [("c", "d")] * 2
    examples, notes = problems_of(listed, plain)
    assert [e.references for e in examples] == [("c",)] * 2 and "in 1 of 2 rows of train and was left out" in notes[0]
    for wrong in ([], ["c", " "], ["c", 3], "c", None):
        (line,) = problems_of(ROW | {"references": wrong}, references="references")[1]
        assert "column 'references' is not a list of texts" in line
    (note,) = problems_of(ROW | {"references": ["d"]})[1]
    assert "in 1 of 1 rows of train the summary is not one of the references" in note
    (example,) = problems_of({"document": "a", "references": ["d"], "id": ""})[0]
    assert (example.target, example.id) == ("d", "train-0")


def test_only_texts_stand_for_no_value() -> None:
    examples, notes = problems_of(ROW, ROW | {"document": "N/A"}, ROW | {"document": ["N/A"]}, on_bad_row="skip")
    assert notes[0].startswith("lists of texts") and len(examples) == 1
    assert sum("2 'N/A'" in note for note in notes) == 1


def test_problems_are_told_ten_at_most_with_the_rest_counted() -> None:
    rows = [ROW | {"document": {}, f"c{n}": 0, "id": None} if n < 2 else {f"c{n}": "x"} for n in range(14)]
    lines = problems_of(*rows)[1]
    assert len(lines) == 11 and "and 1 more rows" in lines[0]
    assert lines[-1] == "... and 3 more bad rows in train"


def test_files_are_looked_for_in_the_folder_then_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in[1]").mkdir()
    for name in ("in[1]/b.jsonl", "in[1]/a.jsonl", "a.jsonl", "[a].jsonl"):
        (tmp_path / name).write_text(LINE)
    assert paths_of("a.jsonl", "data.train", "in[1]") == [Path("in[1]/a.jsonl")]
    assert paths_of("[a].jsonl", "data.train") == [Path("[a].jsonl")]  # a file before what it matches
    assert [path.name for path in paths_of("in[1]/*.jsonl", "data.train")] == ["a.jsonl", "b.jsonl"]
    for folder, told in (("none", "no folder at none; check data.folder"), (
            "in[1]", "check data.train and data.folder"), (None, "name the folder it lies in, data.folder=FOLDER")):
        with pytest.raises(DataError, match=told.replace("[", r"\[")):
            paths_of("none.jsonl", "data.train", folder)
    with pytest.raises(DataError, match="; check data.train$"):
        paths_of("/none.jsonl", "data.train")
