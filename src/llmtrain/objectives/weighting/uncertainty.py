"""Kendall, Gal and Cipolla 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses", equation 10.

    total = sum over k of  exp(-s_k) * L_k + s_k / 2

s_k is a term's learned log-variance, in the form for likelihoods of classes. Its gradient 1/2 - exp(-s_k) * L_k needs
the mean loss L_k alone, which all processes share. It rests where exp(-s_k) = 1 / (2 * L_k): lam is where it starts.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from llmtrain.config.sections.objective import Term
from llmtrain.objectives.weighting.base import Learned, State, Weighting
from llmtrain.objectives.weighting.micro_batches import Work


class Uncertainty(Weighting):
    """Weighs the terms by learned log-variances."""

    name = "uncertainty"
    stateful = True
    rule = "learned log-variances (Kendall et al. 2018), to rest at 1 / (2 * loss) each; the lams are where they start"

    def __init__(self, config: Any, terms: tuple[Term, ...], seed: int) -> None:
        super().__init__(config, terms, seed)
        self.log_variance = Learned([-math.log(lam) for lam in self.lams.values()], config.uncertainty.lr)

    def weights(self, step: int) -> dict[str, float]:
        return dict(zip(self.names, torch.exp(-self.log_variance.value_K).tolist(), strict=True))

    def after(self, work: Work, losses: dict[str, float]) -> None:
        weights = self.weights(work.step)
        # a term that counted nothing in this step says nothing of its variance
        gradient = [0.5 - weights[name] * losses[name] if work.counts[name] else 0.0 for name in self.names]
        self.log_variance.step(torch.tensor(gradient))

    def save(self) -> State:
        return self.log_variance.save(), {}

    def load(self, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
        self.log_variance.load(tensors)
