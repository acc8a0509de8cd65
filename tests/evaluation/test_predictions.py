"""Somebody's predictions, in every form they come in."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from helpers import write_jsonl
from llmtrain.config.load import load_config
from llmtrain.core.errors import DataError
from llmtrain.data.examples import Example
from llmtrain.data.sources.cells import Reading
from llmtrain.evaluation.predictions import read_predictions, told_of_predictions
from llmtrain.tasks.task import task_named

EXAMPLES = [Example(str(i), f"document {i}", f"s{i}", (f"s{i}",)) for i in range(3)]
WANTED = ["p0", "p1", "p2"]
SHUFFLED = "".join(json.dumps({"id": i, "prediction": f"p{i}"}) + "\n" for i in (2, 0, 1)).encode()


def texts_in(*arguments: Any, **how: Any) -> list[str]:
    return [made.text for made in read_predictions(*arguments, **how)]


@pytest.mark.parametrize(("name", "content"), [
    ("p.txt", b"p0\np1\np2\n"),
    ("p.out", b"\xef\xbb\xbfp0\r\np1\r\np2\r\n"),
    ("p.txt.gz", gzip.compress(b"p0\np1\np2", mtime=0)),
    ("p.txt.ZST", zstandard.compress(b"p0\np1\np2\n")),
    ("p.jsonl", b"\xef\xbb\xbf" + SHUFFLED),
    ("p.NDJSON", SHUFFLED),
    ("p.jsonl.gz", gzip.compress(SHUFFLED, mtime=0)),
    ("p.csv", b"id,prediction\n1,p1\n0,p0\n2,p2\n"),
    ("p.jsonl", b"".join(json.dumps({"prediction": p}).encode() + b"\n" for p in WANTED)),
    ("p.jsonl", b"".join(json.dumps({"id": "", " Prediction": p}).encode() + b"\n" for p in WANTED)),
    ("p.json", json.dumps(WANTED).encode()), ("p.json", json.dumps([{"prediction": p} for p in WANTED]).encode()),
    ("p.jsonl", b"".join(json.dumps({"prediction": p, "summary": "s", "document": f"cut {i}"}).encode() + b"\n"
                         for i, p in enumerate(WANTED))),
])
def test_every_form_gives_the_same(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert texts_in(tmp_path / name, EXAMPLES, document="document") == WANTED


@pytest.mark.parametrize(("name", "content"), [
    ("p.csv", "prediction\njoy; fear\njoy\n\"\"\n"), ("p.txt", "joy; fear\njoy\n\n"),
    ("p.json", '["joy; fear", "joy", ""]'), ("p.json", '{"0": "joy; fear", "1": "joy", "2": ""}'),
    ("p.jsonl", '{"prediction": ["joy", "fear"]}\n{"prediction": "[\\"joy\\"]"}\n{"prediction": []}\n')])
def test_several_labels_are_parted_as_those_of_the_data(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    config = load_config("eval", ["task=classification", "data=files", "data.label_separator=;", "predictions=p"])
    assert texts_in(tmp_path / name, EXAMPLES, task=task_named("classification"), data=config.data) == [
        '["joy", "fear"]', '["joy"]', "[]"]


NO_COLUMN = r"no column 'prediction' \(it has 'id', 'summary', 'made'\) at .*:{}; .*eval.prediction=COLUMN"


@pytest.mark.parametrize(("name", "line"), [("p.jsonl", 1), ("p.json", 1), ("p.csv", 2), ("p.tsv", 2),
                                            ("p.parquet", 1), ("p.csv.gz", 2)])
def test_no_other_column_is_taken_for_the_predictions(name: str, line: int, tmp_path: Path) -> None:
    """Whatever kind of file the data's own columns stand in; the one that is named is read."""
    rows = [{"id": e.id, "summary": e.target, "made": wanted} for e, wanted in zip(EXAMPLES, WANTED, strict=True)]
    path = tmp_path / name
    if name.startswith("p.json"):
        path.write_text(json.dumps(rows) if name == "p.json" else "\n".join(map(json.dumps, rows)))
    elif name == "p.parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        between = "\t" if "tsv" in name else ","
        table = "\n".join(between.join(row) for row in [list(rows[0]), *(list(row.values()) for row in rows)]).encode()
        path.write_bytes(gzip.compress(table) if name.endswith(".gz") else table)
    with pytest.raises(DataError, match=NO_COLUMN.format(line)):
        texts_in(path, EXAMPLES)
    assert texts_in(path, EXAMPLES, "made") == WANTED


@pytest.mark.parametrize("with_ids", [True, False])
def test_predictions_beside_other_documents_are_refused(with_ids: bool, tmp_path: Path) -> None:
    """Rows in another order than the data, which no id puts right."""
    rows = [{"prediction": f"p{i}", "document": f"document {i}", **({"id": str(at)} if with_ids else {})}
            for at, i in enumerate((0, 2, 1))]
    path = write_jsonl(tmp_path / "p.jsonl", rows)
    with pytest.raises(DataError, match=r"p.jsonl:2 stands beside another document than row 2 of the data \(id '1'\)"):
        texts_in(path, EXAMPLES, document="document")


