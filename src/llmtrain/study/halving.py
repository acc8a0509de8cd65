"""Successive halving: all cells train to the first rung, one in so many goes on to the next, and so on.

Every run keeps the schedule of its whole length and is stopped between rungs as by a signal; one that goes on is bit by
bit the run that was never stopped. (Shorter runs with schedules of their own, extended for the survivors, would end
with another rate's history than a straight run, so that their scores would compare with nothing.) A rung's score is
that of the validation at its step, before the rate has come down: cells are compared at the same share of the same
course.

Who goes on is optuna's to say (`SuccessiveHalvingPruner`, Li et al. 2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rungs:
    """Where cells are compared on the way.

    Attributes:
        shares: The share of its steps that a run has done at each rung, rising; the end is none of them.
        factor: One in so many cells goes on.
    """

    shares: tuple[float, ...]
    factor: int

    def step(self, rung: int, first: int) -> int:
        """The step of a rung, of a run whose first rung is at step ``first``."""
        return first * self.factor ** rung

    def cost(self, cells: int) -> float:
        """Whole runs that all cells and the base cell together take, at one seed."""
        alive, before, total = cells, 0.0, 1.0  # the base cell is trained to its end
        for share in (*self.shares, 1.0):
            total += alive * (share - before)
            alive, before = max(1, alive // self.factor), share
        return total


def rungs_of(cells: int, factor: int) -> Rungs:
    """The rungs after which one of so many cells (the base cell not counted) is left, or a few."""
    count, left = 0, cells
    while left >= factor:
        count, left = count + 1, left // factor
    return Rungs(tuple(float(factor) ** (index - count) for index in range(count)), factor)


def going_on(scores: Mapping[str, float], factor: int, more_is_better: bool) -> list[str]:
    """The cells that go on from a rung, in their order.

    Each is judged by optuna against all others of the rung, so that the order in which they came decides nothing.
    """
    return [name for name in scores if not _pruned(name, scores, factor, more_is_better)]


def _pruned(name: str, scores: Mapping[str, float], factor: int, more_is_better: bool) -> bool:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if more_is_better else "minimize",
                                pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=factor))
    answers: Sequence[bool] = [_asked(study, scores[one]) for one in (*(one for one in scores if one != name), name)]
    return answers[-1]


def _asked(study: object, score: float) -> bool:
    trial = study.ask()  # type: ignore[attr-defined]
    trial.report(score, step=1)
    return bool(trial.should_prune())
