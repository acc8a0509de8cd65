"""Keys of several tasks that are learnt together, and their registration (no torch here)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmtrain.config.choices import Mix
from llmtrain.config.keys import key
from llmtrain.config.sections.data import DataConfig, RowColumns
from llmtrain.config.sections.eval import EvalConfig
from llmtrain.registry import register


@dataclass(kw_only=True, slots=True)
class MultiConfig:
    """Keys of the section ``task``."""

    name: str = key("multi", "registered name of the task")
    tasks: list[Any] = key(list, "the tasks that are learnt together: [{task: NAME, data: {...}, head: {...}, lam: 1, "
                                 "name: ...}, ...]; what one leaves out of data, eval and generation is the run's own")
    mix: Mix = key(Mix.proportional, "how often rows of each come: proportional to how many it has, to that number to "
                                     "the power of 1 / task.temperature, or even")
    temperature: float = key(2.0, "mix=temperature: 1 is proportional, a large number nearly even", min=1)


@dataclass(kw_only=True, slots=True)
class MultiData(DataConfig):
    """Keys of ``data`` that the tasks share; columns and files are each one's own."""

    def columns(self) -> RowColumns:
        """None are read here: a row is of one of the tasks."""
        return RowColumns("source", "target")


register("task", "multi", MultiConfig, "llmtrain.tasks.multi.task:Multi",
         "several tasks learnt together: a head each on one base, each with its own data and weight", term="tasks",
         head="several", data=MultiData, eval=EvalConfig, architectures=("several_heads",), text_targets=False,
         several=True, metrics=("mean",))
