"""How long a run is: steps, epochs or minutes of training.

Under ``max_minutes`` the rate stays constant until the loop settles, once and from measured step time, the step at
which the cooldown starts and the step at which the run ends; both are saved, so the schedule never reads a clock.
"""

from __future__ import annotations

import math
from statistics import fmean

from llmtrain.config.sections.optim import ScheduleConfig
from llmtrain.config.sections.trainer import TrainerConfig
from llmtrain.optim.schedule import Schedule
from llmtrain.training.state import ProgressPart

RECENT = 64  # steps whose pace predicts the rest
ENOUGH = 4  # steps that must be known before a cooldown of so many steps is timed


def planned_steps(config: TrainerConfig, steps_per_epoch: int) -> int | None:
    """Optimizer steps of the whole run, or None under max_minutes."""
    if config.max_steps is not None:
        return config.max_steps
    if config.max_epochs is not None:
        return math.ceil(config.max_epochs * steps_per_epoch)
    return None


class TimeLimit:
    """Settles the end of a run under ``max_minutes``; does nothing in other runs."""

    def __init__(self, config: TrainerConfig, schedule_config: ScheduleConfig, schedule: Schedule) -> None:
        self.seconds = None if config.max_minutes is None else 60 * config.max_minutes
        self._fraction, self._steps = schedule_config.cooldown_fraction, schedule_config.cooldown_steps
        self._schedule = schedule
        self._asked: list[float] = []  # what the last calls of this start were told

    def settle(self, progress: ProgressPart, seconds: float) -> str | None:
        """Called before each step with the training time so far; returns a line to print when it settles."""
        if self.seconds is None or progress.total is not None:
            return None
        if len(self._asked) > 1:  # a start's first step is slow and says nothing about the rest
            progress.recent = [*progress.recent, seconds - self._asked[-1]][-RECENT:]
        self._asked = [*self._asked, seconds][-2:]
        pace = fmean(progress.recent) if progress.recent else seconds / max(1, progress.step)
        if not self._due(seconds, pace, len(progress.recent)):
            return None
        left = max(1, int((self.seconds - seconds) / max(pace, 1e-9)))
        progress.total = progress.step + left
        self._schedule.fix(progress.updates, progress.updates + left)
        return f"cooldown from step {progress.step + 1} to the end at step {progress.total} ({pace:.3f} s a step)"

    def _due(self, seconds: float, pace: float, known: int) -> bool:
        """Whether what is left of the time is the cooldown's: so many steps where they are given, else a share."""
        assert self.seconds is not None
        if self._steps is None:
            return seconds >= (1 - self._fraction) * self.seconds
        if known < ENOUGH:
            return seconds >= self.seconds
        return self.seconds - seconds < (self._steps + 1) * pace

    def quarter(self, seconds: float) -> int:
        """How many quarters of the limit have passed (0 without a limit)."""
        return 0 if self.seconds is None else min(4, int(4 * seconds / self.seconds))
