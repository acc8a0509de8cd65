"""Options of several heads on one base (no torch here)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmtrain.config.keys import key
from llmtrain.registry import register


@dataclass(kw_only=True, slots=True)
class SeveralHeadsConfig:
    """Options of the heads of tasks that are learnt together."""

    name: str = key("several", "registered name of the head")
    heads: dict[str, Any] = key(dict, "the head of each task, by the task's name in the run; task.tasks fills it in")


register("head", "several", SeveralHeadsConfig, "llmtrain.models.heads.several.head:SeveralHeads",
         "a head for each of several tasks, all on one base", architecture="several_heads")
