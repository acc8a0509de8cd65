"""Labels as users write them: numbers, truths, texts, lists; and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from llmtrain.data.label_names import NoLabel, as_text, in_order, label_name, label_names, listed_in


@pytest.mark.parametrize(("value", "name", "kind"), [
    ("positive", "positive", "a text"), (" positive\n", "positive", "a text"), (1, "1", "a number"),
    (1.0, "1", "a number"), (0.5, "0.5", "a number"), (-1, "-1", "a number"), (True, "true", "true or false"),
    (False, "false", "true or false"), ("1", "1", "a text"), ("正面", "正面", "a text"), ("[", "[", "a text"),
    (10 ** 30, "1" + "0" * 30, "a number"), ("[a] 'b'", "[a] 'b'", "a text")])
def test_a_label_has_one_plain_name(value: Any, name: str, kind: str) -> None:
    assert label_name(value) == (name, kind)


@pytest.mark.parametrize(("value", "told"), [
    (None, "is empty"), ("  ", "is empty"), (float("nan"), "is empty"), (float("inf"), "inf"), ([1], "is a list"),
    ({"a": 1}, "a group of keys"), (b"a", "of type bytes"), ("a\0b", "NUL"), ("\ud83d", "half a character"),
    ("long " * 60, "longer than any label"), (10 ** 400, "a number of 401 characters"),
    ("['joy', 'fear']", "a list as Python prints it"), ("['joy' 'fear']", "a list as Python prints it")])
def test_what_is_no_label_says_what_it_is(value: Any, told: str) -> None:
    with pytest.raises(NoLabel, match=told):
        label_name(value)


@pytest.mark.parametrize(("value", "separator", "names"), [
    (["a", "b"], None, ["a", "b"]), ([], None, []), (["a", "a"], None, ["a"]), ([1, 2.0], None, ["1", "2"]),
    ('["a", "b"]', None, ["a", "b"]), ("[]", None, []), ("a; b", ";", ["a", "b"]), ("a", ";", ["a"]), ("", ";", []),
    ("a;;b;", ";", ["a", "b"]), ({"a": 1, "b": 0, "c": True}, None, ["a", "c"]), (("a",), None, ["a"])])
def test_several_labels_come_in_every_usual_form(value: Any, separator: str | None, names: list[str]) -> None:
    assert label_names(value, separator)[0] == names


@pytest.mark.parametrize("value", ["a", 1, None, True, "[1", '{"a": 1}', "a, b"])
def test_one_label_lists_nothing(value: Any) -> None:
    assert listed_in(value) is None


@pytest.mark.parametrize(("value", "told"), [
    (["a", 1], "two kinds, a number and a text"), ([True, "a"], "two kinds"), (["a", None], "is empty"),
    ([["a"]], "is a list"), ({"a": 0.5}, "something else than 0 or 1"), ({"a": "yes"}, "something else than 0 or 1"),
    ("a", "not a list of labels")])
def test_a_list_that_is_none_says_why(value: Any, told: str) -> None:
    with pytest.raises(NoLabel, match=told):
        label_names(value)


@pytest.mark.parametrize(("names", "ordered"), [
    (["10", "9", "1"], ["1", "9", "10"]), (["-1", "1", "0.5"], ["-1", "0.5", "1"]),
    (["b", "a", "10"], ["10", "a", "b"]), (["true", "false"], ["false", "true"]),
    (["1", "01"], ["01", "1"]), (["1-2", "3"], ["1-2", "3"]),
    (["2", "1e-05"], ["1e-05", "2"]), (["②", "①"], ["①", "②"]), (["10", "9²"], ["10", "9²"])])
def test_labels_stand_in_one_order_whatever_the_rows(names: list[str], ordered: list[str]) -> None:
    assert in_order(names) == in_order(names[::-1]) == ordered


def test_a_text_of_several_labels_is_taken_apart_again() -> None:
    assert listed_in(as_text(["a, b", '"c"', "正"])) == ["a, b", '"c"', "正"]
