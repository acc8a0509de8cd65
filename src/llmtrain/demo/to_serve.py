"""A checkpoint that is to be served, before any weight of it is read (no torch here)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmtrain.config.schema import DemoCommandConfig


@dataclass(frozen=True, slots=True)
class ToServe:
    """A checkpoint and its tasks that are to be served.

    Attributes:
        folder: Its verified model folder.
        step: Its step.
        tasks: The command's configuration of each task, by the task's name in the run; of the only one: an empty name.
    """

    folder: Path
    step: int
    tasks: dict[str, DemoCommandConfig]
