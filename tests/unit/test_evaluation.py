"""Scores a hand can check."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llmtrain.config.schema import EvalConfig, Language, References
from llmtrain.data.examples import Example
from llmtrain.evaluation.baselines import best_lead_length, lead, oracle
from llmtrain.evaluation.bootstrap import interval, paired
from llmtrain.evaluation.evaluate import extras, score_split
from llmtrain.evaluation.language import detect, sentences, words
from llmtrain.evaluation.rouge import Rouge


def example(document: str, *references: str) -> Example:
    return Example("0", document, references[0], references)


def rouge(language: Language = Language.en, rule: References = References.first) -> Rouge:
    return Rouge(language, rule, [("a",)])


def test_rouge_by_hand() -> None:
    scores = rouge().score("the cats sat", ("the cat sat down",))
    assert scores["rouge1"] == pytest.approx(100 * 2 * 3 / (3 + 4))  # cats is stemmed
    assert scores["rouge2"] == pytest.approx(100 * 2 * 2 / (2 + 3))
    assert scores["rougeL"] == pytest.approx(100 * 6 / 7)


def test_identical_chinese_is_100_and_detected() -> None:
    text = "深度学习模型的联合训练"
    found = Rouge(Language.auto, References.first, [(text,)])
    assert found.language == "cjk"
    assert found.score(text, (text,))["rouge2"] == pytest.approx(100)
    assert found.score("深度", (text,))["rouge1"] == pytest.approx(100 * 4 / (2 + len(text)))


def test_languages_are_told_apart() -> None:
    assert detect(["A plain English text."]) == "en"
    assert detect(["Ein Größenvergleich für die Köpfe der Übertragung"]) == "other"
    assert detect(["BERT 模型训练方法研究"]) == "cjk"
    assert words("Größe über", "other") == ["größe", "über"]


def test_rules_for_several_references() -> None:
    references = ("a b", "a b c d", "x a")
    row = {rule: rouge(rule=rule).score("a b c d", references) for rule in References}
    each = [rouge().score("a b c d", (reference,)) for reference in references]
    assert row[References.first] == each[0]
    assert row[References.mean]["rouge1"] == pytest.approx(sum(r["rouge1"] for r in each) / 3)
    assert row[References.max]["rouge2"] == max(r["rouge2"] for r in each)
    assert row[References.best_rouge1] == each[1]


def test_best_rouge1_lets_one_reference_decide() -> None:
    references = ("b a c d e", "x a b")  # the first wins ROUGE-1, the second ROUGE-2
    best = rouge(rule=References.best_rouge1).score("a b c", references)
    most = rouge(rule=References.max).score("a b c", references)
    assert best["rouge1"] == most["rouge1"]
    assert best["rouge2"] < most["rouge2"]


def test_lsum_reads_sentences() -> None:
    scores = rouge().score("One two. Three four.", ("Three four. One two.",))
    assert scores["rougeLsum"] == pytest.approx(100)
    assert scores["rougeL"] == pytest.approx(50)


def test_intervals_cover_and_pair() -> None:
    values = np.random.default_rng(0).normal(10, 2, 400)
    found = interval(values, 1000)
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * 2 / 20, rel=0.15)
    assert found == interval(values, 1000)
    shifted = paired(values + 0.1, values, 500)
    assert shifted.low == pytest.approx(0.1)
    assert shifted.high == pytest.approx(0.1)
    with pytest.raises(ValueError, match="same documents"):
        paired([1.0], [1.0, 2.0])


def test_baselines() -> None:
    one = example("First part here. The answer is blue. Nothing else.", "the answer is blue")
    assert oracle(one, "en") == "The answer is blue."
    assert lead("one two three", 2, "en") == "one two"
    assert lead("深度学习", 2, "cjk") == "深度"
    rows = [example("a b c d e f g h i j k l", "a b c d")] * 3
    assert best_lead_length(rows, rouge()) == 4
    assert sentences("一。二！三") == ["一。", "二！", "三"]


def test_the_leads_length_comes_from_validation() -> None:
    short = [example("a b c d e f g h i j k l", "a b c d")]
    long = [example("a b c d e f g h i j k l", "a b c d e f g h i j k l")]
    config = EvalConfig(language=Language.en, bootstrap_samples=10)
    scores = score_split(long, ["a"], config, decoding="x", lead_from=short)
    assert "lead 4 words chosen on validation" in scores.signature
    assert scores.baselines["lead"]["rouge1"].value == pytest.approx(50)


def test_extras() -> None:
    found = extras([example("a b c", "a b")], ["a x a x a x"], "en")
    assert found["length_ratio"] == 3
    assert found["novel_unigrams"] == 0.5
    assert found["repeated_trigrams"] == 0.5
    assert extras([example("a", "a")], [" "], "en")["empty_outputs"] == 1


def test_signature_names_what_decides(tmp_path: Path) -> None:
    scores = score_split([example("a b", "a")], ["a"], EvalConfig(references=References.max), decoding="greedy")
    for part in ("rouge-score", "Porter", "references=max", "greedy", "llmtrain"):
        assert part in scores.signature
