"""Rows and SQuAD's files become questions; what is wrong with one is told in a line that says where and what."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from helpers import warm_cli, write_jsonl
from llmtrain.config.choices import OnBadRow
from llmtrain.core.errors import DataError
from llmtrain.data.examples import Example
from llmtrain.data.sources.splits import load_splits
from llmtrain.tasks.question_answering.options import QuestionAnsweringData
from questions import questions, squad

CONTEXT = "Zoë met Ann in a café.\nThe \U0001f600 smiled at Ann."
GOOD: dict[str, Any] = {"id": "q1", "context": CONTEXT, "question": "who?", "answers": [{"text": "Ann", "start": 8}]}


def read(folder: Path, content: Any, name: str = "test.jsonl", **keys: Any) -> list[Example]:
    path = folder / name
    text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content) if (
        name.endswith("jsonl")) else json.dumps(content)
    (path.write_bytes(gzip.compress(text.encode())) if name.endswith(".gz") else path.write_text(text))
    return load_splits(QuestionAnsweringData(name="files", test=str(path), **keys), "test").test


@pytest.mark.parametrize("answers", [
    [{"text": "Ann", "start": 8}], [{"text": "Ann", "answer_start": 8}], {"text": ["Ann"], "answer_start": [8]},
    {"text": ["Ann"], "start": [8]}, {"text": "Ann", "start": 8}, "Ann", ["Ann"],
    '[{"text": "Ann", "start": 8}]', '{"text": ["Ann"], "answer_start": [8]}', '["Ann"]'], ids=str)
def test_answers_come_in_many_forms(answers: Any, tmp_path: Path) -> None:
    (found,) = read(tmp_path, [GOOD | {"answers": answers}])
    assert (found.source, found.target, found.references) == (CONTEXT, "Ann", ("Ann",))
    assert found.fields["question"] == "who?" and found.fields["answers"] == [[8, 11]]
    assert found.fields.get("looked_for") == ([2] if answers in ("Ann", ["Ann"], '["Ann"]') else None)


@pytest.mark.parametrize("row", [{"answers": []}, {"answers": {"text": [], "answer_start": []}}, {"answers": "[]"},
                                 {"answers": [], "is_impossible": True}, {"answers": None, "is_impossible": True}],
                         ids=str)
def test_an_empty_list_says_that_there_is_no_answer(row: dict[str, Any], tmp_path: Path) -> None:
    (found,) = read(tmp_path, [GOOD | row])
    assert (found.target, found.references, found.fields["answers"]) == ("", ("",), [])


@pytest.mark.parametrize("name", ["dev.json", "dev.json.gz", "dev.jsonl"])
@pytest.mark.parametrize("version", ["1.1", "v2.0"])
def test_squads_files_are_read_as_they_are(name: str, version: str, tmp_path: Path) -> None:
    rows = questions(6, silent=version == "v2.0")
    nested: Any = squad(rows, version)
    found = read(tmp_path, nested["data"] if name.endswith("jsonl") else nested, name)
    assert [e.id for e in found] == [row["id"] for row in rows]
    assert [e.fields["question"] for e in found] == [row["question"] for row in rows]
    assert [e.target for e in found] == ["".join(one["text"] for one in row["answers"]) for row in rows]
    assert all(e.source[start:end] == e.target for e in found for start, end in e.fields["answers"])


def test_paragraphs_alone_and_columns_of_other_names_are_read(tmp_path: Path) -> None:
    rows = questions(2)
    paragraphs = squad(rows)["data"][0]["paragraphs"]
    assert [e.id for e in read(tmp_path, paragraphs)] == ["0-0", "0-1"]
    assert len(read(tmp_path, squad(rows), "own.json", context="passage", question="asked", answers="said")) == 2
    renamed = [{"passage": row["context"], "asked": row["question"], "said": row["answers"]} for row in rows]
    assert [e.target for e in read(tmp_path, renamed, context="passage", question="asked", answers="said")] == [
        row["answers"][0]["text"] for row in rows]


def test_answers_in_an_annotators_own_words_are_references_alone(tmp_path: Path) -> None:
    """CMRC's test rows have such ones, with the start -1."""
    (found,) = read(tmp_path, [GOOD | {"answers": [{"text": "her friend", "answer_start": -1},
                                                   {"text": "Ann", "answer_start": 8}]}])
    assert (found.target, found.references, found.fields["answers"]) == ("Ann", ("her friend", "Ann"), [[8, 11]])


