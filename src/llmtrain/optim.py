"""One AdamW over parameter groups, each with its own learning-rate schedule.

A GradScaler knows an optimizer by identity and skips per optimizer: two optimizers would fall out of step, so base
and head are groups of one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llmtrain.config.choices import ScheduleName
from llmtrain.config.optim import OptimConfig, ScheduleConfig


def build_optimizer(named: dict[str, Iterable[tuple[str, nn.Parameter]]], config: OptimConfig) -> torch.optim.AdamW:
    """AdamW with two groups (decayed matrices, undecayed vectors) for each named set of parameters.

    Args:
        named: ``{"base": [(name, parameter), ...], "head": [...]}``; frozen parameters are left out.
    """
    peaks = {"base": config.base_lr, "head": config.head_lr}
    groups: list[dict[str, Any]] = []
    for group, parameters in named.items():
        trained = [(name, p) for name, p in parameters if p.requires_grad]
        for decay in (True, False):
            members = [(name, p) for name, p in trained if (p.ndim >= 2) == decay]
            if members:
                groups.append({"params": [p for _, p in members], "param_names": [name for name, _ in members],
                               "name": group, "peak": peaks[group], "lr": peaks[group],
                               "weight_decay": config.weight_decay if decay else 0.0})
    return torch.optim.AdamW(groups, betas=(config.beta1, config.beta2), eps=config.eps, fused=True)


@dataclass
class Schedule:
    """Learning-rate factors as a pure function of the number of updates made.

    ``constant_cooldown`` under a time limit learns its ``cooldown_start`` and ``total`` once, from the loop
    (:meth:`fix`), and never reads a clock itself.
    """

    config: ScheduleConfig
    total: int | None
    cooldown_start: int | None = None

    def __post_init__(self) -> None:
        if self.config.name is ScheduleName.constant_cooldown and self.total is not None:
            length = self.config.cooldown_steps
            self.cooldown_start = self.total - (max(1, self.total // 5) if length is None else length)

    def fix(self, start: int, total: int) -> None:
        """Settle where the cooldown starts and where the run ends."""
        self.cooldown_start, self.total = start, total

    def factor(self, update: int, group: str) -> float:
        """Share of the peak rate for the update with this index (0-based)."""
        warmup = self.config.warmup_steps
        if group == "base" and self.config.base_warmup_steps is not None:
            warmup = self.config.base_warmup_steps
        if update < warmup:
            return (update + 1) / (warmup + 1)
        return self._after_warmup(update, warmup)

    def _after_warmup(self, update: int, warmup: int) -> float:
        name = self.config.name
        if name is ScheduleName.inverse_sqrt:
            return math.sqrt(max(1, warmup) / max(1, update))
        if name is ScheduleName.constant_cooldown:
            if self.cooldown_start is None or self.total is None or update < self.cooldown_start:
                return 1.0
            return max(0.0, (self.total - update) / max(1, self.total - self.cooldown_start))
        assert self.total is not None, "linear and cosine schedules need a known length; validate() checks it"
        left = max(0.0, (self.total - update) / max(1, self.total - warmup))
        return left if name is ScheduleName.linear else 0.5 * (1 - math.cos(math.pi * left))

    def apply(self, optimizer: torch.optim.Optimizer, update: int) -> dict[str, float]:
        """Set every group's rate for this update and return ``{group: rate}``."""
        rates = {}
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * self.factor(update, group["name"])
            rates[group["name"]] = group["lr"]
        return rates


class WeightAverage:
    """Exponential moving average of the trained weights (Polyak averaging), fp32."""

    def __init__(self, parameters: dict[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self._live = parameters
        self.average: dict[str, Tensor] = {name: p.detach().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        torch._foreach_lerp_(list(self.average.values()), [p.detach() for p in self._live.values()], 1 - self.decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the live weights and the average; calling it again undoes it."""
        for name, parameter in self._live.items():
            kept = parameter.detach().clone()
            parameter.copy_(self.average[name])
            self.average[name] = kept
