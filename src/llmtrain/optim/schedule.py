"""The learning rate of each group, as a function of the updates made."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from llmtrain.config.choices import ScheduleName
from llmtrain.config.sections.optim import ScheduleConfig


@dataclass
class Schedule:
    """Learning-rate factors as a pure function of the number of updates made.

    ``constant_cooldown`` under a time limit learns its ``cooldown_start`` and ``total`` once, from the loop
    (:meth:`fix`), and never reads a clock itself. ``noam`` is min(n ** -0.5, n * warm-up ** -1.5) at update n = 1, 2,
    ... (Vaswani et al. 2017, section 5.3; Liu and Lapata 2019, arXiv:1908.08345, section 3.2): its highest
    factor is warm-up ** -0.5.
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

    def notes(self) -> list[str]:
        """What to tell of a schedule that does not fit the run's length."""
        warmups = [w for w in (self.config.warmup_steps, self.config.base_warmup_steps) if w is not None]
        if self.config.name is not ScheduleName.noam or self.total is None or max(warmups) < self.total:
            return []
        return [f"schedule: the warm-up of {max(warmups)} steps is longer than this run of {self.total}, so rates stay "
                "far below their highest; scale schedule.warmup_steps and base_warmup_steps (docs/optim.md says how)"]

    def factor(self, update: int, group: str) -> float:
        """Share of the peak rate for the update with this index (0-based)."""
        warmup = self.config.warmup_steps
        if group == "base" and self.config.base_warmup_steps is not None:
            warmup = self.config.base_warmup_steps
        if self.config.name is ScheduleName.noam:
            warmup = max(1, warmup)
            return min((update + 1) ** -0.5, (update + 1) * warmup ** -1.5)
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
        """Set every group's rate for this update and return ``{name: rate}``, of layers the top one's."""
        rates: dict[str, float] = {}
        for group in optimizer.param_groups:
            rate = group["peak"] * self.factor(update, group["name"])
            if isinstance(group["lr"], Tensor):  # torchao's optimizers keep theirs so
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
            rates[group["name"]] = max(rate, rates.get(group["name"], 0.0))
        return rates