def test_rows_without_answers_train_the_base_alone(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", [{"context": CONTEXT + str(i), "question": "who?"} for i in range(9)])
    found = load_splits(QuestionAnsweringData(name="files", train=str(path)), labelled=False).train
    assert found[0].fields == {"question": "who?"} and found[0].references == ()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"answers": [{"text": "Ann", "start": 9}]},
     "answer 'Ann' does not start at 9 but at 8 (off by one, as if it counted bytes)"),
    ({"answers": [{"text": "Ann", "start": 7}]}, "answer 'Ann' does not start at 7 but at 8 (off by one) (id 'q1')"),
    ({"answers": [{"text": "Ann", "start": 30}]}, "does not start at 30 but at 39 (off by 9)"),
    ({"answers": [{"text": "met", "start": 5}]}, "at 5 but at 4 (off by one, as if it counted bytes)"),
    ({"answers": [{"text": "smiled", "start": 30}]}, "at 30 but at 29 (off by one, as if it counted units of UTF-16)"),
    ({"answers": [{"text": "The", "start": 24}]},
     "at 24 but at 23 (off by one, as if line breaks were two characters)"),
    ({"answers": [{"text": "Ann", "start": -5}]}, "does not start at -5 but at 8 (off by 13)"),
    ({"answers": [{"text": "Ann", "start": 9999}]}, "does not start at 9999 but at 39"),
    ({"answers": [{"text": "Bob", "start": 8}]}, "answer 'Bob' does not start at 8 nor anywhere in the context"),
    ({"answers": [{"text": "Zoe\u0308", "start": 0}]},
     "at 0 the context has 'Zoë', the same in another Unicode form (NFC); write both alike"),
    ({"answers": [{"text": "\uff21nn", "start": 8}]}, "the same in another Unicode form (NFKC)"),
    ({"answers": [{"text": "ann", "start": 8}]}, "at 8 the context has 'Ann', the same but for capitals"),
    ({"answers": [{"text": "café. The", "start": 17}]}, "at 17 the context has 'café.\\nThe', the same but for spaces"),
    ({"answers": "Bob"}, "answer 'Bob' does not stand in the context (id 'q1')"),
    ({"answers": ["Bob", "Eve"]}, "answer 'Bob' does not stand in the context nor does any of the 2 others"),
    ({"answers": [{"text": "her", "start": -1}]}, "answer 'her' does not stand in the context"),
    ({"answers": [{"text": "", "start": 0}]}, "column 'answers' has an empty text as answer 1; [] says"),
    ({"answers": [""]}, "has an empty text as answer 1"),
    ({"answers": ["Ann", {"text": "Ann", "start": 8}]}, "mixes texts with objects"),
    ({"answers": [{"text": "Ann"}]}, "has an answer without 'start', its first character"),
    ({"answers": [{"start": 8}]}, "has an answer without 'text' (it has 'start')"),
    ({"answers": [{"text": "Ann", "start": "8"}]}, "has 'start' of type str, no whole number"),
    ({"answers": [{"text": "Ann", "start": 8.0}]}, "has 'start' of type float, no whole number"),
    ({"answers": [{"text": "Ann", "start": True}]}, "has 'start' of type bool, no whole number"),
    ({"answers": [{"text": "Ann", "start": None}]}, "has 'start' of type NoneType, no whole number"),
    ({"answers": [{"text": 5, "start": 8}]}, "has int as the text of answer 1"),
    ({"answers": [None]}, "has nothing as answer 1; give {text, start}"),
    ({"answers": [[8, 11]]}, "has list as answer 1"),
    ({"answers": {"text": ["Ann", "Zoë"], "answer_start": [8]}}, "has 2 texts and 1 starts; they must be as many"),
    ({"answers": {"text": ["Ann"], "answer_start": 8}}, "has 'answer_start' of type int beside a list of texts"),
    ({"answers": {"texts": ["Ann"]}}, "has the keys 'texts', not 'text' and 'answer_start'"),
    ({"answers": {}}, "has the keys of nothing, not 'text' and 'answer_start'"),
    ({"answers": 8}, "column 'answers' is int, no list of answers"),
    ({"answers": None}, "column 'answers' is empty; [] says that the context has no answer"),
    ({"answers": " "}, "column 'answers' is empty; [] says"),
    ({"is_impossible": True}, "is_impossible is true and there are 1 answers"),
    ({"is_impossible": False, "answers": []}, "is_impossible is false and there are 0 answers"),
    ({"is_impossible": "no"}, "column 'is_impossible' is 'no', not true or false"),
    ({"question": ""}, "column 'question' is empty (id 'q1')"),
    ({"question": "  \n"}, "column 'question' is empty"),
    ({"question": None}, "column 'question' is empty, not text"),
    ({"question": ["who?"]}, "column 'question' is list, not text"),
    ({"context": ""}, "column 'context' is empty"),
    ({"context": 7}, "column 'context' is int, not text"),
    ({"context": "half \ud83d", "answers": []}, "half a character"),
    ({"question": "half \ud83d"}, "half a character")]


