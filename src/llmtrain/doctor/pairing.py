"""Does each target belong to its own source? A file whose columns were put together one row apart trains without any
error, and learns nothing.

Two signs are looked at, beside the same for targets moved by one row up and down: for texts how well a target's length
and its words, the rarer the more, go with its source; for labels how well a naive Bayes classifier (Maron 1961) of the
sources' words guesses rows that it has not seen. What a neighbour explains clearly better than the row itself is told.

Shapes: N rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from llmtrain.data.examples import Example
from llmtrain.data.text.language import detect
from llmtrain.data.text.words import words
from llmtrain.doctor.check_result import Verdict, judged
from llmtrain.doctor.sample_run import SampleRun
from llmtrain.training.spec import TaskSpec

LOOKED_AT = 2000  # rows, as they stand one after the other
LEAST = 24  # rows that say anything
SURE = 4.0  # standard errors by which a neighbour must be better
APART = {"length": 0.3, "words": 0.05, "label": 0.05}  # and by how much: of a correlation, of a share, of a share
MANY_LABELS = 0.2  # different targets of a row: more are texts
REMEDY = ("put each target into the row of its own source: they stand one row apart, as when a column was shifted, a "
          "header was read as a row, or one of two files lacks a line")
Values = NDArray[np.float64]


def look_at_pairs(run: SampleRun, task: TaskSpec) -> Iterator[Verdict]:
    """Own targets beside those of the row before and behind."""
    rows = [one for one in run.whole[task.name].train[:LOOKED_AT] if one.target]
    if len(rows) < LEAST or all(one.fields.get("answers") is not None for one in rows):
        return
    language = detect(one.source for one in rows)
    texts = [words(one.source, language) for one in rows]
    different = len({one.target for one in rows}) / len(rows)
    signs = _of_texts(texts, rows, language) if different > MANY_LABELS else {"label": _guessed(texts, rows)}
    found, figures = "", {}
    for name, sign in signs.items():
        own = sign(0)
        figures[name] = float(own.mean())
        for moved, where in ((1, "below"), (-1, "above")):
            other = sign(moved)
            gain = other - own
            error = float(gain.std()) / math.sqrt(len(gain)) or 1e-9
            if gain.mean() > APART[name] and gain.mean() > SURE * error:
                found = (f"the target of the row {where} goes better with a source than its own: {_SAID[name]} "
                         f"{other.mean():.2f}, of its own {own.mean():.2f}")
    told = ", ".join(f"{_SAID[name]} {value:.2f}" for name, value in figures.items())
    yield judged("targets of their rows", found or f"targets go with their own sources as well as with their "
                 f"neighbours' or better ({told})", fail=REMEDY if found else "", signs=figures)


_SAID = {"length": "correlation of lengths", "words": "share of the target's words that its source has",
         "label": "share of labels that the source's words tell"}


def _of_texts(sources: list[list[str]], rows: list[Example], language: str) -> dict[str, Callable[[int], Values]]:
    targets = [words(one.target, language) for one in rows]
    known = [set(text) for text in sources]
    sources_with = Counter(word for text in known for word in text)
    weights = {word: math.log((len(rows) + 1) / count) for word, count in sources_with.items()}  # of a rare word more
    most = math.log(len(rows) + 1)
    written_words = [{word: weights.get(word, most) for word in text} for text in targets]
    lengths = _standard([math.log1p(len(text)) for text in sources])
    written = _standard([math.log1p(len(text)) for text in targets])

    def of_words(by: int) -> Values:
        other = [written_words[(i + by) % len(rows)] for i in range(len(rows))]
        return np.array([sum(weight for word, weight in mine.items() if word in text) / max(sum(mine.values()), 1e-9)
                         for mine, text in zip(other, known, strict=True)])

    return {"length": lambda by: lengths * np.roll(written, -by), "words": of_words}


def _standard(values: list[float]) -> Values:
    found = np.array(values)
    spread = found.std()
    return (found - found.mean()) / (spread if spread > 0 else 1.0)


def _guessed(sources: list[list[str]], rows: list[Example]) -> Callable[[int], Values]:
    """(N,) 1 where the words of a source tell its label, learnt of the other half of the rows."""
    known = [set(text) for text in sources]
    half = [i // 2 % 2 for i in range(len(rows))]

    def guessed(by: int) -> Values:
        labels = [rows[(i + by) % len(rows)].target for i in range(len(rows))]
        learnt = [_Bayes([known[i] for i in range(len(rows)) if half[i] != one],
                         [labels[i] for i in range(len(rows)) if half[i] != one]) for one in (0, 1)]
        return np.array([float(learnt[half[i]](known[i]) == labels[i]) for i in range(len(rows))])

    return guessed


class _Bayes:
    """The likeliest label of a text by its words, each with a count of 1 to begin with."""

    def __init__(self, texts: list[set[str]], labels: list[str]) -> None:
        self.rows = Counter(labels)
        self.words: dict[str, Counter[str]] = {label: Counter() for label in self.rows}
        for text, label in zip(texts, labels, strict=True):
            self.words[label].update(text)
        every = len(set().union(*texts))
        self.totals = {label: counts.total() + every for label, counts in self.words.items()}

    def __call__(self, text: set[str]) -> str:
        def score(label: str) -> float:
            counts, total = self.words[label], self.totals[label]
            return math.log(self.rows[label]) + sum(math.log((counts[word] + 1) / total) for word in text)

        return max(sorted(self.rows), key=score)
