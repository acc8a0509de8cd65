"""BLEU and chrF are sacrebleu's own, over a whole set and over a resampled one."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

from llmtrain.config.load import load_config
from llmtrain.core.errors import ConfigError
from llmtrain.data.examples import Example
from llmtrain.evaluation.confidence import resampled
from llmtrain.evaluation.evaluate import score_split
from llmtrain.tasks.task import task_named
from llmtrain.tasks.translation.bleu import METRICS, Bleu, tokenizer_for
from llmtrain.tasks.translation.options import TOKENIZERS, TranslationEval

WORDS = "Ein Mann fährt auf dem roten Fahrrad durch die Stadt , und eine Frau steht am U-Bahn-Eingang .".split()  # noqa: SIM905


def drawn(rows: int, references: int = 1, seed: int = 0) -> tuple[list[Example], list[str]]:
    """Examples with references that differ a little from each other, and predictions that do from both."""
    draw = random.Random(seed)

    def near(words: list[str]) -> str:
        kept = [word if draw.random() < 0.8 else draw.choice(WORDS) for word in words if draw.random() < 0.95]
        return " ".join(kept) or "Ein"

    examples, predictions = [], []
    for index in range(rows):
        words = draw.choices(WORDS, k=draw.randint(1, 14))
        texts = tuple(near(words) for _ in range(references))
        examples.append(Example(str(index), "a source", texts[0], texts))
        predictions.append(near(words))
    return examples, predictions


def corpus(metric: BLEU | CHRF, examples: list[Example], predictions: list[str]) -> float:
    most = max(len(example.references) for example in examples)
    streams = [[(*example.references, *[None] * most)[n] for example in examples] for n in range(most)]
    return metric.corpus_score(predictions, streams).score


def ours(examples: list[Example], predictions: list[str], **options: object) -> dict[str, float]:
    config = TranslationEval(bootstrap_samples=0, **options)  # type: ignore[arg-type]
    scores = score_split(task_named("translation"), examples, predictions, config, decoding="here", baselines=False)
    return {name: value.value for name, value in scores.metrics.items()}


@pytest.mark.parametrize("references", [1, 3])
@pytest.mark.parametrize("lowercase", [False, True])
def test_a_set_has_the_scores_of_sacrebleu(references: int, lowercase: bool) -> None:
    examples, predictions = drawn(60, references)
    assert ours(examples, predictions, lowercase=lowercase) == {
        "bleu": corpus(BLEU(lowercase=lowercase), examples, predictions),
        "chrf": corpus(CHRF(lowercase=lowercase), examples, predictions),
        "bleu_tokenized": corpus(BLEU(lowercase=True, smooth_method="none"), examples, predictions)}


def test_rows_may_have_different_numbers_of_references() -> None:
    examples, predictions = drawn(20, 3)
    examples = [Example(e.id, e.source, e.target, e.references[:1 + i % 3]) for i, e in enumerate(examples)]
    assert ours(examples, predictions)["bleu"] == corpus(BLEU(), examples, predictions)
    assert ours(examples, predictions)["chrf"] == corpus(CHRF(), examples, predictions)
    assert "bleu nrefs:var|" in Bleu("auto", False, examples).signature


@pytest.mark.parametrize("tokenize", TOKENIZERS)
def test_each_tokenizer_is_sacrebleus(tokenize: str) -> None:
    examples, predictions = drawn(30)
    assert ours(examples, predictions, tokenize=tokenize)["bleu"] == corpus(BLEU(tokenize=tokenize), examples,
                                                                           predictions)
    assert f"|tok:{tokenize}|" in Bleu(tokenize, False, examples).signature


def test_the_references_choose_the_tokenizer() -> None:
    assert tokenizer_for(["两个男人在街上走路。", "一个女孩在 T 恤店里。"]) == "zh"
    assert tokenizer_for(["二人の男が道を歩いている。"]) == tokenizer_for(["두 남자가 길을 걷고 있다."]) == "char"
    assert tokenizer_for(["Zwei Männer gehen."]) == tokenizer_for(["Two men walk."]) == "13a"
    chinese = [Example("0", "two men", "两个男人在走路", ("两个男人在走路",))]
    assert ours(chinese, ["两个男人走路"]) == ours(chinese, ["两个男人走路"], tokenize="zh")
    assert ours(chinese, ["两个男人走路"])["bleu"] > ours(chinese, ["两个男人走路"], tokenize="13a")["bleu"]


def test_an_interval_is_sacrebleus_score_of_each_resample() -> None:
    examples, predictions = drawn(12)
    scorer = Bleu("13a", False, examples)
    rows = [scorer.score(p, e) for p, e in zip(predictions, examples, strict=True)]
    drawn_rows = np.random.default_rng(5).integers(0, 12, (4, 12))
    for metric, theirs in zip(METRICS, (BLEU(), CHRF(), BLEU(lowercase=True, smooth_method="none")), strict=True):
        assert metric.combine is not None
        found = resampled(metric.columns(rows), 4, 5, metric.combine)
        wanted = [corpus(theirs, [examples[i] for i in row], [predictions[i] for i in row]) for row in drawn_rows]
        assert found.tolist() == wanted


def test_a_row_has_its_own_scores_beside_its_counts() -> None:
    example = Example("0", "a man", "Ein Mann fährt.", ("Ein Mann fährt.",))
    scorer = Bleu("auto", False, [example])
    same, other = scorer.score("Ein Mann fährt.", example), scorer.score("Frau", example)
    assert same["bleu"] == same["chrf"] == pytest.approx(100) and other["bleu"] == 0 < other["chrf"] < 50
    assert (same["bleu.length"], same["bleu.matches1"], same["bleu.ngrams4"]) == (4, 4, 1)
    none = scorer.score("", example)
    assert none["bleu"] == none["chrf"] == 0 == none["bleu.length"]


def test_case_counts_unless_it_is_left_out() -> None:
    examples = [Example("0", "a man", "Ein Mann fährt Rad .", ("Ein Mann fährt Rad .",))]
    cased, lowered = (ours(examples, ["ein mann fährt rad ."], lowercase=lowercase) for lowercase in (False, True))
    assert cased["bleu"] < 50 < lowered["bleu"] == pytest.approx(100)
    assert cased["bleu_tokenized"] == lowered["bleu_tokenized"] == pytest.approx(100)


def test_the_signature_is_sacrebleus_with_the_number_of_references() -> None:
    examples, predictions = drawn(3, 2)
    theirs = BLEU(lowercase=True)
    theirs.corpus_score(predictions, [[e.references[n] for e in examples] for n in range(2)])
    assert theirs.get_signature().format() in Bleu("auto", True, examples).signature


def test_the_baseline_copies_the_source() -> None:
    examples = [Example("0", "Taxi in Berlin .", "Taxi in Berlin .", ("Taxi in Berlin .",)),
                Example("1", "a man", "Ein Mann", ("Ein Mann",))]
    scores = score_split(task_named("translation"), examples, ["", ""], TranslationEval(), decoding="here")
    assert scores.baselines["copy"]["bleu"].value == corpus(BLEU(), examples, [e.source for e in examples])
    assert scores.extras == {"length_ratio": 0.0, "empty_outputs": 2.0, "copied_sources": 0.0}


def test_an_unknown_tokenizer_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="unknown eval.tokenize=14a; choose from auto, 13a"):
        load_config("eval", ["task=translation", "predictions=x", "data=files", "data.test=y", "eval.tokenize=14a"])
    config = load_config("eval", ["task=translation", "predictions=x", "data=files", "data.test=y",
                                  "eval.tokenize=13a"])
    assert config.eval.tokenize == "13a"  # type: ignore[attr-defined]
