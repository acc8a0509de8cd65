"""Lambda is measured: what makes the base terms and the tasks' terms pull alike on the base, then fixed.

    lambda = exp(mean over steps of log(norm of g1 / norm of g2))         g1, g2: gradients of l1 and l2 on the base

Good fixed weights show gradients of like size (AutoScale, Yang et al. 2025, arXiv 2508.13979); the mean of logarithms
lets no single step decide. The measured steps train with the lambda of what is known by then, their own ratio in it,
so no value has to be guessed before the first. They make both gradients one after the other and put them together:
about a backward pass more for each.

A step in which a term does not reach the base (a fresh masked-LM head first learns on detached states), counts nothing
or overflows is not counted.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from llmtrain.config.sections.objective import AUTO, Term
from llmtrain.core.logging import say, warn
from llmtrain.objectives.weighting.base import State, Weighting
from llmtrain.objectives.weighting.micro_batches import Work, added

PATIENCE = 200  # steps without a ratio that are waited for in silence


class AutoLambda(Weighting):
    """Measures lambda over the first ``objective.auto_steps`` steps and keeps it from there on.

    Attributes:
        measured: Steps that gave a ratio.
    """

    name = AUTO
    stateful = True

    def __init__(self, config: Any, terms: tuple[Term, ...], seed: int) -> None:
        super().__init__(config, terms, seed)
        self.moves = True
        self.shares = {term.name: term.share for term in terms if term.of_task}
        self.measured, self.waited, self.log_sum = 0, 0, 0.0
        self.ratio: float | None = None  # of the step in progress

    @property
    def lam(self) -> float:
        """Lambda as it is known by now."""
        return math.exp(self.log_sum / self.measured) if self.measured else 1.0

    @property
    def measuring(self) -> bool:
        """Whether it is not fixed yet."""
        return self.measured < int(self.config.auto_steps)

    def weights(self, step: int) -> dict[str, float]:
        return self._weighing(self.lam)

    def _weighing(self, lam: float) -> dict[str, float]:
        return self.lams | {name: lam * share for name, share in self.shares.items()}

    def backward(self, work: Work) -> dict[str, float]:
        if not self.measuring:
            return super().backward(work)
        trained = work.trained()
        base, tasks = self._gradients(work, trained)
        shared = {id(parameter) for parameter in work.trunk()}
        of_base = [index for index, parameter in enumerate(trained) if id(parameter) in shared]
        scale = work.precision.scaler.get_scale()
        l1, l2 = (float(torch.nn.utils.get_total_norm([found[index] for index in of_base])) / scale
                  for found in (base, tasks))
        self.ratio = l1 / l2 if 0 < l1 < math.inf and 0 < l2 < math.inf else None
        lam = self.lam
        if self.ratio is not None:
            lam = math.exp((self.log_sum + math.log(self.ratio)) / (self.measured + 1))
        for parameter, one, other in zip(trained, base, tasks, strict=True):
            parameter.grad = one + lam * other
        return self._weighing(lam)

    def _gradients(self, work: Work, trained: list[torch.nn.Parameter]) -> tuple[list[Tensor], list[Tensor]]:
        """Of the base terms together and of the tasks' together, over the whole step, scaled."""
        groups = ({name: lam for name, lam in self.lams.items() if name not in self.shares}, self.shares)
        totals: list[list[Tensor | None]] = [[None] * len(trained) for _ in groups]
        for batch in work.micro:
            with work.unsynced():
                sums = work.forward(batch)
                for index, weights in enumerate(groups):
                    totals[index] = added(totals[index], work.gradients(work.loss(sums, weights), trained))
        # a term may reach a parameter in one process alone: all must reduce the same list
        base, tasks = ([torch.zeros_like(p) if gradient is None else gradient
                        for p, gradient in zip(trained, total, strict=True)] for total in totals)
        work.reduce(base)
        work.reduce(tasks)
        return base, tasks

    def after(self, work: Work, losses: dict[str, float]) -> None:
        if not self.measuring:
            return
        if self.ratio is None:
            self.waited += 1
            if self.waited == PATIENCE:
                warn(f"objective.lam=auto: in {PATIENCE} steps a term did not reach the base, so that lambda is still "
                     f"{self.lam:.4g}; give objective.lam a number where that is meant")
            return
        self.measured += 1
        self.log_sum += math.log(self.ratio)
        if not self.measuring:
            say(f"objective.lam=auto: {self.told()}")

    def told(self) -> str:
        """Where lambda stands, in words."""
        over = f"measured over {self.measured} step{'s' if self.measured != 1 else ''}"
        return f"lambda = {self.lam:.4g}, {over}" + ("" if self.measuring else " and fixed from here on")

    def report(self) -> dict[str, Any]:
        return {"lam": {"value": self.lam, "measured_steps": self.measured}}

    def save(self) -> State:
        return {}, {"measured": self.measured, "waited": self.waited, "log_sum": self.log_sum}

    def load(self, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
        self.measured, self.waited = int(data["measured"]), int(data["waited"])
        self.log_sum = float(data["log_sum"])
        say(f"objective.lam=auto: {self.told()}")

    def course(self) -> str:
        return f"what balances their gradients, measured over the first {self.config.auto_steps} steps and then fixed"
