"""Two stages: the base terms alone, then the task term, with what ``objective.step.rest`` leaves of the base terms.

A term that weighs nothing in a stage is not computed there. Where the stages meet is a number of steps, or a share of
the run's: never a time.
"""

from __future__ import annotations

from llmtrain.objectives.weighting.base import Weighting, added_up


class TwoStage(Weighting):
    """Trains the base terms alone first, then the task term."""

    name = "step"

    @property
    def switch(self) -> int:
        """The first step of the second stage (0-based)."""
        options = self.config.step
        if options.steps is not None:
            return int(options.steps)
        assert self.total is not None, "a share needs a known length; validate() checks it"
        return round(options.share * self.total)

    def weights(self, step: int) -> dict[str, float]:
        first = step < self.switch
        rest = 1.0 if first else self.config.step.rest
        weights = {name: lam * rest for name, lam in self.lams.items()}
        return weights | {name: 0.0 if first else self.lams[name] for name in self.task_terms}

    def idle(self, step: int) -> frozenset[str]:
        return frozenset(name for name, weight in self.weights(step).items() if weight == 0.0)

    def describe(self) -> str:
        base, of_task = ([term for term in self.terms if term.of_task is which] for which in (False, True))
        rest = self.config.step.rest
        left = f" + {rest:g} * ({added_up(base)})" if rest else ""
        return (f"objective: two stages, {added_up(base)} alone for {self.switch} steps, then {added_up(of_task)}"
                f"{left}: each stage computes its own terms only")