def test_a_row_that_its_id_brings_to_another_document_is_refused(tmp_path: Path) -> None:
    rows = [{"id": str(i), "prediction": "p", "document": f"document {at}"} for i, at in ((2, 2), (0, 1), (1, 0))]
    path = write_jsonl(tmp_path / "p.jsonl", rows)
    with pytest.raises(DataError, match=r"p.jsonl:2 stands beside another document than row 1 of the data \(id '0'\)"):
        texts_in(path, EXAMPLES, document="document")


def test_ids_that_stand_twice_in_the_data_too_are_matched_by_order(tmp_path: Path) -> None:
    twice = [Example("same", e.source, e.target, e.references) for e in EXAMPLES]
    path = write_jsonl(tmp_path / "p.jsonl", [{"id": "same", "prediction": p} for p in WANTED])
    assert texts_in(path, twice) == WANTED


def test_documents_themselves_may_be_the_predictions(tmp_path: Path) -> None:
    texts = [f"document {i}" for i in (1, 2, 0)]
    path = write_jsonl(tmp_path / "p.jsonl", [{"document": text} for text in texts])
    assert texts_in(path, EXAMPLES, "document", document="document") == texts


def test_tables_are_read_as_the_data_is_and_what_is_guessed_is_told(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("prediction|note\np0|a,b\np1|a,b\np2|a,b\n")
    how = Reading("|")
    assert texts_in(tmp_path / "p.csv", EXAMPLES, "Prediction", how=how) == WANTED
    assert how.notes == ["column 'prediction' is read as 'Prediction' (eval.prediction)"]


@pytest.mark.parametrize(("content", "texts"), [
    ("{a\n{b\n{c\n", ["{a", "{b", "{c"]), ("\n\n\n", ["", "", ""]), ('{"a": 1}\n{b\nc', ['{"a": 1}', "{b", "c"]),
    ('{"a": 1}\n{b\n{"c": 2}', ['{"a": 1}', "{b", '{"c": 2}'])])
def test_lines_that_only_look_like_rows_are_texts(content: str, texts: list[str], tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text(content)
    assert texts_in(tmp_path / "p.txt", EXAMPLES) == texts


def test_predictions_that_may_be_the_datas_own_texts_are_told() -> None:
    def told(column: str, texts: list[str]) -> list[str]:
        return told_of_predictions(load_config("eval", [f"eval.prediction={column}"]),  # type: ignore[arg-type]
                                   texts, EXAMPLES)

    assert told("made", WANTED) == []
    assert told("made", ["s0", "s1", "other"]) == []
    assert told("made", []) == []
    same, = told("made", ["s0", "s1", "s2"])
    assert "each of the 3 predictions is a reference word for word" in same
    own, = told("summary", WANTED)
    assert "eval.prediction=summary is also data.summary=summary" in own
    assert len(told("document", WANTED)) == 1


@pytest.mark.parametrize(("ids", "told"), [
    ([0, 1, 1], "stands twice, again at .*p.jsonl:3"), ([7, 8, 9], "no prediction for id '0'"),
    ([0, 1, 9], "no prediction for id '2'"), ([0, None, 2], "no id at .*p.jsonl:2"),
])
def test_ids_that_do_not_fit_are_refused(ids: list[int | None], told: str, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "p.jsonl", [{"id": i, "prediction": "x"} for i in ids])
    with pytest.raises(DataError, match=told):
        texts_in(path, EXAMPLES)


@pytest.mark.parametrize(("name", "content", "told"), [
    ("p.txt", b"a\n\xff\nb\n", "not UTF-8 text at .*p.txt:2"), ("p.txt", b"a\n", "1 predictions at .* for 3"),
    ("p.jsonl", b'{"prediction": "a\\ud83d"}\n', "p.jsonl:1"), ("p.jsonl", b"[1]\n", "p.jsonl:1"),
    ("none.txt", None, "no data file at"), ("p.txt", SHUFFLED, "JSON objects, one a line.*rename it to .jsonl"),
    ("p", SHUFFLED, "rename it to .jsonl"), ("p.json", b'["a", "b"]', "2 predictions at .* for 3"),
    ("p.txt", b'{"a": 1}\n \n{"b": 2}\n', "rename it to .jsonl"),
    ("p.json", b'["a", 1, "b"]', "p.json:1; each needs a 'prediction'"), ("p.json", b'[]', "no row"),
    ("p.json", b'{"a": "x", "b": "y", "c": "z"}', "p.json"), ("p.jsonl", b'["a", "b", "c"]\n', "p.jsonl:1"),
    ("p.json", b'["a", "\\ud83d", "b"]', "half a character .* at .*p.json:2"),
    ("p.jsonl", b'{"prediction": null}\n', "column 'prediction' is empty, not text"),
    ("p.jsonl", b'{"prediction": ["a"]}\n' * 3, "column 'prediction' is list, not text"),
    ("p.csv", b"prediction,prediction\na,b\n", "stands twice in the header"),
])
def test_files_that_cannot_be_read(name: str, content: bytes | None, told: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=told):
        texts_in(tmp_path / name, EXAMPLES)
