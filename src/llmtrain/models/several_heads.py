"""The architecture of several tasks: one pretrained trunk, and on it a head for each task.

It loads with ``import llmtrain.hf; AutoModel.from_pretrained(folder)``. What a task's head alone would be the upper
part of is there as ``model.of_task(NAME)``: an ordinary model of its architecture, with ``generate()`` where its head
writes, whose trunk and head are this model's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from llmtrain.core.errors import ConfigError
from llmtrain.data.batch import PARTS
from llmtrain.data.learnt import Learnt
from llmtrain.models.architectures import class_of
from llmtrain.models.backbone.base_facts import Base
from llmtrain.models.heads.base import Head
from llmtrain.models.hf_config import LlmtrainSeveralConfig, facts_of
from llmtrain.models.target_vocabulary import target_settings
from llmtrain.models.task_model import TaskModel, head_part

SHARED = ("base", "vocab_size", "hidden_size", "bos_token_id", "eos_token_id", "pad_token_id",
          "decoder_start_token_id", "window_overlap", "written_positions")  # what each task's model has of the whole


class LlmtrainForSeveralTasks(TaskModel):
    """A base that reads and a head for each of several tasks, as transformers knows it."""

    config_class = LlmtrainSeveralConfig
    instead_of_writing: ClassVar[str] = "has a head for each task"

    def __init__(self, config: Any, made: tuple[Any, Any] | None = None) -> None:
        super().__init__(config, made)
        self._of_task: dict[str, TaskModel] = {}  # no modules of this one: they have no weights of their own
        for name, said in config.parts.items():
            if said.get("prompt_end") is not None:
                self.head.of(name).start_id = said["prompt_end"]

    @classmethod
    def settled(cls, base: Base, head: Any) -> tuple[Any, dict[str, Any]]:
        heads, parts = {}, {}
        for name, given in head.heads.items():
            part = head_part(given["name"])
            options, said = class_of(part.name).settled(base, part.options(**given))
            heads[name] = {field: getattr(options, field) for field in given}
            parts[name] = said
        return type(head)(heads=heads), {"parts": parts}

    @property
    def names(self) -> list[str]:
        """The tasks, in the run's order."""
        return list(self.config.head["heads"])

    def of_task(self, name: str) -> TaskModel:
        """The model of one task, on this trunk and its head.

        Raises:
            ConfigError: There is no such task.
        """
        if name not in self.names:
            raise ConfigError(f"the model has no task {name!r}; choose from {', '.join(self.names)}")
        if name not in self._of_task:
            self._of_task[name] = self._made(name).train(self.training)
        return self._of_task[name]

    def heads_of(self, learnt: Learnt) -> Iterator[tuple[Head, Learnt]]:
        for name in self.names:
            yield self.head.of(name), learnt.parts.get(name, Learnt())

    def parts(self, batch: dict[str, Any]) -> list[tuple[str, TaskModel, dict[str, Any]]]:
        return [(name, self.of_task(name), rows) for name, rows in batch[PARTS].items()]

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for model in self.__dict__.get("_of_task", {}).values():
            model.training = mode  # its modules are this one's
        return self

    def forward(self, input_ids: Tensor, task: str, attention_mask: Tensor | None = None, **inputs: Any) -> Any:
        """What the model of ``task`` gives for these inputs."""
        return self.of_task(task)(input_ids=input_ids, attention_mask=attention_mask, **inputs)

    @torch.no_grad()
    def _init_weights(self, module: Any) -> None:
        """Each head as the model of its own task starts it."""
        if module is not self.head:
            super()._init_weights(module)
            return
        for name in self.names:
            model = self._made(name)
            model._init_weights(model.head)

    def _made(self, name: str) -> TaskModel:
        """A task's model, made of parts that are there."""
        head = self.config.head["heads"][name]
        kind: Any = class_of(head["name"])
        shared = {key: getattr(self.config, key) for key in SHARED if getattr(self.config, key, None) is not None}
        facts = facts_of(self.config).get(name, {})
        own = target_settings(facts, self.config.pad_token_id)
        config = kind.config_class(head=head, facts=facts, **(shared | own), **self.config.parts.get(name, {}))
        model: TaskModel = kind(config, (self.trunk, self.head.of(name)))
        return model
