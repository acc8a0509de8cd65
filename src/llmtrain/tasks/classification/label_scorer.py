"""Scores one row's label after the other, and counts them by label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from llmtrain.data.examples import Example
from llmtrain.data.label_names import NoLabel, in_order, label_name, label_names, listed_in
from llmtrain.tasks.classification.label_metrics import (
    CONFIDENCE,
    CORRECT,
    KINDS,
    ONE,
    SEVERAL,
    counted,
    f1_of_labels,
)
from llmtrain.tasks.classification.label_rows import LABELS, labels_of
from llmtrain.tasks.metric import RowScores
from llmtrain.tasks.task import NO_DETAIL, Scorer

PROBABILITIES = "probabilities"  # of a prediction's detail: of each label


class LabelScorer(Scorer):
    """Compares labels by their names."""

    signature = "labels by name"

    def __init__(self, examples: Sequence[Example]) -> None:
        self.several = any(LABELS in example.fields for example in examples)

    def given(self, prediction: str) -> list[str]:
        """The labels that a prediction names."""
        try:
            if listed_in(prediction) is not None:
                return label_names(prediction)[0]
            return [label_name(prediction)[0]]
        except NoLabel:
            return []

    def score(self, prediction: str, example: Example, detail: Mapping[str, Any] = NO_DETAIL) -> RowScores:
        given, gold = self.given(prediction), labels_of(example)
        right = 100.0 * (set(given) == set(gold))
        scores = {CORRECT: right, SEVERAL if self.several else ONE: 1.0, **counted(gold, given)}
        if not self.several and (confidence := confidence_of(given, detail)) is not None:
            scores[CONFIDENCE] = confidence
        return scores

    def tables(self, scored: Sequence[RowScores], examples: Sequence[Example],
               predictions: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """``per_label`` and, of one label a row, ``confusion``: its rows stand for the labels of the data, its columns
        for those that were given."""
        pairs = [(labels_of(example), self.given(text)) for example, text in zip(examples, predictions, strict=True)]
        names = in_order(name for both in pairs for side in both for name in side)
        found = {"per_label": per_label(names, scored)}
        if not self.several:
            found["confusion"] = confusion(names, pairs)
        return found


def confidence_of(given: Sequence[str], detail: Mapping[str, Any]) -> float | None:
    """The probability of the label that was given, where the detail tells it."""
    listed = detail.get(PROBABILITIES)
    value = listed.get(given[0]) if isinstance(listed, Mapping) and given else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def per_label(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each label (0 to 100; null where there is nothing to divide by), the rows that have
    it and those that were given it."""
    sums: Counter[str] = Counter()
    for row in rows:
        sums.update({name: value for name, value in row.items() if name.startswith(KINDS)})
    made = []
    for label in names:
        hit, missed, wrong = (sums[f"{kind}{label}"] for kind in KINDS)
        (f1,) = f1_of_labels(np.array([[hit, missed, wrong]], dtype=np.float64))[0]
        made.append({"label": label, "precision": _percent(hit, hit + wrong), "recall": _percent(hit, hit + missed),
                     "f1": None if np.isnan(f1) else 100 * float(f1), "rows": int(hit + missed),
                     "given": int(hit + wrong)})
    return made


def confusion(names: Sequence[str], pairs: Sequence[tuple[list[str], list[str]]]) -> list[dict[str, Any]]:
    """How many rows of each label were given which."""
    counts = Counter((gold, given[0] if given else "") for golds, given in pairs for gold in golds)
    columns = [*names, *([""] if any(given == "" for _, given in counts) else [])]
    return [{"label": gold, **{f"as {given}" if given else "as none": counts[gold, given] for given in columns}}
            for gold in names if any(counts[gold, given] for given in columns)]


def _percent(part: float, whole: float) -> float | None:
    return 100 * part / whole if whole else None
