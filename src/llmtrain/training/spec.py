"""Everything that is known of a run before any weight or row is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmtrain import registry
from llmtrain.config.members import Member
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.task import has_text_targets
from llmtrain.config.sentence_input import SentenceInput
from llmtrain.config.terms import Terms

if TYPE_CHECKING:
    from llmtrain.models.backbone.base_facts import Base
    from llmtrain.models.task_model import TaskModel
    from llmtrain.tasks.task import Task


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """What a new run's weights are, as ``model.init_from`` says.

    Attributes:
        base: The base that the model is built on: ``model.path``'s, or one that an earlier run trained alone.
        model: A whole model whose weights are put into it; None: the base's alone, with a new head.
        stretched: Whether the positions of that model were stretched, so that they are before its weights fit.
    """

    base: Base
    model: Path | None = None
    stretched: bool = False


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task of a run: the only one, or one of several that are learnt together.

    Attributes:
        member: Its name in the run, and the run's configuration as that of a run of this task alone.
        task: What is learnt, scored and shown.
        sentence_input: How documents are read sentence by sentence; None: no term and no head asks for sentences.
        behind_document: Positions of the base that the head takes behind a document.
    """

    member: Member
    task: Task
    sentence_input: SentenceInput | None
    behind_document: int

    @property
    def name(self) -> str:
        """Its name in the run; empty for the only task."""
        return self.member.name

    @property
    def config(self) -> TrainConfig:
        """The run's configuration, as that of a run of this task alone."""
        return self.member.config

    @property
    def has_text_targets(self) -> bool:
        """Whether targets are texts that the head writes."""
        return has_text_targets(registry.get("task", self.config.task.name))

    @property
    def target_lengths(self) -> dict[str, int]:
        """How long targets may be, by the key that says so."""
        return {self.config.data.target_limit: self.config.data.max_target_tokens,
                "generation.max_new_tokens": self.config.generation.max_new_tokens}


@dataclass(frozen=True, slots=True)
class RunSpec:
    """The facts of a run, each found once; whatever is built asks here, and no registry or file again.

    Attributes:
        config: The typed configuration.
        task: What is learnt, scored and shown; of several tasks, what stands for all of them.
        tasks: The tasks of the run.
        terms: The terms of the joint loss.
        base: ``model.path``: its tokenizer reads the data, and its limits hold.
        start: What the weights of a new run are.
        architecture: Class of the published model, chosen by the head.
    """

    config: TrainConfig
    task: Task
    tasks: tuple[TaskSpec, ...]
    terms: Terms
    base: Base
    start: StartingPoint
    architecture: type[TaskModel]

    @property
    def positions_needed(self) -> int:
        """Positions for the longest document and for what the head puts behind it."""
        return max(one.config.data.max_source_tokens + one.behind_document for one in self.tasks)

    @property
    def directions(self) -> dict[str, bool]:
        """Whether more of a metric is better, by its name in the run."""
        own = {metric.name: metric.more_is_better for metric in self.task.metrics}
        return own | {one.member.named(metric.name): metric.more_is_better for one in self.tasks
                      for metric in one.task.metrics}
