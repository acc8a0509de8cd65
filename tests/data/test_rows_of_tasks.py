"""What a task may say of its rows: how they become texts, which rows are nested, and how many a row is tokenised to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from llmtrain.config.sections.data import DataConfig, RowColumns, RowTexts
from llmtrain.core.errors import ConfigError, DataError
from llmtrain.data.examples import Example, Splits
from llmtrain.data.features import tokenize
from llmtrain.data.row_encoder import OWNER, TextPairs
from llmtrain.data.sources.splits import content_hash, load_splits


@dataclass(kw_only=True, slots=True)
class QuizData(DataConfig):
    ask: str = "ask"
    hint: str = "hint"
    target_limit: ClassVar[str] = "data.max_answer_tokens"

    def columns(self) -> RowColumns:
        return RowColumns(self.ask, "answer", source_key="data.ask", others={"data.hint": self.hint}, read=self._read,
                          expand=inner)

    @property
    def max_target_tokens(self) -> int:
        return 8

    def _read(self, row: Mapping[str, Any], labelled: bool) -> RowTexts | str:
        if labelled and "answer" not in row:
            return "no answer"
        answer = str(row.get("answer", ""))
        return RowTexts(row[self.ask], answer, (answer,) if answer else (), {"hint": row[self.hint]})


def inner(row: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any] | str]] | None:
    if "quiz" not in row:
        return None
    return ((f"question {number}", one) for number, one in enumerate(row["quiz"], start=1))


ROWS = [{"id": "a", "ask": "how many", "hint": ["two", 3], "answer": 5},
        {"quiz": [{"ask": "who", "hint": None, "answer": "me"}, {"ask": "where", "hint": 1, "answer": "here"}]}]


def written(folder: Path, rows: list[dict[str, Any]]) -> QuizData:
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return QuizData(name="files", test=str(folder / "test.jsonl"))


def test_a_task_makes_texts_and_fields_of_its_rows_and_of_those_nested_in_them(tmp_path: Path) -> None:
    found = load_splits(written(tmp_path, ROWS), "test").test
    assert [(e.source, e.target, e.references, e.fields) for e in found] == [
        ("how many", "5", ("5",), {"hint": ["two", 3]}), ("who", "me", ("me",), {"hint": None}),
        ("where", "here", ("here",), {"hint": 1})]
    assert found[0].id == "a"


def test_a_row_that_the_task_cannot_read_is_named_by_its_place_in_the_nested_one(tmp_path: Path) -> None:
    bad = [*ROWS[1]["quiz"], {"ask": "why", "hint": 2}]
    with pytest.raises(DataError, match=r"bad row: no answer at .*test.jsonl:1 question 3; mend it"):
        load_splits(written(tmp_path, [{"quiz": bad}, ROWS[0]]), "test")


@pytest.mark.parametrize(("row", "told"), [
    ({"ask": "a\0b", "hint": 1, "answer": 1}, "NUL"), ({"ask": "a", "hint": "\0", "answer": 1}, "NUL"),
    ({"ask": "a", "hint": "\ud83d", "answer": 1}, "lone surrogate"),
    ({"ask": "\ud83d", "hint": 1, "answer": 1}, "lone surrogate")])
def test_what_no_tokenizer_takes_is_refused_in_fields_too(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        load_splits(written(tmp_path, [row]), "test")


def test_fields_are_part_of_the_content_hash() -> None:
    def of(**fields: Any) -> str:
        return content_hash(Splits([Example("1", "a", "b", ("b",), fields)], [], [], ""))

    assert of() != of(hint=1) != of(hint=2)
    assert of(x=1, y=2) == of(y=2, x=1)


def test_a_task_without_embedded_rows_says_so() -> None:
    with pytest.raises(ConfigError, match="data=docstrings has no rows for this task"):
        load_splits(QuizData())


class Halves(TextPairs):
    """Two rows of each example whose source has several words."""

    splits = True

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        parts = [(number, part, target) for number, source, target in
                 zip(rows["row"], rows["source"], rows["target"], strict=True) for part in source.split()]
        made = super().__call__({"source": [part for _, part, _ in parts], "target": [target for *_, target in parts]})
        return made | {OWNER: [number for number, *_ in parts]}


def test_rows_of_one_example_know_whose_they_are(tiny_base: Path, tmp_path: Path) -> None:
    from llmtrain.models.backbone.pretrained import load_tokenizer

    tokenizer = load_tokenizer(str(tiny_base), None)
    examples = [Example(str(i), text, "red", ("red",)) for i, text in enumerate(["red green", "blue", "red blue red"])]
    config = QuizData(cache_dir=str(tmp_path / "cache"))
    for _ in range(2):  # made, then read from the cache
        features = tokenize(examples, tokenizer, config, encoder=Halves)
        assert features.owner is not None and features.owner.tolist() == [0, 0, 1, 2, 2, 2] and len(features) == 6
        assert [features.example_of(row) for row in (0, 2, 5)] == [0, 1, 2]
        assert [features.rows_of(last) for last in (0, 1, 2, 3)] == [0, 3, 4, 6]
    whole = tokenize(examples, tokenizer, config)
    assert whole.owner is None and whole.example_of(2) == 2 and whole.rows_of(2) == 2


def test_other_fields_are_other_features(tiny_base: Path, tmp_path: Path) -> None:
    from llmtrain.models.backbone.pretrained import load_tokenizer

    class Repeats(TextPairs):
        def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
            times = [json.loads(one)["times"] for one in rows["fields"]]
            return super().__call__(rows | {"source": [text * n for text, n
                                                       in zip(rows["source"], times, strict=True)]})

    tokenizer = load_tokenizer(str(tiny_base), None)
    config = QuizData(cache_dir=str(tmp_path / "cache"))
    lengths = [len(tokenize([Example("1", "red ", "red", ("red",), {"times": times})], tokenizer, config,
                            encoder=Repeats).input_ids[0]) for times in (1, 3)]
    assert lengths[1] == lengths[0] + 2
