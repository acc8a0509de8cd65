"""Dynamic weight average (Liu, Johns and Davison 2019, "End-to-End Multi-Task Learning with Attention", equation 7).

    weight_k = lam_k * K * softmax over terms of (r_k / temperature)        r_k = L_k(t - 1) / L_k(t - 2)

The paper's t are epochs; here L_k(t) is the mean over a window of steps that moved weights. Until two windows are
full every factor is 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from llmtrain.config.sections.objective import Term
from llmtrain.objectives.weighting.base import State, Weighting
from llmtrain.objectives.weighting.micro_batches import Work


class DynamicAverage(Weighting):
    """Weighs each term by how much its loss fell lately.

    The state is Python's numbers, which JSON keeps exactly.
    """

    name = "dwa"
    stateful = True

    def __init__(self, config: Any, terms: tuple[Term, ...], seed: int) -> None:
        super().__init__(config, terms, seed)
        self.steps = 0  # in the window that is being filled
        self.sums = dict.fromkeys(self.names, 0.0)
        self.seen = dict.fromkeys(self.names, 0)
        self.means: list[dict[str, float]] = []  # of the last windows, the latest last

    @property
    def rule(self) -> str:  # type: ignore[override]
        return (f"times {len(self.names)} * softmax(loss ratio of the last two windows of {self.config.dwa.window} "
                f"steps / {self.config.dwa.temperature:g}) (dwa, Liu et al. 2019)")

    def weights(self, step: int) -> dict[str, float]:
        if len(self.means) < 2:
            return dict(self.lams)
        before, last = self.means
        # a term that no step of a window counted keeps the ratio of one that stands still
        ratio_K = torch.tensor([last[name] / before[name] if before[name] > 0 and name in last else 1.0
                                for name in self.names], dtype=torch.float64)
        factor_K = len(self.names) * torch.softmax(ratio_K / self.config.dwa.temperature, dim=0)
        return {name: self.lams[name] * factor for name, factor in zip(self.names, factor_K.tolist(), strict=True)}

    def after(self, work: Work, losses: dict[str, float]) -> None:
        for name in self.names:
            if work.counts[name]:
                self.sums[name] += losses[name]
                self.seen[name] += 1
        self.steps += 1
        if self.steps == self.config.dwa.window:
            self.means = [*self.means, {name: self.sums[name] / max(1, self.seen[name]) for name in self.names}][-2:]
            self.steps, self.sums = 0, dict.fromkeys(self.names, 0.0)
            self.seen = dict.fromkeys(self.names, 0)

    def save(self) -> State:
        return {}, {"steps": self.steps, "sums": self.sums, "seen": self.seen, "means": self.means}

    def load(self, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
        self.steps, self.sums, self.seen = data["steps"], data["sums"], data["seen"]
        self.means = data["means"]
