"""Which words of an output its source has, and which of those are wanted."""

from __future__ import annotations

import pytest

from llmtrain.report.word_origins import origins_of, stretches

SOURCE = "The quick brown fox jumps over the lazy dog. It never looks back."


def cut(text: str, places: list[tuple[int, int]]) -> list[str]:
    return [text[start:end] for start, end in places]


def test_copied_words_are_wanted_where_a_reference_has_half_of_them() -> None:
    text = "Quick brown fox runs over the lazy dog, it never looks away"
    found = origins_of(text, [SOURCE], ["a quick brown fox"])
    assert cut(text, found.copied) == ["Quick brown fox"]
    assert cut(text, found.wrong) == ["over the lazy dog, it never looks"]
    assert cut(text, found.new) == ["runs", "away"]
    assert found.shares == pytest.approx((3 / 12, 7 / 12, 2 / 12))


def test_a_new_word_that_a_reference_has_is_right() -> None:
    assert origins_of("a hasty fox", [SOURCE], ["a hasty animal"]).new == []


def test_one_word_alone_is_no_stretch_and_no_stretch_spans_two_sources() -> None:
    assert stretches(["fox", "dog"], ["dog", "cat", "fox"]) == []
    found = origins_of("red fox", ["something red", "fox hole"], [])
    assert (found.copied, found.wrong) == ([], [])


def test_the_longest_stretch_is_taken_first_come_first() -> None:
    assert stretches("abcd", "abxabcd") == [(0, 4)]
    assert stretches("abbc", "abc") == [(0, 2), (2, 4)]


def test_chinese_is_compared_by_characters_of_which_four_make_a_stretch() -> None:
    text, source = "天气很好，去公园散步", "你好，世界。今天天气很好，我们去公园散步吧。"
    found = origins_of(text, [source], ["今天去公园"])
    assert (cut(text, found.copied), cut(text, found.wrong)) == (["去公园散步"], ["天气很好"])
    assert cut(text, found.new) == []


def test_nothing_written_has_no_origins_and_much_of_one_word_ends_soon() -> None:
    assert origins_of("", [SOURCE], []).shares == (0.0, 0.0, 0.0)
    assert origins_of("word " * 20_000, ["word " * 2_000_000], ["word"]).shares[0] == 1.0
