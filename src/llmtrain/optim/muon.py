"""Muon for hidden matrices and AdamW for everything else, as one optimizer.

Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon) replaces a matrix's momentum by its nearest
semi-orthogonal matrix, so that every direction moves alike. It is made for matrices between hidden states: embeddings,
the output layer and vectors keep AdamW. With ``match_rms_adamw`` a matrix of A x B moves by 0.2 * sqrt(max(A, B))
times its rate (Liu et al. 2025, "Muon is Scalable for LLM Training", section 2.2): the size of an AdamW update, so
that rates tuned for AdamW carry over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llmtrain.optim.options import MuonAdjust, MuonConfig


class Muon(torch.optim.Muon):
    """torch's Muon, with its Newton-Schulz iteration in fp32 on a CPU.

    torch takes products in bf16 everywhere. A CPU without bf16 arithmetic needs 50 times as long for them as in fp32:
    over a minute a step of a small BERT. On other devices both are the same.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update, behind ``closure`` where one is given; returns its loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight.grad)
                momentum = state["momentum_buffer"].lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
                update = orthogonalised(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * size_of(weight.shape, group["adjust_lr_fn"]))
        return loss


def orthogonalised(matrix_AB: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """About the nearest semi-orthogonal matrix, by so many quintic Newton-Schulz steps (Jordan 2024)."""
    a, b, c = coefficients
    tall = matrix_AB.size(0) > matrix_AB.size(1)
    found = matrix_AB.to(torch.float32 if matrix_AB.device.type == "cpu" else torch.bfloat16)
    found = found.T if tall else found
    found = found / found.norm().clamp(min=eps)  # no singular value above 1
    for _ in range(steps):
        gram = found @ found.T
        found = torch.addmm(found, torch.addmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.T if tall else found


def size_of(shape: torch.Size, adjust: str) -> float:
    """What an update of A x B is multiplied by: as Jordan's code does, or to the size of AdamW's."""
    rows, columns = shape
    return max(1.0, rows / columns) ** 0.5 if adjust == MuonAdjust.original.value else 0.2 * max(rows, columns) ** 0.5


class MuonAdamW(torch.optim.Optimizer):
    """Muon over the groups with ``matrix`` set and torch's fused AdamW over the others.

    Both work on this object's own groups and state: schedules, checkpoints and the loss scaler see one optimizer. It
    does not announce support for a scaler inside ``step``, so ``scaler.step`` leaves it out whole on an overflow.
    """

    def __init__(self, groups: list[dict[str, Any]], muon: dict[str, Any], adamw: dict[str, Any]) -> None:
        split = {matrix: [group for group in groups if group["matrix"] is matrix] for matrix in (True, False)}
        makers: dict[bool, tuple[Any, dict[str, Any]]] = {True: (Muon, muon),
                                                          False: (torch.optim.AdamW, adamw | {"fused": True})}
        # made first, because they fill in their own defaults
        self._parts = {matrix: makers[matrix][0](own, **makers[matrix][1]) for matrix, own in split.items() if own}
        super().__init__([group for part in self._parts.values() for group in part.param_groups], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for matrix, part in self._parts.items():
            # load_state_dict puts new objects in their place, hence at each step
            part.param_groups = [group for group in self.param_groups if group["matrix"] is matrix]
            part.state = self.state
            part.step()
        return loss


def build(groups: list[dict[str, Any]], config: Any, options: MuonConfig) -> torch.optim.Optimizer:
    return MuonAdamW(groups, {"momentum": options.momentum, "nesterov": options.nesterov, "ns_steps": options.ns_steps,
                              "adjust_lr_fn": options.adjust.value},
                     {"betas": (config.beta1, config.beta2), "eps": config.eps})
