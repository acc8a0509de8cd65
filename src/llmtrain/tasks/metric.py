"""A score of predictions: its name, its unit, its direction, and how rows make it up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmtrain.core.errors import ConfigError

RowScores = dict[str, float]  # what one prediction gives, by name: predictions.jsonl keeps it


@dataclass(frozen=True, slots=True)
class Metric:
    """One score. Intervals and paired tests are made alike for every metric, whichever way rows make it up.

    Attributes:
        name: Its key in results.json and metrics.jsonl, and a value of ``trainer.best_metric``.
        heading: Its column in the report.
        unit: What a value is, for a reader.
        more_is_better: The better model has more of it.
        statistics: Names of the row scores whose sums over the rows make it up; none: its mean over the rows' own
            ``name``.
        combine: Gives it from those sums: (R, K) sums of K statistics for each of R resamples -> (R,).
        optional: It is left out where rows have nothing it is made of; else that is a fault of the scorer.
        digits: Behind the point, where a value is shown.
        margin: In its own units; a smaller difference does not matter, where ``compare.margin`` does not say else.
    """

    name: str
    heading: str
    unit: str = "0 to 100"
    more_is_better: bool = True
    statistics: tuple[str, ...] = ()
    combine: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    optional: bool = False
    digits: int = 2
    margin: float = 0.5

    @property
    def made_of(self) -> tuple[str, ...]:
        """The names of the row scores that make it up."""
        return (self.name,) if self.combine is None else self.statistics

    def is_there(self, rows: list[RowScores]) -> bool:
        """Whether it can be told of these rows: one that is not optional must be."""
        return not self.optional or all(name in row for row in rows for name in self.made_of)

    def columns(self, rows: list[RowScores]) -> NDArray[np.float64]:
        """(N,) own scores of the rows, or (N, K) statistics.

        Raises:
            ConfigError: The scorer gives rows without one of them.
        """
        wanted = self.made_of
        if rows and (missing := [name for name in wanted if name not in rows[0]]):
            raise ConfigError(f"the metric {self.name} is made of {', '.join(wanted)} and the task's scorer gives no "
                              f"{' and no '.join(missing)}; let its score() return {', '.join(wanted)} for every row")
        if self.combine is None:
            return np.array([row[self.name] for row in rows], dtype=np.float64)
        return np.array([[row[name] for name in self.statistics] for row in rows], dtype=np.float64)
