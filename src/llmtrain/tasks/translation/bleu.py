"""BLEU and chrF of translations, counted and combined by sacrebleu (Post 2018, "A Call for Clarity in Reporting BLEU
Scores").

A row gives sacrebleu's own counts; their sums over any rows give its corpus score, so that a whole set has what
sacrebleu says of it and a resampled one has an interval.

Shapes: R resamples, K statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray
from sacrebleu.metrics import BLEU, CHRF

from llmtrain.data.examples import Example
from llmtrain.data.text.language import detect
from llmtrain.tasks.metric import Metric, RowScores
from llmtrain.tasks.task import NO_DETAIL, Scorer
from llmtrain.tasks.translation.options import AUTO

ORDERS = BLEU().max_ngram_order
BLEU_COUNTS = ("length", "reference_length", *(f"matches{n}" for n in range(1, ORDERS + 1)),
               *(f"ngrams{n}" for n in range(1, ORDERS + 1)))
CHRF_COUNTS = tuple(f"{what}{n}" for n in range(1, CHRF.CHAR_ORDER + 1) for what in ("ngrams", "reference", "matches"))
CHRF_SHOWN = "chrF2"
KANA_OR_HANGUL = regex.compile(r"[\p{Hiragana}\p{Katakana}\p{Hangul}]")
SAMPLE = 200  # references that decide the tokenizer


def _combined(scorer: Any) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """sacrebleu's corpus score of summed counts: (R, K) -> (R,)."""
    def combine(sums_RK: NDArray[np.float64]) -> NDArray[np.float64]:
        found = [scorer._compute_score_from_stats([int(one) for one in row]).score for row in sums_RK]
        return np.array(found, dtype=np.float64)

    return combine


METRICS = (
    Metric("bleu", "BLEU", statistics=tuple(f"bleu.{name}" for name in BLEU_COUNTS), combine=_combined(BLEU())),
    Metric("chrf", CHRF_SHOWN, statistics=tuple(f"chrf.{name}" for name in CHRF_COUNTS), combine=_combined(CHRF())),
    Metric("bleu_tokenized", "tokenised BLEU", statistics=tuple(f"bleu_tokenized.{name}" for name in BLEU_COUNTS),
           combine=_combined(BLEU(smooth_method="none"))))


class Bleu(Scorer):
    """BLEU, chrF and, beside them, BLEU of lower-cased and tokenised text without smoothing, as papers on small sets
    report it (multi-bleu's formula).

    Args:
        tokenize: A tokenizer of sacrebleu, or ``auto``: by the language of the references.
        lowercase: BLEU and chrF compare lower-cased texts.
        examples: The rows whose references decide the language.
    """

    def __init__(self, tokenize: str, lowercase: bool, examples: Sequence[Example]) -> None:
        chosen = tokenizer_for(reference for example in examples[:SAMPLE] for reference in example.references) \
            if tokenize == AUTO else tokenize
        self._counts = {"bleu": BLEU(lowercase=lowercase, tokenize=chosen, force=True),
                        "chrf": CHRF(lowercase=lowercase),
                        "bleu_tokenized": BLEU(lowercase=True, tokenize=chosen, force=True, smooth_method="none")}
        self._alone = BLEU(lowercase=lowercase, tokenize=chosen, effective_order=True)
        numbers = {len(example.references) for example in examples}
        self._references = numbers.pop() if len(numbers) == 1 else -1  # -1: sacrebleu's word for different numbers

    @property
    def signature(self) -> str:
        told = []
        for name, metric in self._counts.items():
            metric.num_refs = self._references
            told.append(f"{name} {metric.get_signature().format()}")
        return "sacrebleu " + ", ".join(told)

    def score(self, prediction: str, example: Example, detail: Mapping[str, Any] = NO_DETAIL) -> RowScores:
        """Counts of each metric under ``METRIC.COUNT``; the row's own BLEU, of the n-grams that it has, and chrF."""
        found: RowScores = {}
        references = [[reference] for reference in example.references]
        for metric in METRICS:
            counts = self._counts[metric.name]._extract_corpus_statistics([prediction], references)[0]
            found |= dict(zip(metric.statistics, map(float, counts), strict=True))
        alone = {"bleu": self._alone._compute_score_from_stats(_counts_of(found, METRICS[0])).score,
                 "chrf": self._counts["chrf"]._compute_score_from_stats(_counts_of(found, METRICS[1])).score}
        return {name: round(value, 4) for name, value in alone.items()} | found

    def extras(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """Length beside the references' in BLEU's tokens, and how many translations are empty or the source itself."""
        rows = [self.score(prediction, example) for prediction, example in zip(predictions, examples, strict=True)]
        length, reference = (sum(row[f"bleu.{name}"] for row in rows) for name in BLEU_COUNTS[:2])
        return {"length_ratio": length / max(reference, 1.0),
                "empty_outputs": float(sum(not prediction.strip() for prediction in predictions)),
                "copied_sources": float(sum(prediction.strip() == example.source.strip() for prediction, example
                                            in zip(predictions, examples, strict=True)))}


def _counts_of(row: RowScores, metric: Metric) -> list[int]:
    return [int(row[name]) for name in metric.statistics]


def tokenizer_for(references: Any) -> str:
    """sacrebleu's tokenizer for the references' language: ``zh`` for Chinese, ``char`` for Japanese and Korean (whose
    own need a dictionary), ``13a`` for all that puts spaces between words."""
    texts = list(references)
    if detect(texts) != "cjk":
        return "13a"
    return "char" if any(KANA_OR_HANGUL.search(text) for text in texts) else "zh"
