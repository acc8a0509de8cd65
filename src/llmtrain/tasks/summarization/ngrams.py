"""What summaries are like beside their documents: how long, how repetitive, how much of them is new."""

from __future__ import annotations

from collections.abc import Sequence

from llmtrain.data.examples import Example
from llmtrain.data.text.words import words


def shares_of_ngrams(examples: Sequence[Example], predictions: Sequence[str], language: str) -> dict[str, float]:
    """Length ratio, repeated trigrams, novel n-grams (shares of all n-grams written) and empty outputs."""
    written = wanted = 0
    total: dict[str, float] = {"repeated_trigrams": 0.0, "novel_unigrams": 0.0, "novel_bigrams": 0.0}
    counts = dict.fromkeys(total, 0)
    for example, prediction in zip(examples, predictions, strict=True):
        units, source = words(prediction, language), words(example.source, language)
        written += len(units)
        wanted += len(words(example.target, language))
        trigrams = ngrams(units, 3)
        total["repeated_trigrams"] += len(trigrams) - len(set(trigrams))
        counts["repeated_trigrams"] += len(trigrams)
        for name, size in (("novel_unigrams", 1), ("novel_bigrams", 2)):
            known = set(ngrams(source, size))
            own = ngrams(units, size)
            total[name] += sum(gram not in known for gram in own)
            counts[name] += len(own)
    shares = {name: total[name] / max(1, counts[name]) for name in total}
    return {"length_ratio": written / max(1, wanted), **shares,
            "empty_outputs": float(sum(not p.strip() for p in predictions))}


def ngrams(units: list[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(units[i:i + size]) for i in range(len(units) - size + 1)]
