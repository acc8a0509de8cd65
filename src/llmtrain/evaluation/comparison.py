"""Each metric of several models on the same rows, and how each differs from the first.

Shapes: N rows, R resamples, S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np

from llmtrain.evaluation.confidence import Interval, resampled_together, value_of
from llmtrain.evaluation.outcome import Outcome
from llmtrain.evaluation.spread import Group, Parts, Spread, spread
from llmtrain.tasks.metric import Metric

SAMPLES = 10_000
LEVEL = 0.95  # of intervals; a p-value below the rest shows a difference
EQUIVALENCE_LEVEL = 0.90  # two one-sided tests of 5 % each (Schuirmann 1987)
WANTED_POWER = 0.8


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Two one-sided tests of whether a difference is smaller than a margin that was fixed beforehand (TOST).

    Attributes:
        margin: In the metric's own units.
        low: Of the 90 % interval, which lies within the margin where the two are equivalent.
        high: Of the same.
        p: The larger of both tests' p-values.
        equivalent: Whether it is below 5 %.
        power: How often such data would show equivalence of two that do not differ at all.
        rows_needed: Rows with which that would be 80 %; None: no number of rows is enough, more seeds are.
    """

    margin: float
    low: float
    high: float
    p: float
    equivalent: bool
    power: float
    rows_needed: int | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A side's value less the first side's.

    Attributes:
        p: Two-sided, that of no difference.
        p_holm: The same with regard to all sides that are compared with the first (Holm 1979), and to how that was
            chosen.
        paired_seeds: Whether the seeds of both sides were taken in pairs; None: neither side has several.
        equivalence: None for a margin of 0.
        parts: The variance by where it comes from.
    """

    value: float
    low: float
    high: float
    p: float
    p_holm: float
    paired_seeds: bool | None
    equivalence: Equivalence | None
    parts: Parts


@dataclass(slots=True)
class ComparedMetric:
    """A metric of every side.

    Attributes:
        sides: The value of each side by its label, the mean over its seeds.
        by_seed: The values of its seeds, in the order of the side's.
        differences: By the label of each side but the first.
        chosen: Whether the first side is the first because it is the best of them; p-values know that it was chosen.
    """

    metric: Metric
    sides: dict[str, Interval] = field(default_factory=dict)
    by_seed: dict[str, list[float]] = field(default_factory=dict)
    differences: dict[str, Difference] = field(default_factory=dict)
    chosen: bool = False

    def better(self, label: str) -> bool:
        """Whether a side has the better value than the first."""
        return (self.differences[label].value > 0) is self.metric.more_is_better

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"heading": self.metric.heading, "unit": self.metric.unit, "more_is_better": self.metric.more_is_better,
                "sides": {label: {**asdict(value), "by_seed": self.by_seed[label]}
                          for label, value in self.sides.items()},
                "differences": {label: asdict(difference) for label, difference in self.differences.items()}}


def compare(outcomes: Sequence[Outcome], metrics: Sequence[Metric], *, samples: int = SAMPLES,
            margin: float | None = None, seed: int = 0, chosen: bool = False) -> list[ComparedMetric]:
    """Compare all outcomes with the first, metric by metric.

    Args:
        outcomes: Of the same rows in the same order, scored by the same rules
            (:func:`llmtrain.evaluation.outcome.refuse_unlike`).
        metrics: Those that rows have nothing for are left out.
        samples: Resamples of the rows.
        margin: Of equivalence, for every metric; None: each metric's own; 0: no test.
        seed: Of the resamples.
        chosen: The first outcome is the one that scored best of these (:func:`for_the_best`).
    """
    return [_compared(outcomes, metric, samples, metric.margin if margin is None else margin, seed, chosen)
            for metric in metrics if all(metric.is_there(rows) for one in outcomes for rows in one.rows)]


def _compared(outcomes: Sequence[Outcome], metric: Metric, samples: int, margin: float, seed: int, chosen: bool,
              ) -> ComparedMetric:
    groups = _groups(outcomes, metric, samples, seed)
    made = ComparedMetric(metric, chosen=chosen)
    for one, group in zip(outcomes, groups, strict=True):
        alone = spread([group], seed)
        made.sides[one.label] = Interval(alone.value, *alone.between(LEVEL))
        made.by_seed[one.label] = group.values.tolist()
    spreads = {}
    for other, group in zip(outcomes[1:], groups[1:], strict=True):
        order = seed_pairs(outcomes[0], other)
        if order is None:
            spreads[other.label] = spread([group, groups[0].negated()], seed)
        else:
            first = Group(groups[0].values[order], groups[0].resampled[:, order])
            spreads[other.label] = spread([group.less(first)], seed)
    change = change_of_a_row(groups[0], outcomes[0].size)
    p = {label: two_sided(found, outcomes[0].size) for label, found in spreads.items()}
    adjusted = for_the_best(holm(p)) if chosen else holm(p)
    for other in outcomes[1:]:
        found = spreads[other.label]
        several = outcomes[0].several or other.several
        made.differences[other.label] = Difference(
            found.value, *found.between(LEVEL), p[other.label], adjusted[other.label],
            seed_pairs(outcomes[0], other) is not None if several else None,
            equivalence(found, margin, outcomes[0].size, change) if margin > 0 else None, found.parts)
    return made


def _groups(outcomes: Sequence[Outcome], metric: Metric, samples: int, seed: int) -> list[Group]:
    """The values of every seed of every outcome, on all rows and on the same resampled ones."""
    columns = [metric.columns(rows) for one in outcomes for rows in one.rows]
    drawn = resampled_together(columns, samples, seed, metric.combine)
    values = [value_of(column, metric.combine) for column in columns]
    groups, start = [], 0
    for one in outcomes:
        end = start + len(one.rows)
        groups.append(Group(np.array(values[start:end]), drawn[:, start:end]))
        start = end
    return groups


def seed_pairs(first: Outcome, other: Outcome) -> list[int] | None:
    """For each seed of ``other`` the place of the same one in ``first``; None where they cannot be paired.

    Two outcomes of one seed each have nothing to pair or to tell apart: they are taken as a pair.
    """
    if not first.several and not other.several:
        return [0]
    known = [number for number in first.seeds if number is not None]
    if set(other.seeds) != set(known) or len(set(known)) < len(first.seeds) or len(other.seeds) != len(first.seeds):
        return None
    return [first.seeds.index(number) for number in other.seeds]


def two_sided(found: Spread, rows: int) -> float:
    """The p-value of no difference: twice the share of the distribution beyond 0.

    It is never below what signs alone could show, 2 / 2^N: few rows that all differ in one direction leave a bootstrap
    without any spread.
    """
    p = 2 * min(found.share_below(0.0), found.share_above(0.0))
    return min(1.0, max(p, 2.0 ** (1 - min(rows, 1000))))


def holm(p: dict[str, float]) -> dict[str, float]:
    """p-values of several tests at once, adjusted by Holm's step-down procedure (1979)."""
    order = sorted(p, key=lambda label: p[label])
    adjusted: dict[str, float] = {}
    highest = 0.0
    for number, label in enumerate(order):
        highest = max(highest, min(1.0, p[label] * (len(p) - number)))
        adjusted[label] = highest
    return {label: adjusted[label] for label in p}


