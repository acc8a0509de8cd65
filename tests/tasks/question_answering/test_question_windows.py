"""Questions and contexts as windows of token ids, with answers as places in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers import decoder_tokenizer, tiny_tokenizer
from llmtrain.core.errors import ConfigError
from llmtrain.data.control_tokens import text_only
from llmtrain.data.examples import Example
from llmtrain.data.features import tokenize
from llmtrain.data.learnt import Learnt
from llmtrain.models.heads.span.options import NO_ANSWER
from llmtrain.tasks.question_answering.options import QuestionAnsweringData
from llmtrain.tasks.question_answering.question_rows import question_rows
from llmtrain.tasks.question_answering.question_windows import Joints, QuestionWindows, joints_of
from questions import questions

MARKED, WRITTEN = Learnt({"marks": True}), Learnt({"marks": False})


def test_two_texts_are_joined_as_the_tokenizer_joins_them() -> None:
    tokenizer = tiny_tokenizer()
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert joints_of(tokenizer) == Joints((cls,), (sep,), (sep,))
    (window,) = QuestionWindows(tokenizer, 32, 8, 4)("what is red", "The list is red.").windows
    assert window.input_ids == tokenizer("what is red", "The list is red.")["input_ids"]


@pytest.mark.parametrize("begins", [False, True])
def test_a_tokenizer_that_puts_nothing_between_two_texts_gets_its_end_token_there(begins: bool) -> None:
    tokenizer = decoder_tokenizer(begins)
    end, start = tokenizer.eos_token_id, (tokenizer.bos_token_id,) if begins else ()
    assert joints_of(tokenizer) == Joints(start, (end,), (end,))
    (window,) = QuestionWindows(tokenizer, 32, 8, 4)("red", "list").windows
    assert window.input_ids == [*start, *tokenizer("red", add_special_tokens=False)["input_ids"], end,
                                *tokenizer("list", add_special_tokens=False)["input_ids"], end]


@pytest.mark.parametrize("tokenizer", [tiny_tokenizer(), decoder_tokenizer(False)], ids=["wordpiece", "bytes"])
def test_an_answers_tokens_are_its_characters(tokenizer: Any) -> None:
    context = "  The list,\n is  Café-red 😀 and   blue.  "
    read = QuestionWindows(tokenizer, 200, 8, 4)("what", context)
    (window,) = read.windows
    assert all(context[start:end] == context[start:end].strip() for start, end in read.places)
    for answer in ("list", "red", "Café", "Café-red", "Café-red 😀 and   blue", "The list,\n is", "blue."):
        start = context.index(answer)
        tokens = read.tokens_of((start, start + len(answer)))
        assert tokens is not None
        first, last = window.holds(tokens) or (0, 0)
        places = [window.places[one - window.first] for one in (first, last)]
        assert (places[0][0], places[1][1]) == (start, start + len(answer))
    assert read.tokens_of((0, 1)) is None  # a space


def test_windows_share_tokens_and_together_hold_the_context() -> None:
    context = " ".join(f"red list {number}" for number in range(40))
    read = QuestionWindows(tiny_tokenizer(), 30, 4, 7)("what is that", context)
    assert len(read.windows) > 3 and all(len(one.input_ids) <= 30 for one in read.windows)
    for one, after in zip(read.windows, read.windows[1:], strict=False):
        assert one.places[-7:] == after.places[:7] and after.at == one.at + len(one.places) - 7
        assert after.input_ids[:after.first] == one.input_ids[:one.first]
    covered = {place for one in read.windows for place in one.places}
    assert covered == set(read.places) and read.windows[-1].places[-1] == read.places[-1]
    assert len(QuestionWindows(tiny_tokenizer(), 30, 4, 0)("what", context).windows) < len(read.windows)


def test_no_window_is_nothing_but_what_the_one_before_has() -> None:
    context = " ".join(["red"] * 44)
    for limit in range(20, 60):
        windows = QuestionWindows(tiny_tokenizer(), limit, 4, 6)("what", context).windows
        assert len(windows) == 1 or len(windows[-1].places) > 6


def test_a_long_question_is_cut_and_a_context_of_nothing_has_one_window() -> None:
    windows = QuestionWindows(tiny_tokenizer(), 30, 4, 4)
    (window,) = windows("what is the red list of words", "red").windows
    assert window.first == 1 + 4 + 1
    (window,) = windows("what", " \n").windows
    assert window.places == []


def test_a_very_long_context_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrain.tasks.question_answering.question_windows.LONGEST_WHOLE", 50)
    tokenizer, context = tiny_tokenizer(), "the red list is blue " * 30
    read = QuestionWindows(tokenizer, 30, 4, 4)("what", context)
    whole = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
    assert read.places == [tuple(place) for place in whole["offset_mapping"]]


def test_what_leaves_no_room_or_tells_no_characters_is_refused() -> None:
    with pytest.raises(ConfigError, match="room for 5 tokens of a context .* no more than the data.stride=5 that"):
        QuestionWindows(tiny_tokenizer(), 16, 8, 5)
    slow = tiny_tokenizer()
    slow_tokenizer = type("Slow", (), {"is_fast": False, "name_or_path": "here"})()
    assert slow.is_fast
    with pytest.raises(ConfigError, match=r"head=span needs a tokenizer that tells .* slow one"):
        QuestionWindows(slow_tokenizer, 16, 8, 1)


def examples(rows: list[dict[str, Any]]) -> list[Example]:
    return [Example(row["id"], row["context"], "".join(one["text"] for one in row["answers"]), ("",), {
        "question": row["question"],
        "answers": [[one["start"], one["start"] + len(one["text"])] for one in row["answers"]]}) for row in rows]


def config(tmp_path: Path, **keys: Any) -> QuestionAnsweringData:
    return QuestionAnsweringData(cache_dir=str(tmp_path), max_question_tokens=8, stride=2, **keys)


def test_labels_are_places_and_windows_without_the_answer_say_so(tmp_path: Path) -> None:
    rows, tokenizer = examples(questions(9, silent=True, facts=6)), text_only(tiny_tokenizer())
    features = tokenize(rows, tokenizer, config(tmp_path, max_source_tokens=24), encoder=question_rows, learnt=MARKED)
    assert features.owner is not None and len(features) > len(rows)
    answered = dict.fromkeys(range(len(rows)), 0)
    for row, owner in enumerate(features.owner.tolist()):
        start, end = features.labels[row].tolist()
        if start != NO_ANSWER:
            answered[owner] += 1
            assert tokenizer.decode(features.input_ids[row][start:end + 1]) == rows[owner].target
        else:
            assert end == NO_ANSWER
    assert [bool(count) for count in answered.values()] == [bool(one.target) for one in rows]
    assert "9 documents in" in features.stats.describe() and "windows of at most 24 tokens" in features.stats.describe()


def test_answers_that_begin_or_end_inside_a_token_are_told(tmp_path: Path) -> None:
    tokenizer, context = text_only(tiny_tokenizer()), "The red list is blue. "
    whole = next(place for place in QuestionWindows(tokenizer, 64, 8, 2)("what", context).places
                 if place[1] - place[0] > 2)
    answers = [whole, (whole[0], whole[1] - 1), (whole[0] + 1, whole[1]), (0, len(context))]
    rows = [Example(str(number), context, context[start:end], ("",), {"question": "what", "answers": [[start, end]]})
            for number, (start, end) in enumerate(answers)]
    rows.append(Example("none", context, "", ("",), {"question": "what", "answers": []}))
    stats = tokenize(rows, tokenizer, config(tmp_path), encoder=question_rows, learnt=MARKED).stats
    assert stats.notes("train") == ["in 2 of 5 windows of train the answer begins or ends inside a token of the base: "
                                    "no span of tokens is exactly that answer"]


def test_rows_that_need_no_answer_have_no_label(tmp_path: Path) -> None:
    rows = [Example("1", "red list", "", (), {"question": "what"})]
    features = tokenize(rows, text_only(tiny_tokenizer()), config(tmp_path), encoder=question_rows, learnt=MARKED)
    assert features.labels[0].tolist() == []
    written = tokenize(rows, text_only(tiny_tokenizer()), config(tmp_path), encoder=question_rows, learnt=WRITTEN)
    assert written.labels[0].tolist() == []


def test_heads_that_write_read_question_and_context_and_write_the_first_answer(tmp_path: Path) -> None:
    rows, tokenizer = examples(questions(3, silent=True)), text_only(tiny_tokenizer())
    features = tokenize(rows, tokenizer, config(tmp_path), encoder=question_rows, learnt=WRITTEN)
    assert features.owner is None
    for row, example in enumerate(rows):
        read = tokenizer.decode(features.input_ids[row], skip_special_tokens=True)
        assert read.startswith(example.fields["question"]) and read.endswith(".")
        assert features.labels[row].tolist() == [*tokenizer(example.target, add_special_tokens=False)["input_ids"],
                                                 tokenizer.sep_token_id]
    assert features.labels[0].tolist() == [tokenizer.sep_token_id]  # no answer: the end alone is written


@pytest.mark.parametrize(("steps", "fits"), [
    (["lowercase"], False), ([{"name": "lowercase", "apply": "summary"}], False),
    ([{"name": "length", "max_document_words": 9}], True),
    ([{"name": "stopwords", "apply": "l1", "language": "en"}], True)], ids=str)
def test_contexts_stay_as_they_are(steps: list[Any], fits: bool, tmp_path: Path) -> None:
    rows, keys = examples(questions(2)), {"preprocess": steps}
    if not fits:
        with pytest.raises(ConfigError, match="data.preprocess changes contexts or answers and head=span finds"):
            tokenize(rows, text_only(tiny_tokenizer()), config(tmp_path, **keys), encoder=question_rows, learnt=MARKED)
        return
    features = tokenize(rows, text_only(tiny_tokenizer()), config(tmp_path, **keys), encoder=question_rows,
                        learnt=MARKED)
    assert (features.l1_input_ids is not None) is (steps[0]["name"] == "stopwords")
    if features.l1_input_ids is not None:
        assert len(features.l1_input_ids[0]) < len(features.input_ids[0])


def test_a_control_token_that_a_question_spells_is_text_and_told(tmp_path: Path) -> None:
    row = Example("1", "red list", "red", ("red",), {"question": "[SEP] what", "answers": [[0, 3]]})
    tokenizer = text_only(tiny_tokenizer())
    features = tokenize([row], tokenizer, config(tmp_path), encoder=question_rows, learnt=MARKED)
    assert features.input_ids[0].tolist().count(tokenizer.sep_token_id) == 2
    assert "[SEP]" in features.stats.notes("train")[0]
    assert json.dumps(row.fields)
