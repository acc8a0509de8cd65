"""Keys of ``llmtrain study``, beside train's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from llmtrain.config.keys import WHERE, key


class Equal(Enum):
    """What all runs of a study have alike."""

    steps = "steps"
    minutes = "minutes"


@dataclass(kw_only=True, slots=True)
class StudyConfig:
    """What ``llmtrain study`` takes beside train's own keys.

    ``lam``, ``precision``, ``recipes`` and each of ``axes`` is an axis: every combination of their values is a cell,
    trained once for each seed.
    """

    lam: list[float | int | str] | None = key(None, "axis: values of objective.lam; none: the task term alone; auto: "
                                                    "measured in the run", "ratio", affects=WHERE, min=0)
    precision: list[str] | None = key(None, "axis: number formats", affects=WHERE)
    axes: dict[str, list[Any]] = key(dict, "further axes, {head: [transformer, gru], objective.mlm.fraction: [0.3, 1]}:"
                                           " keys or groups, each with its values", affects=WHERE)
    recipes: dict[str, str] = key(dict, "axis of overrides that belong together, {NAME: \"KEY=VALUE KEY=VALUE\"}",
                                  affects=WHERE)
    seeds: int = key(3, "seeds of each cell, from run.seed on", "seeds", affects=WHERE, min=1, max=1000)
    equal: Equal = key(Equal.steps, "what all runs have alike: steps, or minutes at their own measured pace",
                       affects=WHERE)
    total_minutes: float | None = key(None, "minutes of training that all runs share; default: each run is as long as "
                                            "trainer.max_steps, max_epochs or max_minutes says", "minutes",
                                      affects=WHERE, above=0)
    rounds: int = key(3, "times that the pace of each cell is measured, where lengths depend on it", "rounds",
                      affects=WHERE, min=1, max=100)
    parallel: int = key(1, "runs at a time, each on a GPU of its own (without GPUs: with its share of the cores); "
                           "times are reported of one at a time alone", "runs", affects=WHERE, min=1, max=1000)
    halving: int | None = key(None, "successive halving: go on with one in so many cells at each rung; default: train "
                                    "every cell to its end", "cells", affects=WHERE, min=2, max=100)
    metric: str | None = key(None, "score that cells are judged by; default: the task's first metric", affects=WHERE)
    margin: float | None = key(None, "difference of that score that does not matter, for the test that low precision "
                                     "costs nothing; default: the metric's own, 0.5 on 0 to 100", affects=WHERE,
                               above=0)
    target_score: float | None = key(None, "tell when each run's validation first came to this score", affects=WHERE)
    samples: int = key(10_000, "resamples of rows and seeds behind intervals and tests", "resamples", affects=WHERE,
                       min=100, max=1_000_000)

    def problems(self) -> Iterator[str]:
        """What does not go together, one line each."""
        if self.parallel > 1:
            timed = [f"study.{name}" for name, is_given in {
                "equal=minutes": self.equal is Equal.minutes, "total_minutes": self.total_minutes is not None,
                "target_score": self.target_score is not None}.items() if is_given]
            if timed:
                yield (f"{' and '.join(timed)} {'needs' if len(timed) == 1 else 'need'} times, which runs beside each "
                       f"other do not have of their own; leave out study.parallel={self.parallel}")