def for_the_best(p: dict[str, float]) -> dict[str, float]:
    """p-values of the best of K sides against each other one, where the data themselves chose it.

    Args:
        p: Holm's, of the K - 1 tests. Any two of the sides could have been the best and another one: that is
            K (K - 1) / 2 pairs, K / 2 for each of these tests.
    """
    return {label: min(1.0, one * (len(p) + 1) / 2) for label, one in p.items()}


def equivalence(found: Spread, margin: float, rows: int, change: float) -> Equivalence:
    """Whether the difference is smaller than the margin, and what data could have shown that.

    Args:
        change: What one changed row may do to its own score. Where hardly a row differs, a bootstrap does not know of
            those that do and were not seen: the p-value is never below the chance that ``rows`` rows show none of them
            although there are enough of them to reach the margin.
    """
    low, high = found.between(EQUIVALENCE_LEVEL)
    share = min(1.0, margin / change) if change > 0 else 1.0  # of changed rows that reaches the margin
    p = max(found.share_below(-margin), found.share_above(margin), (1 - share) ** rows)
    deviation, half = math.sqrt(found.parts.whole), (high - low) / 2
    unseen = math.ceil(math.log(1 - LEVEL) / math.log(1 - share)) if share < 1 else 1
    if deviation > 0:
        power = max(0.0, 2 * NormalDist().cdf((margin - half) / deviation) - 1)
        needed = _rows_needed(found.parts, half / deviation, margin, rows)
    else:
        power, needed = 1.0, 1
    return Equivalence(margin, low, high, p, p < 1 - LEVEL, power if rows >= unseen else 0.0,
                       None if needed is None else max(needed, unseen))


def _rows_needed(parts: Parts, quantile: float, margin: float, rows: int) -> int | None:
    """Rows for a power of 80 %; ``quantile``: the 90 % interval's half width in standard deviations."""
    wanted = margin / (quantile + NormalDist().inv_cdf((1 + WANTED_POWER) / 2))
    left = wanted ** 2 - parts.seeds
    return math.ceil(rows * (parts.rows + parts.noise) / left) if left > 0 else None


def change_of_a_row(group: Group, rows: int) -> float:
    """How far the scores of two rows lie apart, as a root mean square; of a metric made from sums, their parts in it:
    what a changed output may do."""
    return math.sqrt(2 * rows * float(group.resampled[:, 0].var()))
