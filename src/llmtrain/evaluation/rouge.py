"""ROUGE-1/2/L/Lsum (Lin 2004) through the rouge-score package, with a tokenizer that fits the language.

rouge-score's own tokenizer keeps [a-z0-9] only, so that two identical Chinese texts score 0.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from llmtrain.config.schema import Language, References
from llmtrain.evaluation.language import detect, sentences, words

METRICS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
Scores = dict[str, float]


class UnicodeTokenizer:
    """Characters for CJK, Unicode words else; the interface rouge-score asks for."""

    def __init__(self, language: str) -> None:
        self.language = language

    def tokenize(self, text: str) -> list[str]:
        return words(text, self.language)


class Rouge:
    """A scorer of predictions against one or several references.

    Args:
        language: ``auto`` decides by ``references``.
        rule: ``first`` reference alone; ``mean`` of all; ``max`` of each metric; ``best_rouge1``: the reference with
            the highest ROUGE-1 decides all metrics (SciTLDR's rule, Cachola et al. 2020).
    """

    def __init__(self, language: Language, rule: References, references: list[tuple[str, ...]]) -> None:
        from rouge_score import rouge_scorer

        self.language = detect(r[0] for r in references) if language is Language.auto else language.value
        self.rule = rule
        own = None if self.language == "en" else UnicodeTokenizer(self.language)
        self._scorer: Any = rouge_scorer.RougeScorer(list(METRICS), use_stemmer=own is None, tokenizer=own)

    @property
    def signature(self) -> str:
        tokenizer = {"en": "a-z0-9 words, Porter stemmer", "cjk": "characters", "other": "Unicode words"}[self.language]
        return f"rouge-score {version('rouge-score')}, {tokenizer}, F1, references={self.rule.value}"

    def score(self, prediction: str, references: tuple[str, ...]) -> Scores:
        """F-measures in 0 to 100."""
        chosen = references[:1] if self.rule is References.first else references
        rows = [self._pair(prediction, reference) for reference in chosen]
        if self.rule is References.best_rouge1:
            return max(rows, key=lambda row: row["rouge1"])
        join = max if self.rule is References.max else lambda values: sum(values) / len(values)
        return {name: join([row[name] for row in rows]) for name in METRICS}

    def _pair(self, prediction: str, reference: str) -> Scores:
        # rougeL ignores line breaks and rougeLsum reads one sentence a line
        found = self._scorer.score("\n".join(sentences(reference)), "\n".join(sentences(prediction)))
        return {name: 100 * found[name].fmeasure for name in METRICS}
