"""FAMO (Liu, Feng, Stone and Liu 2023, "FAMO: Fast Adaptive Multitask Optimization", algorithm 1).

    update along  sum over k of  c * z_k * d log L_k        z = softmax(xi),  c = 1 / sum over k of (z_k / L_k)
    xi moves along  d(z)/d(xi) . (log L_k after - log L_k before)  + decay * xi

so that every loss falls at the same relative rate. As in the authors' released code, the losses after the update are
those of the *same* rows, which costs a forward pass (here with the same dropout masks: the difference is the update's
alone), and Adam moves xi. The weights c * z_k / L_k need the losses of the whole step before its backward pass, so a
step of several micro-batches costs another forward pass.

A loss's own scale has no say in it: lam is where z starts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from llmtrain.config.sections.objective import Term
from llmtrain.objectives.weighting.base import Learned, State, Weighting
from llmtrain.objectives.weighting.micro_batches import Work

LEAST = 1e-8  # of a loss inside a logarithm, as in the released code


class Famo(Weighting):
    """Lets every loss fall at one relative rate."""

    name = "famo"
    stateful = True
    rule = ("weights that let every loss fall at one relative rate (FAMO, Liu et al. 2023), a forward pass more a "
            "step; the lams are where they start")

    def __init__(self, config: Any, terms: tuple[Term, ...], seed: int) -> None:
        super().__init__(config, terms, seed)
        self.logit = Learned([math.log(lam) for lam in self.lams.values()], config.famo.lr, config.famo.decay)
        self.current = dict(self.lams)  # weights of the last step

    def weights(self, step: int) -> dict[str, float]:
        return dict(self.current)

    def weigh(self, losses: dict[str, float], counts: Mapping[str, float]) -> dict[str, float]:
        """The weights of a step with these losses; a term that counted nothing gets none."""
        z_K = torch.softmax(self.logit.value_K.double(), dim=0).tolist()
        parts = {name: z / (losses[name] + LEAST) if counts[name] else 0.0
                 for name, z in zip(self.names, z_K, strict=True)}
        total = sum(parts.values()) or 1.0
        return {name: part / total for name, part in parts.items()}

    def backward(self, work: Work) -> dict[str, float]:
        work.mark()
        if len(work.micro) == 1:
            sums = work.forward(work.micro[0])
            weights = self.weigh(work.means(work.sums), work.counts)
            work.backward(work.loss(sums, weights))
            return weights
        weights = self.weigh(work.rehearse(), work.counts)
        self.descend(work, weights)
        return weights

    def after(self, work: Work, losses: dict[str, float]) -> None:
        self.current = self.weigh(losses, work.counts)
        after = work.rehearse()
        if not all(work.counts[name] and math.isfinite(after[name]) for name in self.names):
            return
        fall_K = torch.tensor([math.log(losses[name] + LEAST) - math.log(after[name] + LEAST)
                               for name in self.names], dtype=torch.float64)
        z_K = torch.softmax(self.logit.value_K.double().cpu(), dim=0)
        self.logit.step(z_K * (fall_K - (z_K * fall_K).sum()))  # the softmax's Jacobian times the falls

    def save(self) -> State:
        return self.logit.save(), {"current": self.current}

    def load(self, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
        self.logit.load(tensors)
        self.current = data["current"]