@pytest.mark.parametrize(("change", "told"), BAD, ids=[told[:40] for _, told in BAD])
def test_a_bad_row_is_one_line_that_says_what_and_where(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        read(tmp_path, [GOOD | {"id": "q0"}, GOOD | change])
    (line,) = refused.value.problems
    assert told in line and "test.jsonl:2; mend it or set data.on_bad_row=skip" in line and "\n" not in line
    assert [e.id for e in read(tmp_path, [GOOD | {"id": "q0"}, GOOD | change], on_bad_row=OnBadRow.skip)] == ["q0"]


@pytest.mark.parametrize(("missing", "told"), [
    ("context", "no column 'context' (it has 'id', 'question', 'answers')"), ("question", "no column 'question'"),
    ("answers", "no column 'answers' (it has 'id', 'context', 'question')")])
def test_a_missing_column_is_named(missing: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"bad row|no usable row") as refused:
        read(tmp_path, [GOOD | {"id": "q0"}, {name: value for name, value in GOOD.items() if name != missing}])
    assert told in refused.value.problems[0]


def test_an_id_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the id 'q1' stands twice; each question has its own at .*:2"):
        read(tmp_path, [GOOD, GOOD])
    assert len(read(tmp_path, [GOOD, GOOD], on_bad_row=OnBadRow.skip)) == 1
    assert len(read(tmp_path, [{name: value for name, value in GOOD.items() if name != "id"}] * 2)) == 2


NESTING: list[tuple[Any, str]] = [
    ([{"paragraphs": "x"}], "'paragraphs' is str, not a list of objects with 'context' and 'qas'"),
    ([{"paragraphs": []}], "'paragraphs' is an empty list"),
    ([{"paragraphs": ["x"]}], "a paragraph is str, not an object with 'context' and 'qas' at .*2 paragraph 1"),
    ([{"paragraphs": [{"context": "x"}]}], "'qas' is missing, not a list of objects with 'question' and 'answers'"),
    ([{"paragraphs": [{"context": "x", "qas": {}}]}], "'qas' is dict, not a list"),
    ([{"paragraphs": [{"context": "x", "qas": ["who?"]}]}], "a question is str, .*paragraph 1 question 1"),
    ([{"paragraphs": [{"qas": [{"question": "who?", "answers": []}]}]}], "no column 'context'"),
    ([{"paragraphs": [{"context": "x", "qas": [{"answers": []}]}]}], "no column 'question'"),
    ([{"paragraphs": [{"context": "x", "qas": [{"question": "q"}]}]}], "no column 'answers'"),
    ([{"context": "x", "qas": 5}], "'qas' is int, not a list"),
    (["x"], "not a JSON object")]


@pytest.mark.parametrize(("data", "told"), NESTING, ids=[told[:40] for _, told in NESTING])
def test_wrong_nesting_is_told_by_its_place(data: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told):
        read(tmp_path, {"version": "v2.0", "data": [*squad([GOOD])["data"], *data]}, "dev.json")


def test_the_command_refuses_bad_rows_with_one_line_each(tmp_path: Path) -> None:
    rows = [GOOD | {"id": str(i)} | change for i, (change, _) in enumerate(BAD[:3])]
    path = write_jsonl(tmp_path / "bad.jsonl", [GOOD | {"id": "ok"}, *rows])
    (tmp_path / "own.txt").write_text("Ann\n")
    refused = warm_cli("eval", "task=question_answering", "data=files", f"data.test={path}", "predictions=own.txt",
                       cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 3), refused.stderr
    assert all(line.startswith("llmtrain: bad row: answer 'Ann' does not start at") for line
               in refused.stderr.splitlines())
