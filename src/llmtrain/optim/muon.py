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

from llmtrain.optim.options import MuonConfig


class MuonAdamW(torch.optim.Optimizer):
    """torch's Muon over the groups with ``matrix`` set and its fused AdamW over the others.

    Both work on this object's own groups and state: schedules, checkpoints and the loss scaler see one optimizer. It
    does not announce support for a scaler inside ``step``, so ``scaler.step`` leaves it out whole on an overflow.
    """

    def __init__(self, groups: list[dict[str, Any]], muon: dict[str, Any], adamw: dict[str, Any]) -> None:
        split = {matrix: [group for group in groups if group["matrix"] is matrix] for matrix in (True, False)}
        makers: dict[bool, tuple[Any, dict[str, Any]]] = {True: (torch.optim.Muon, muon),
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
