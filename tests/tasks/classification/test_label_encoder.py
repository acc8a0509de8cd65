"""Texts and pairs as token ids, labels as numbers; rows of every kind of file as examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers import decoder_tokenizer, tiny_tokenizer, write_jsonl
from llmtrain.config.load import load_config
from llmtrain.config.sections.data import RowTexts
from llmtrain.data.control_tokens import text_only
from llmtrain.data.examples import Example
from llmtrain.data.features import Features, tokenize
from llmtrain.data.learnt import Learnt
from llmtrain.data.sources.splits import load_splits
from llmtrain.tasks.classification.label_encoder import LabelledTexts, tells_pairs_apart
from llmtrain.tasks.classification.label_rows import LabelledRows, labels_of
from llmtrain.tasks.classification.label_set import described, learn_labels, unseen

FACTS = {"labels": ["no", "yes"], "counts": [1, 1], "rows": 2, "multi_label": False}


def config(tmp_path: Path, *overrides: str) -> Any:
    return load_config("train", ["task=classification", "data=files", "data.train=none", "data.max_source_tokens=12",
                                 f"data.cache_dir={tmp_path / 'cache'}", "objective=task_only",
                                 "trainer.max_steps=1", *overrides])


def encoded(examples: list[Example], tmp_path: Path, tokenizer: Any, *overrides: str, facts: Any = FACTS) -> Features:
    return tokenize(examples, tokenizer, config(tmp_path, *overrides).data, encoder=LabelledTexts,
                    learnt=Learnt(facts))


def test_labels_are_numbers_and_rows_without_a_known_one_have_none(tmp_path: Path) -> None:
    rows = [Example("0", "a table", "yes", ("yes",)), Example("1", "a list", "no", ("no",)),
            Example("2", "a graph", "maybe", ("maybe",)), Example("3", "a node", "", ())]
    made = encoded(rows, tmp_path, tiny_tokenizer())
    assert [made.labels[i].tolist() for i in range(4)] == [[1], [0], [], []]
    assert "targets" not in made.stats.describe() and not made.stats.notes("train")


def test_several_labels_are_a_row_of_0_and_1(tmp_path: Path) -> None:
    rows = [Example(str(i), "a table", json.dumps(labels), (json.dumps(labels),), {"labels": labels})
            for i, labels in enumerate((["yes"], [], ["no", "yes", "strange"]))] + [Example("3", "a", "", ())]
    made = encoded(rows, tmp_path, tiny_tokenizer(), "task.multi_label=true", facts=FACTS | {"multi_label": True})
    assert [made.labels[i].tolist() for i in range(4)] == [[0, 1], [0, 0], [1, 1], []]


def paired(first: str, second: str) -> Example:
    return Example("0", first, "yes", ("yes",), {"text_pair": second})


def test_a_pair_is_read_as_the_tokenizer_reads_one_and_the_longer_text_is_cut(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    made = encoded([paired("a red table", "a list"), paired("a " * 20, "a list")], tmp_path, tokenizer,
                   "data.text_pair=other")
    wanted = tokenizer("a red table", "a list")
    assert made.input_ids[0].tolist() == wanted["input_ids"]
    cut = made.input_ids[1].tolist()
    assert len(cut) == 12 and cut[-4:] == wanted["input_ids"][-4:], "the second text is whole"
    assert made.stats.cut_sources == 1


@pytest.mark.parametrize("begins", [False, True])
def test_a_tokenizer_that_sets_nothing_between_texts_gets_a_line_break(begins: bool, tmp_path: Path) -> None:
    tokenizer = decoder_tokenizer(begins)
    assert not tells_pairs_apart(tokenizer) and tells_pairs_apart(tiny_tokenizer())
    made = encoded([paired("a table", "a list")], tmp_path, tokenizer, "data.text_pair=other")
    assert made.input_ids[0].tolist() == tokenizer("a table\na list")["input_ids"]
    assert not made.extra


def test_the_cache_tells_label_sets_and_pairs_apart(tmp_path: Path) -> None:
    row = [Example("0", "a table", "yes", ("yes",))]
    for labels, wanted in ((["no", "yes"], [1]), (["yes", "zero"], [0]), (["a", "b"], [])):
        made = encoded(row, tmp_path, tiny_tokenizer(), facts=FACTS | {"labels": labels})
        assert made.labels[0].tolist() == wanted
    several = encoded(row, tmp_path, tiny_tokenizer(), facts=FACTS | {"multi_label": True})
    assert several.labels[0].tolist() == [0, 1]


ROWS: list[tuple[str, str, dict[str, Any]]] = [
    ("r.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n', {}),
    ("r.csv", "text,label\na,1\nb,0\n", {}),
    ("r.tsv", "text\tlabel\na\t1\nb\t0\n", {}),
    ("r.json", '[{"text": "a", "label": 1}, {"text": "b", "label": 0.0}]', {}),
    ("r.txt", "a\t1\nb\t0\n", {}),
    ("r.csv", "sentence,sentiment\na,1\nb,0\n", {"text": "sentence", "label": "sentiment"}),
]


@pytest.mark.parametrize(("name", "content", "columns"), ROWS, ids=[f"{i}-{row[0]}" for i, row in enumerate(ROWS)])
def test_every_kind_of_file_gives_the_same_labels(name: str, content: str, columns: dict[str, str],
                                                  tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    made = config(tmp_path, f"data.test={tmp_path / name}", *(f"data.{key}={value}" for key, value in columns.items()))
    found = load_splits(made.data, "test").test
    assert [(example.source, example.target) for example in found] == [("a", "1"), ("b", "0")]


def test_a_table_lists_labels_behind_its_separator(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text('text,label\na,joy; fear\nb,joy\n')
    made = config(tmp_path, f"data.test={tmp_path / 'r.csv'}", "data.label_separator=;", "task.multi_label=true")
    assert [labels_of(example) for example in load_splits(made.data, "test").test] == [["joy", "fear"], ["joy"]]


def splits_of(tmp_path: Path, rows: list[dict[str, Any]], held: list[dict[str, Any]], *overrides: str) -> Any:
    write_jsonl(tmp_path / "train.jsonl", rows)
    write_jsonl(tmp_path / "held.jsonl", held)
    made = config(tmp_path, f"data.train={tmp_path / 'train.jsonl'}", f"data.validation={tmp_path / 'held.jsonl'}",
                  f"data.test={tmp_path / 'held.jsonl'}", *overrides)
    return load_splits(made.data), made


def test_the_label_set_is_that_of_the_training_rows_in_a_stable_order(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "label": label} for i, label in enumerate((10, 9, 9, 1))]
    splits, made = splits_of(tmp_path, rows, [{"text": "x", "label": 9}, {"text": "y", "label": 77}])
    facts = learn_labels(splits, made)
    assert facts == {"labels": ["1", "9", "10"], "counts": [1, 2, 1], "rows": 4, "multi_label": False}
    assert unseen(facts["labels"], "test", splits.test) == [
        "warning: 1 of 2 rows of test have labels that no training row has ('77'), the first at row 'test-1'; no "
        "prediction of theirs can be right"]

    assert not unseen(["9", "77"], "test", splits.test)


@pytest.mark.parametrize(("known", "label"), [("true", "True"), ("1", "1.0"), ("1.0", "1"), ("Good", "good")])
def test_a_label_that_another_format_writes_otherwise_is_told_with_the_known_one(known: str, label: str) -> None:
    line, = unseen([known, "other"], "test", [Example("0", "x", label, (label,))])
    assert line.endswith(f"; if it is train's '{known}', write both alike")


def test_unlabelled_rows_need_no_label_where_no_term_reads_one(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": f"t{i}"} for i in range(3)] + [{"text": "l", "label": "yes"}]
    write_jsonl(tmp_path / "train.jsonl", rows)
    made = config(tmp_path, "objective=base_only", f"data.train={tmp_path / 'train.jsonl'}",
                  f"data.validation={tmp_path / 'train.jsonl'}", f"data.test={tmp_path / 'train.jsonl'}")
    found = load_splits(made.data, labelled=False)
    assert [example.target for example in found.train] == ["", "", "", "yes"]
    assert learn_labels(found, made)["labels"] == ["yes"]


def test_what_is_cut_and_what_is_empty_is_counted(tmp_path: Path) -> None:
    pairs = [paired("", ""), paired("a table", "a list"), paired("a", ""), paired("a " * 30, "a list")]
    for tokenizer in (tiny_tokenizer(), decoder_tokenizer(True)):
        made = encoded(pairs, tmp_path, tokenizer, "data.text_pair=other")
        # a line break is a token of its own where the tokenizer sets nothing between the texts
        assert (made.stats.empty, made.stats.cut_sources) == (int(tokenizer.cls_token is not None), 1)


def test_control_tokens_that_either_text_spells_are_told(tmp_path: Path) -> None:
    made = encoded([paired("a [SEP] table", "a"), paired("a", "the [CLS]")], tmp_path, text_only(tiny_tokenizer()),
                   "data.text_pair=other")
    assert sorted(made.stats.spelled) == ["[CLS]", "[SEP]"]


def test_rows_are_read_with_or_without_their_label() -> None:
    read = LabelledRows("text", None, "label", None)
    assert read({"text": "a"}, True) == "no column 'label' (it has 'text')"
    unlabelled = read({"text": "a"}, False)
    assert isinstance(unlabelled, RowTexts) and unlabelled.target == "" and not unlabelled.fields
    labelled = read({"text": "a", "label": "x"}, False)
    assert isinstance(labelled, RowTexts) and labelled.references == ("x",)
    assert read({"text": "a", "label": None}, True) == "column 'label' is empty (data.empty_cells counts as empty)"


def test_an_empty_list_is_of_no_kind_and_the_first_label_says_what_the_others_are() -> None:
    read = LabelledRows("text", None, "label", None)
    assert [isinstance(read({"text": "a", "label": label}, True), RowTexts)
            for label in ([], [1], [], ["x"], [2])] == [True, True, True, False, True]


def test_the_labels_are_told_with_their_rows() -> None:
    assert described({"labels": ["a", "b"], "counts": [4, 5], "rows": 9}) == (
        "2 labels of 9 training rows: 'a' 4, 'b' 5; 1 of them in fewer than 5 rows, which are hardly learnt")
    many = described({"labels": [str(i) for i in range(9)], "counts": list(range(5, 14)), "rows": 81})
    assert many.startswith("9 labels of 81 training rows: '0' 5, '1' 6, ") and many.endswith("..., 5 to 13 rows each")
