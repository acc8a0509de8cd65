"""ROUGE-1/2/L/Lsum (Lin 2004) through the rouge-score package, with a tokenizer that fits the language.

rouge-score's own tokenizer keeps [a-z0-9] only, so that two identical Chinese texts score 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from llmtrain.config.choices import Language, References
from llmtrain.core.errors import ConfigError, LlmtrainError, shorten
from llmtrain.data.examples import Example
from llmtrain.data.text.language import detect
from llmtrain.data.text.sentences import sentences
from llmtrain.data.text.words import words
from llmtrain.tasks.summarization.ngrams import shares_of_ngrams
from llmtrain.tasks.task import NO_DETAIL, Scorer

METRICS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
TOKENIZERS = {"en": "a-z0-9 words, Porter stemmer", "cjk": "characters", "characters": "every character as it stands",
              "other": "Unicode words"}
Scores = dict[str, float]


class UnicodeTokenizer:
    """Characters for CJK and ``characters``, jieba's words for ``zh_words``, Unicode words else, for rouge-score."""

    def __init__(self, language: str) -> None:
        self.language = language

    def tokenize(self, text: str) -> list[str]:
        return words(text, self.language)


class Rouge(Scorer):
    """A scorer of predictions against one or several references.

    Args:
        language: ``auto`` decides by the references.
        rule: ``first``: the summary column where there is one, else the first reference; ``mean`` of all; ``max`` of
            each metric; ``best_rouge1``: the reference with the highest ROUGE-1 decides all metrics (SciTLDR's rule,
            Cachola et al. 2020).
        examples: What will be scored.
    """

    def __init__(self, language: Language, rule: References, examples: Sequence[Example]) -> None:
        from rouge_score import rouge_scorer, tokenizers

        self.rule = rule
        self.language = detect(self.wanted(e)[0] for e in examples) if language is Language.auto else language.value
        own = None if self.language == "en" else UnicodeTokenizer(self.language)
        self._scorer: Any = rouge_scorer.RougeScorer(list(METRICS), use_stemmer=own is None, tokenizer=own)
        self._tokenizer: Any = own or tokenizers.DefaultTokenizer(use_stemmer=True)
        self._counts = sorted({len(self.wanted(e)) for e in examples})
        self._by_summary = all(e.references == (e.target,) for e in examples)

    @property
    def signature(self) -> str:
        """The tools and the rule that really decided: with one reference a row, every rule is the same."""
        tokenizer = f"words by jieba {version('jieba')}" if self.language == "zh_words" else TOKENIZERS[self.language]
        rule = References.first if self._by_summary else self.rule
        return (f"rouge-score {version('rouge-score')}, {tokenizer}, F1, references={rule.value} "
                f"({' to '.join(map(str, self._counts[:1] + self._counts[1:][-1:]))} a row)")

    def wanted(self, example: Example) -> tuple[str, ...]:
        """The references that count under the rule."""
        return (example.target,) if self.rule is References.first else example.references

    def tokens(self, text: str) -> list[str]:
        """The units that are compared."""
        return list(self._tokenizer.tokenize(text))

    def join(self, values: list[float]) -> float:
        """One metric's value from those against each reference."""
        return sum(values) / len(values) if self.rule is References.mean else max(values)

    def score(self, prediction: str, example: Example, detail: Mapping[str, Any] = NO_DETAIL) -> Scores:
        """F-measures in 0 to 100."""
        rows = [self._pair(prediction, reference) for reference in self.wanted(example)]
        if self.rule is References.best_rouge1:
            return max(rows, key=lambda row: row["rouge1"])
        return {name: self.join([row[name] for row in rows]) for name in METRICS}

    def extras(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        return shares_of_ngrams(examples, predictions, self.language)

    def _pair(self, prediction: str, reference: str) -> Scores:
        # rougeL ignores line breaks and rougeLsum reads one sentence a line
        found = self._scorer.score("\n".join(sentences(reference)), "\n".join(sentences(prediction)))
        if self.language == "characters":  # the spaces between sentences are characters too
            found |= {name: score for name, score in self._scorer.score(reference, prediction).items()
                      if name != "rougeLsum"}
        return {name: 100 * found[name].fmeasure for name in METRICS}


def load_rouge(make: Callable[[], Rouge]) -> None:
    """Make a scorer and try it.

    Raises:
        ConfigError: rouge-score, the nltk below it, or jieba cannot be loaded.
    """
    try:
        make().tokens("one word")
    except LlmtrainError:
        raise
    except Exception as error:  # whatever a package raises while it is imported
        raise ConfigError(f"what ROUGE needs cannot be loaded ({type(error).__name__}: {shorten(str(error), 150)}); "
                          "run: pip install --force-reinstall rouge-score nltk") from error


def several_asked_in_vain(rule: References, examples: Sequence[Example]) -> str | None:
    """What to tell where a rule for several references meets rows of one reference each."""
    if rule is References.first or any(len(e.references) > 1 for e in examples):
        return None
    return (f"eval.references={rule.value} was asked for but no row has several references; each is scored against "
            "its one. Name a column of lists by data.references")
