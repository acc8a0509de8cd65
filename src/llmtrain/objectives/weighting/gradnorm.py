"""GradNorm (Chen et al. 2018, "GradNorm: Gradient Normalization for Adaptive Loss Balancing", equations 1 and 2).

    G_k = norm of w_k * dL_k/dW         W: the base's last layer, the last that the terms share
    target_k = mean(G) * (r_k / mean(r)) ** alpha         r_k = L_k / L_k at the start
    loss of the weights = sum over k of |G_k - target_k|, the targets held constant

so dw_k = sign(G_k - target_k) * norm of dL_k/dW. After each update the weights are scaled to their sum at the start,
that of the lams. The gradients are the true ones of the whole step: added up over micro-batches and processes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from llmtrain.config.sections.objective import Term
from llmtrain.objectives.weighting.base import Learned, State, Weighting
from llmtrain.objectives.weighting.micro_batches import Work, added

LEAST = 1e-3  # share of the sum of weights below which none falls: the update itself knows no lower bound


class GradNorm(Weighting):
    """Keeps the terms' gradient norms on the base in balance."""

    name = "gradnorm"
    stateful = True

    def __init__(self, config: Any, terms: tuple[Term, ...], seed: int) -> None:
        super().__init__(config, terms, seed)
        self.weight = Learned(list(self.lams.values()), config.gradnorm.lr)
        self.first: dict[str, float] = {}  # each loss when all terms first reached the base
        self.norms: list[float] = []  # G of the step in progress

    @property
    def rule(self) -> str:  # type: ignore[override]
        return (f"learned weights that balance gradient norms on the base's last layer (GradNorm, Chen et al. 2018, "
                f"alpha {self.config.gradnorm.alpha:g}); the lams are where they start")

    def weights(self, step: int) -> dict[str, float]:
        return dict(zip(self.names, self.weight.value_K.tolist(), strict=True))

    def backward(self, work: Work) -> dict[str, float]:
        weights, layer = self.weights(work.step), work.last_layer()
        totals: list[list[Tensor | None]] = [[None] * len(layer) for _ in self.names]
        for batch, context in work.each():
            with context:
                sums = work.forward(batch)
                for index, name in enumerate(self.names):
                    own = work.gradients(work.loss(sums, {name: weights[name]}), layer)
                    totals[index] = added(totals[index], own)
                work.backward(work.loss(sums, weights))
        filled = [[torch.zeros_like(p) if g is None else g for p, g in zip(layer, total, strict=True)]
                  for total in totals]
        work.reduce([gradient for total in filled for gradient in total])
        norm_K = torch.stack([torch.nn.utils.get_total_norm(total) for total in filled])
        self.norms = (norm_K.double() / work.precision.scaler.get_scale()).tolist()
        if not bool(torch.isfinite(norm_K).all()):
            work.poison()
        return weights

    def after(self, work: Work, losses: dict[str, float]) -> None:
        if not all(norm > 0 for norm in self.norms) or not all(losses[name] > 0 for name in self.names):
            return  # a term that does not reach the base yet, or counted nothing, has nothing to balance
        self.first = self.first or dict(losses)
        norm_K = torch.tensor(self.norms, dtype=torch.float64)
        rate_K = torch.tensor([losses[name] / self.first[name] for name in self.names], dtype=torch.float64)
        target_K = norm_K.mean() * (rate_K / rate_K.mean()) ** self.config.gradnorm.alpha
        weight_K = self.weight.value_K
        self.weight.step(torch.sign(norm_K - target_K) * norm_K / weight_K.double().cpu())
        total = sum(self.lams.values())
        weight_K.clamp_(min=LEAST * total).mul_(total / weight_K.sum())

    def save(self) -> State:
        return self.weight.save(), {"first": self.first}

    def load(self, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
        self.weight.load(tensors)
        self.first = data["first"]
