"""The published model classes, one an architecture, since ``generate`` treats them in their own ways (no torch here).

A head names the architecture that it is the upper part of: ``register("head", ..., architecture="seq2seq")``. A plugin
may register an architecture of its own, a subclass of :class:`llmtrain.models.task_model.TaskModel`; one that gives no
text says so, ``text=False``, and serves the tasks that name it: ``register("task", ..., architectures=(NAME,))``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmtrain import registry
from llmtrain.config.task_fit import SEQ2SEQ, architecture_of

if TYPE_CHECKING:
    from llmtrain.models.task_model import TaskModel


@dataclass(kw_only=True, slots=True)
class ArchitectureOptions:
    """Options of an architecture: none, since its base and its head have them all."""


def class_of(head: str) -> type[TaskModel]:
    """The model class of a registered head."""
    found: type[TaskModel] = registry.resolve("architecture", architecture_of(registry.get("head", head)))
    return found


registry.register("architecture", SEQ2SEQ, ArchitectureOptions, "llmtrain.models.seq2seq:LlmtrainForSeq2SeqLM",
                  "the base reads, the head writes")
registry.register("architecture", "prefix_lm", ArchitectureOptions, "llmtrain.models.prefix_lm:LlmtrainForPrefixLM",
                  "the base itself writes behind what it has read")
registry.register("architecture", "sequence_classification", ArchitectureOptions,
                  "llmtrain.models.sequence_classification:LlmtrainForSequenceClassification",
                  "the base reads, the head gives a label", text=False)
registry.register("architecture", "sentence_extraction", ArchitectureOptions,
                  "llmtrain.models.sentence_extraction:LlmtrainForExtraction",
                  "the base reads, the head chooses sentences")
registry.register("architecture", "span", ArchitectureOptions, "llmtrain.models.span:LlmtrainForQuestionAnswering",
                  "the base reads a question and a context, the head marks where the answer stands", text=False)
registry.register("architecture", "several_heads", ArchitectureOptions,
                  "llmtrain.models.several_heads:LlmtrainForSeveralTasks", "the base reads, each task has a head on it",
                  text=False)
