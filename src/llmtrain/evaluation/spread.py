"""How far a figure of several seeds may lie from what all rows and all seeds would give.

Rows and seeds are both random, and every seed reads the same rows: the design of studies with several readers and
several cases. As there (Obuchowski and Rockette 1995; Hillis 2007, "A comparison of denominator degrees of freedom
methods for multiple observer ROC analysis"), the variance of a mean over S seeds is taken from two parts:

    rows    what seeds have in common when rows are drawn again: the covariance of the seeds' bootstrap values
    seeds   the variance of the seeds' own values, over S; it holds the noise of single outputs too

and the second, of S - 1 degrees of freedom, is what makes intervals of few seeds wide. A bootstrap that drew seeds as
it draws rows would be far too narrow with three of them. So each resample draws rows with replacement, and adds a draw
of Student's t for the seeds (of both sides together, where they are not paired: Welch 1947). With one seed it is the
plain bootstrap over rows, which speaks of these models and not of the training that made them.
scripts/benchmarks/null_studies.py simulates how often the intervals are right.

Shapes: R resamples, S seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
DRAWS_A_RESAMPLE = 10  # of Student's t, whose tails need more draws than rows do


@dataclass(frozen=True, slots=True)
class Group:
    """Seeds that are exchangeable with each other.

    Attributes:
        values: (S,) each seed's value on all rows.
        resampled: (R, S) the same on rows drawn with replacement, the same rows for every seed and every group.
    """

    values: Numbers
    resampled: Numbers

    @property
    def several(self) -> bool:
        """Whether the spread of seeds can be told."""
        return len(self.values) > 1

    def negated(self) -> Group:
        return Group(-self.values, -self.resampled)

    def less(self, other: Group) -> Group:
        """The differences of the same seeds."""
        return Group(self.values - other.values, self.resampled - other.resampled)


@dataclass(frozen=True, slots=True)
class Parts:
    """The variance of a sum of groups' means, by where it comes from.

    Attributes:
        rows: What all seeds have in common.
        noise: What outputs of single seeds add; it falls with more rows as ``rows`` does.
        seeds: What the training adds beyond both; no number of rows makes it smaller.
    """

    rows: float
    noise: float
    seeds: float

    @property
    def whole(self) -> float:
        return self.rows + self.noise + self.seeds


@dataclass(frozen=True, slots=True)
class Spread:
    """A value, where it may lie as draws of a distribution, and the parts of its variance."""

    value: float
    draws: Numbers
    parts: Parts

    def between(self, share: float) -> tuple[float, float]:
        """The interval that holds this share of the draws, as much left out below as above."""
        low, high = np.percentile(self.draws, (50 * (1 - share), 50 * (1 + share)))
        return float(low), float(high)

    def share_below(self, point: float) -> float:
        """How much of the distribution lies at a point or below: never 0, since it is known by draws alone."""
        return float(1 + np.count_nonzero(self.draws <= point)) / (1 + len(self.draws))

    def share_above(self, point: float) -> float:
        return float(1 + np.count_nonzero(self.draws >= point)) / (1 + len(self.draws))


def spread(groups: Sequence[Group], seed: int = 0) -> Spread:
    """The sum of the groups' means: one group of differences where seeds are paired, else one group for each side.

    Args:
        seed: Of the draws of Student's t.
    """
    value = float(sum(group.values.mean() for group in groups))
    drawn_R = np.sum([group.resampled.mean(axis=1) for group in groups], axis=0)
    several = [group for group in groups if group.several]
    if not several:
        return Spread(value, drawn_R, Parts(float(drawn_R.var()), 0.0, 0.0))
    noise = [_noise(group) for group in several]
    between = [float(group.values.var(ddof=1)) / len(group.values) for group in several]
    whole = float(drawn_R.var())
    rows = max(0.0, whole - sum(noise))
    parts = Parts(rows, sum(noise), max(0.0, sum(between) - sum(noise)))

    common_R = (drawn_R - value) * np.sqrt(rows / whole if whole > 0 else 0.0)
    draws = np.tile(value + common_R, DRAWS_A_RESAMPLE)
    if sum(between) > 0:
        student = np.random.default_rng((seed, len(several))).standard_t(_freedom(several, between), len(draws))
        draws += np.sqrt(sum(between)) * student
    return Spread(value, draws, parts)


def _freedom(groups: Sequence[Group], between: Sequence[float]) -> float:
    """Degrees of freedom of a sum of variances, each estimated from a group's seeds (Welch 1947)."""
    return sum(between) ** 2 / sum(variance ** 2 / (len(group.values) - 1)
                                   for group, variance in zip(groups, between, strict=True))


def _noise(group: Group) -> float:
    """What single outputs add to the variance of the group's mean: the seeds' bootstrap variance that they do not
    share."""
    seeds = len(group.values)
    shared = np.cov(group.resampled, rowvar=False, ddof=0)
    own = float(np.trace(shared)) / seeds
    common = float(shared.sum() - np.trace(shared)) / (seeds * (seeds - 1))
    return max(0.0, own - common) / seeds
