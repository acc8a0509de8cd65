"""Exact match and F1 as the scripts of SQuAD and CMRC 2018 compute them."""

from __future__ import annotations

import pytest

from llmtrain.data.examples import Example
from llmtrain.tasks.question_answering.answer_scores import AnswerScorer, cmrc_units, squad_text


def example(*references: str) -> Example:
    return Example("1", "a context", references[0], references)


@pytest.mark.parametrize(("text", "plain"), [
    ("The Cat's  hat.", "cats hat"), ("an  Apple a day", "apple day"), ("THE", ""), ("a-b", "ab"),
    ("theatre", "theatre"), ("$5,000 (US)", "5000 us"), ("", "")])
def test_answers_are_compared_as_squad_does(text: str, plain: str) -> None:
    assert squad_text(text) == plain


@pytest.mark.parametrize(("prediction", "references", "em", "f1"), [
    ("Denver Broncos", ("Denver Broncos", "The Denver Broncos"), 100, 100),
    ("the denver broncos!", ("Denver Broncos",), 100, 100),
    ("Broncos", ("Denver Broncos",), 0, 100 * 2 / 3),
    ("in the city of Denver", ("Denver", "in Denver, Colorado"), 0, 100 * 4 / 7),
    ("cat cat dog", ("cat dog dog",), 0, 100 * 2 / 3),  # each word as often as both have it
    ("nothing alike", ("Denver",), 0, 0), ("", ("Denver",), 0, 0),
    ("", ("",), 100, 100), ("the", ("",), 100, 100), ("Denver", ("",), 0, 0),
    ("", ("the", "."), 100, 100),  # references of articles and marks alone are left out, as by the script
    ("", ("Denver", "the"), 0, 0)])
def test_english_scores_are_squads(prediction: str, references: tuple[str, ...], em: float, f1: float) -> None:
    scores = AnswerScorer("en", []).score(prediction, example(*references))
    assert scores == {"exact_match": em, "f1": pytest.approx(f1)}


def test_other_languages_have_no_articles_and_every_mark_of_unicode() -> None:
    other = AnswerScorer("other", [])
    assert other.score("«La» casa", example("la casa"))["exact_match"] == 100
    assert other.score("the casa", example("casa"))["exact_match"] == 0
    assert AnswerScorer("en", []).score("the casa", example("casa"))["exact_match"] == 100


@pytest.mark.parametrize(("text", "units"), [
    ("《战国无双3》", ["战", "国", "无", "双", "3"]), ("光荣和ω-force", ["光", "荣", "和", "ωforce"]),
    ("Wi-Fi 用于 the net", ["wifi", "用", "于", "the", "net"]), ("“你好”，。", ["你", "好"]), ("", []),
    ("don't", ["do", "n't"]), ("（1999年）", ["1999", "年"])])
def test_chinese_is_cut_as_cmrc_does(text: str, units: list[str]) -> None:
    assert cmrc_units(text) == units


@pytest.mark.parametrize(("prediction", "references", "em", "f1"), [
    ("村雨城", ("村雨城", "任天堂游戏谜之村雨城"), 100, 100), ("《村雨城》。", ("村雨城",), 100, 100),
    ("任天堂游戏谜之村雨城", ("村雨城",), 0, 100 * 6 / 13),  # 3 in a row of 10 and of 3
    ("甲乙丙丁", ("丙丁甲乙",), 0, 50),  # the longest run counts, not every character that both have
    ("", ("村雨城",), 0, 0), ("天", ("地",), 0, 0), ("", ("",), 100, 100), ("Abc", ("abc",), 100, 100)])
def test_chinese_scores_are_cmrcs(prediction: str, references: tuple[str, ...], em: float, f1: float) -> None:
    scores = AnswerScorer("cjk", []).score(prediction, example(*references))
    assert scores == {"exact_match": em, "f1": pytest.approx(f1)}


def test_the_answers_decide_the_language_and_the_signature_tells_it() -> None:
    chinese, english = [example("村雨城的主人"), example("")], [example("the house of the king")]
    assert AnswerScorer("auto", chinese).language == "cjk"
    assert "CMRC 2018" in AnswerScorer("auto", chinese).signature
    assert "SQuAD's rules (lower case, no punctuation, no articles" in AnswerScorer("auto", english).signature
    assert AnswerScorer("en", chinese).language == "en"
    assert "without articles" in AnswerScorer("other", chinese).signature


def test_rows_with_and_without_an_answer_are_told_apart() -> None:
    rows, scorer = [example("red"), example("blue tree"), example("")], AnswerScorer("en", [])
    assert scorer.extras(rows, ["red", "tree", "red"]) == {
        "no_answer_rows": 1, "no_answer_predicted": 0, "has_answer_exact_match": 50,
        "has_answer_f1": pytest.approx(100 * (1 + 2 / 3) / 2), "no_answer_exact_match": 0, "no_answer_f1": 0}
    assert scorer.extras(rows, ["red", " ", ""])["no_answer_predicted"] == 2
    assert scorer.extras(rows[:2], ["red", ""]) == {}
    assert "has_answer_f1" not in scorer.extras(rows[2:], [""])
