"""Scores of labels, each made of sums over rows, so that resampled rows give the score that they would have alone.

Shapes: N rows, R resamples, C labels, K statistics.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmtrain.tasks.metric import Metric, RowScores

Numbers = NDArray[np.float64]
HIT, MISSED, WRONG = "hit:", "missed:", "wrong:"  # before a label: it stands and is given, stands alone, is given alone
KINDS = (HIT, MISSED, WRONG)
CONFIDENCE, CORRECT = "confidence", "accuracy"
ONE, SEVERAL = "one_label", "several_labels"  # which of both a row's statistics are of
BINS = 15  # of the expected calibration error, as Guo et al. 2017 print it


def counted(gold: Iterable[str], given: Iterable[str]) -> RowScores:
    """A row's labels as statistics: one for each label that stands in the row or was given."""
    stands, found = set(gold), set(given)
    sides = ((HIT, stands & found), (MISSED, stands - found), (WRONG, found - stands))
    return {f"{kind}{label}": 1.0 for kind, labels in sides for label in sorted(labels)}


def labels_in(rows: Iterable[RowScores]) -> list[str]:
    """The labels that rows' statistics speak of, in order."""
    return sorted({name.removeprefix(kind) for row in rows for name in row for kind in KINDS if name.startswith(kind)})


@dataclass(frozen=True, slots=True)
class LabelMetric(Metric):
    """A score made of how often each label was hit, missed and given wrongly.

    ``combine`` gets (R, 3C) sums: those three of the first label, then of the second, and so on.
    """

    def columns(self, rows: list[RowScores]) -> Numbers:
        places = {label: 3 * number for number, label in enumerate(labels_in(rows))}
        made = np.zeros((len(rows), 3 * len(places)))
        for number, row in enumerate(rows):
            for name, value in row.items():
                for offset, kind in enumerate(KINDS):
                    if name.startswith(kind):
                        made[number, places[name.removeprefix(kind)] + offset] = value
        return made


@dataclass(frozen=True, slots=True)
class CalibrationMetric(Metric):
    """A score made of each bin's confidence less its accuracy, and the number of rows."""

    def columns(self, rows: list[RowScores]) -> Numbers:
        made = np.zeros((len(rows), BINS + 1))
        made[:, BINS] = 1
        for number, row in enumerate(rows):
            made[number, bin_of(row[CONFIDENCE])] = row[CONFIDENCE] - row[CORRECT] / 100
        return made


def bin_of(confidence: float) -> int:
    """The bin of a confidence: (0, 1/15] is the first, as Guo et al. 2017 cut them."""
    return min(BINS - 1, max(0, math.ceil(confidence * BINS) - 1))


def calibration(rows: Iterable[Mapping[str, Any]]) -> tuple[tuple[float, float, int], ...]:
    """Of each bin that rows fall into: their mean confidence, the share that is right, and how many they are."""
    bins: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        if CONFIDENCE in row:
            bins.setdefault(bin_of(row[CONFIDENCE]), []).append((row[CONFIDENCE], row[CORRECT] / 100))
    return tuple((sum(one for one, _ in found) / len(found), sum(right for _, right in found) / len(found), len(found))
                 for _, found in sorted(bins.items()))


def f1_of_labels(sums_RK: Numbers) -> Numbers:
    """(R, C) F1 of each label; NaN where it neither stands nor is given (van Rijsbergen 1979)."""
    hit_RC, missed_RC, wrong_RC = _of_labels(sums_RK)
    all_RC = 2 * hit_RC + missed_RC + wrong_RC
    return np.divide(2 * hit_RC, all_RC, out=np.full(all_RC.shape, np.nan), where=all_RC > 0)


def macro_f1(sums_RK: Numbers) -> Numbers:
    """(R,) the mean F1 of the labels that stand in the rows or were given, as scikit-learn takes it."""
    f1_RC = f1_of_labels(sums_RK)
    there_RC = ~np.isnan(f1_RC)
    made: Numbers = 100 * np.where(there_RC, f1_RC, 0).sum(1) / np.maximum(1, there_RC.sum(1))
    return made


def micro_f1(sums_RK: Numbers) -> Numbers:
    """(R,) F1 of all rows' labels together."""
    hit_R, missed_R, wrong_R = (part_RC.sum(1) for part_RC in _of_labels(sums_RK))
    made: Numbers = 100 * 2 * hit_R / np.maximum(1, 2 * hit_R + missed_R + wrong_R)
    return made


def mcc(sums_RK: Numbers) -> Numbers:
    """(R,) Matthews' correlation of one label a row, for any number of labels (Gorodkin 2004); 0 where it is none,
    as where every row is given one label."""
    hit_RC, missed_RC, wrong_RC = _of_labels(sums_RK)
    gold_RC, given_RC = hit_RC + missed_RC, hit_RC + wrong_RC
    rows_R = gold_RC.sum(1)
    shared_R = hit_RC.sum(1) * rows_R - (gold_RC * given_RC).sum(1)
    spread_R = (rows_R ** 2 - (gold_RC ** 2).sum(1)) * (rows_R ** 2 - (given_RC ** 2).sum(1))
    # below 0 where a file of predictions gives some rows several labels: they correlate with nothing then
    made: Numbers = 100 * np.divide(shared_R, np.sqrt(np.maximum(0, spread_R)), out=np.zeros(len(rows_R)),
                                    where=spread_R > 0)
    return made


def calibration_error(sums_RK: Numbers) -> Numbers:
    """(R,) expected calibration error: how far confidence and accuracy lie apart (Naeini et al. 2015)."""
    made: Numbers = np.abs(sums_RK[:, :BINS]).sum(1) / np.maximum(1, sums_RK[:, BINS])
    return made


def _of_labels(sums_RK: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    return sums_RK[:, 0::3], sums_RK[:, 1::3], sums_RK[:, 2::3]


METRICS = (
    Metric("accuracy", "accuracy", "share of the rows whose label, or all labels, are right, 0 to 100"),
    LabelMetric("macro_f1", "macro F1", "mean F1 of the labels, 0 to 100", combine=macro_f1),
    LabelMetric("micro_f1", "micro F1", "F1 of all labels together, 0 to 100; of several labels a row",
                statistics=(SEVERAL,), combine=micro_f1, optional=True),
    LabelMetric("mcc", "MCC", "Matthews' correlation, -100 to 100; of one label a row", statistics=(ONE,),
                combine=mcc, optional=True),
    CalibrationMetric("ece", "ECE", "expected calibration error, 0 to 1; of one label a row", more_is_better=False,
                      statistics=(CONFIDENCE,), combine=calibration_error, optional=True, digits=3,
                      margin=0.005))
