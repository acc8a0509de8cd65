"""Scores a hand can check."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmtrain.config.choices import Language, References
from llmtrain.data.examples import Example
from llmtrain.data.text.language import detect
from llmtrain.data.text.sentences import sentences
from llmtrain.data.text.words import words
from llmtrain.evaluation.confidence import interval, paired
from llmtrain.evaluation.evaluate import score_split
from llmtrain.evaluation.report import build_results, print_report, typical_rows
from llmtrain.tasks.summarization.baselines import best_lead_length, lead, oracle
from llmtrain.tasks.summarization.ngrams import shares_of_ngrams as extras
from llmtrain.tasks.summarization.options import SummarizationEval
from llmtrain.tasks.summarization.rouge import Rouge, several_asked_in_vain
from llmtrain.tasks.summarization.task import Summarization


def example(document: str, *references: str) -> Example:
    return Example("0", document, references[0], references)


def rouge(language: Language = Language.en, rule: References = References.first) -> Rouge:
    return Rouge(language, rule, [example("a", "a")])


def score(prediction: str, *references: str, rule: References = References.first) -> dict[str, float]:
    return rouge(rule=rule).score(prediction, example("a document", *references))


def test_rouge_by_hand() -> None:
    scores = score("the cats sat", "the cat sat down")
    assert scores["rouge1"] == pytest.approx(100 * 2 * 3 / (3 + 4))  # cats is stemmed
    assert scores["rouge2"] == pytest.approx(100 * 2 * 2 / (2 + 3))
    assert scores["rougeL"] == pytest.approx(100 * 6 / 7)


def test_identical_chinese_is_100_and_detected() -> None:
    text = "深度学习模型的联合训练"
    one = example(text, text)
    found = Rouge(Language.auto, References.first, [one])
    assert found.language == "cjk"
    assert found.score(text, one)["rouge2"] == pytest.approx(100)
    assert found.score("深度", one)["rouge1"] == pytest.approx(100 * 4 / (2 + len(text)))


def test_languages_are_told_apart() -> None:
    assert detect(["A plain English text."]) == "en"
    assert detect(["Ein Größenvergleich für die Köpfe der Übertragung"]) == "other"
    assert detect(["BERT 模型训练方法研究"]) == "cjk"
    assert words("Größe über", "other") == ["größe", "über"]


def test_rules_for_several_references() -> None:
    references = ("a b", "a b c d", "x a")
    row = {rule: score("a b c d", *references, rule=rule) for rule in References}
    each = [score("a b c d", reference) for reference in references]
    assert row[References.first] == each[0]
    assert row[References.mean]["rouge1"] == pytest.approx(sum(r["rouge1"] for r in each) / 3)
    assert row[References.max]["rouge2"] == max(r["rouge2"] for r in each)
    assert row[References.best_rouge1] == each[1]


def test_best_rouge1_lets_one_reference_decide() -> None:
    references = ("b a c d e", "x a b")  # the first wins ROUGE-1, the second ROUGE-2
    best = score("a b c", *references, rule=References.best_rouge1)
    most = score("a b c", *references, rule=References.max)
    assert best["rouge1"] == most["rouge1"]
    assert best["rouge2"] < most["rouge2"]


def test_lsum_reads_sentences() -> None:
    scores = score("One two. Three four.", "Three four. One two.")
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
    config = SummarizationEval(language=Language.en, bootstrap_samples=10)
    scores = score_split(Summarization(), long, ["a"], config, decoding="x", validation=short)
    assert "lead 4 words chosen on validation" in scores.signature
    assert scores.baselines["lead"]["rouge1"].value == pytest.approx(50)


def test_extras() -> None:
    found = extras([example("a b c", "a b")], ["a x a x a x"], "en")
    assert found["length_ratio"] == 3
    assert found["novel_unigrams"] == 0.5
    assert found["repeated_trigrams"] == 0.5
    assert extras([example("a", "a")], [" "], "en")["empty_outputs"] == 1


def test_signature_names_what_decides(tmp_path: Path) -> None:
    config = SummarizationEval(references=References.max)
    scores = score_split(Summarization(), [example("a b", "a", "b")], ["a"], config, decoding="greedy")
    for part in ("rouge-score", "Porter", "references=max (2 a row)", "greedy", "llmtrain"):
        assert part in scores.signature


def test_the_signature_says_what_decided_where_there_is_one_reference() -> None:
    rows = [example("a b", "a"), example("c d", "c")]
    for rule in References:
        assert "references=first (1 a row)" in rouge_of(rule, rows).signature
        assert (several_asked_in_vain(rule, rows) is None) == (rule is References.first)
    several = [*rows, example("a", "a", "b", "c")]
    assert "references=mean (1 to 3 a row)" in rouge_of(References.mean, several).signature
    assert several_asked_in_vain(References.mean, several) is None


def rouge_of(rule: References, rows: list[Example]) -> Rouge:
    return Rouge(Language.en, rule, rows)


def test_first_is_the_summary_and_the_other_rules_read_the_listed_references() -> None:
    """By hand: "a b" against "a b" 100, "a c" 50 (1 of 2 and 1 of 2), "a b c d" 2 * 2 / (2 + 4) = 66.7, "x" 0."""
    one = Example("0", "a document", "x", ("a b", "a c", "a b c d"))
    want = {References.first: 0, References.mean: (100 + 50 + 200 / 3) / 3, References.max: 100,
            References.best_rouge1: 100}
    for rule, value in want.items():
        assert rouge_of(rule, [one]).score("a b", one)["rouge1"] == pytest.approx(value)


def test_the_leads_length_reaches_long_summaries_and_every_small_number() -> None:
    words_of = " ".join(f"w{i}" for i in range(400))
    for length in (3, 7, 29, 200):
        one = example(words_of, " ".join(words_of.split()[:length]))
        assert best_lead_length([one], rouge()) == length
    text = "".join(chr(0x4E00 + i) for i in range(300))
    chinese = example(text, text[:23])
    assert best_lead_length([chinese], Rouge(Language.cjk, References.first, [chinese])) == 23


def test_the_table_says_when_rows_were_cut() -> None:
    from rich.console import Console

    config = SummarizationEval(bootstrap_samples=5)
    scores = score_split(Summarization(), [example("a b", "a")], ["a"], config, decoding="x")
    for whole, told in (({"test": 512, "validation": 1}, "test (1 of 512 rows)"), ({"test": 1}, "test (1 rows)"),
                        (None, "test (1 rows)")):
        results = build_results(Summarization(), validation=scores, test=scores, whole=whole)
        console = Console(width=120, record=True, file=io.StringIO())
        print_report(console, results)
        shown = console.export_text()
        assert told in shown
        assert "validation (1 rows)" in shown
    alone = build_results(Summarization(), validation=None, test=scores, whole={"test": 512})
    assert alone["rows"]["whole"] == {"test": 512}


def row(name: str, score: float) -> dict[str, Any]:
    return {"id": name, "document": f"document {name}", "references": [f"reference {name}"],
            "prediction": f"prediction {name}", "rouge1": score}


def test_the_rows_that_are_shown_stand_at_percentiles_of_the_score() -> None:
    rows = [row(str(i), float(i)) for i in range(1, 101)]
    found = [(place, one["id"]) for place, one in typical_rows(rows, "rouge1")]
    assert found == [("25th", "25"), ("50th", "50"), ("75th", "75")]
    for shuffled in (rows[::-1], rows[50:] + rows[:50]):
        assert [(place, one["id"]) for place, one in typical_rows(shuffled, "rouge1")] == found
    tied = [row(str(i), 5.0) | {"id": "one"} for i in range(9)]
    assert typical_rows(tied, "rouge1") == typical_rows(tied[::-1], "rouge1")
    assert [place for place, _ in typical_rows(tied[:1], "rouge1")] == ["25th and 50th and 75th"]
    assert [(place, one["id"]) for place, one in typical_rows([row("a", 1.0), row("b", 2.0)], "rouge1")] == [
        ("25th and 50th", "a"), ("75th", "b")]
    assert typical_rows([], "rouge1") == []


def test_the_report_shows_each_example_with_its_score() -> None:
    from rich.console import Console

    config = SummarizationEval(bootstrap_samples=5)
    scores = score_split(Summarization(), [example("a b", "a")], ["a"], config, decoding="x")
    results = build_results(Summarization(), validation=None, test=scores)
    console = Console(width=126, record=True, file=io.StringIO())
    print_report(console, results, [row(str(i), 10.0 * i) for i in range(8)])
    shown = console.export_text()
    assert "ROUGE-1:    10.00, the 25th percentile of these 8 rows\ndocument:   document 1\n" in shown
    assert shown.index("ROUGE-1:    30.00, the 50th") < shown.index("ROUGE-1:    50.00, the 75th")
    assert "document 0" not in shown


def test_scoring_somebodys_predictions_loads_no_torch() -> None:
    program = ("import sys; import llmtrain.evaluation.evaluate, llmtrain.evaluation.report, "
               "llmtrain.tasks.summarization.task; print(sorted({'torch', 'transformers'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
