"""Everything that is known of a run before any weight or row is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmtrain.config.schema import TrainConfig
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
class RunSpec:
    """The facts of a run, each found once; whatever is built asks here, and no registry or file again.

    Attributes:
        config: The typed configuration.
        task: What is learnt, scored and shown.
        terms: The terms of the joint loss.
        base: ``model.path``: its tokenizer reads the data, and its limits hold.
        start: What the weights of a new run are.
        architecture: Class of the published model, chosen by the head.
        sentence_input: How documents are read sentence by sentence; None: no term and no head asks for sentences.
        behind_document: Positions of the base that the head takes behind a document.
    """

    config: TrainConfig
    task: Task
    terms: Terms
    base: Base
    start: StartingPoint
    architecture: type[TaskModel]
    sentence_input: SentenceInput | None
    behind_document: int

    @property
    def source_limit(self) -> int:
        """The longest document that base and head read in one piece, in tokens."""
        return self.base.positions - self.behind_document

    @property
    def positions_needed(self) -> int:
        """Positions for the longest document and for what the head puts behind it."""
        return self.config.data.max_source_tokens + self.behind_document

    @property
    def target_lengths(self) -> dict[str, int]:
        """How long targets may be, by the key that says so."""
        return {self.config.data.target_limit: self.config.data.max_target_tokens,
                "generation.max_new_tokens": self.config.generation.max_new_tokens}
