"""A published model as commands and Python use it: on its device, with its tokenizer and its precision."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import nn

from llmtrain.checkpoint import SELECTOR
from llmtrain.config.choices import Device
from llmtrain.config.convert import from_dict
from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.config.sections.objective import trains_task
from llmtrain.config.sections.precision import PrecisionConfig
from llmtrain.core.errors import CheckpointError, ConfigError
from llmtrain.data.learnt import Learnt
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.hf import load
from llmtrain.inference.selector import Selector
from llmtrain.models.backbone.families import observed_layer, positions
from llmtrain.models.hf_config import facts_of
from llmtrain.models.target_vocabulary import learnt_from
from llmtrain.nn.precision import Precision


@dataclass(frozen=True, slots=True)
class Published:
    """A published model on its device, with its tokenizer, its precision and the selector in front of it.

    ``learnt`` is what its task took from the training rows.
    """

    model: Any
    tokenizer: Tokenizer
    precision: Precision
    selector: Selector | None = None
    learnt: Learnt = field(default_factory=Learnt)
    lock: Any = field(default_factory=Lock, repr=False, compare=False)  # held while it predicts, by one thread

    def first_linear(self) -> nn.Module:
        """A layer inside the trunk whose output dtype shows the effective precision."""
        return observed_layer(self.model.trunk)

    @property
    def writes(self) -> Tokenizer:
        """The tokenizer that its outputs are texts by."""
        return self.learnt.writes(self.tokenizer)

    @property
    def cites(self) -> bool:
        """Whether its outputs are written and then traced to the document's sentences."""
        return bool(self.model.head.cites)

    @property
    def chooses(self) -> bool:
        """Whether its outputs are made of the document's sentences."""
        return not self.model.can_generate()

    def source_limit(self, generation: GenerationConfig) -> int:
        """The longest document that the model can read beside outputs of that length, in tokens; in windows, any."""
        if getattr(self.model.config, "window_overlap", None) is not None:
            return sys.maxsize
        limit: int = self.model.source_limit(positions(self.model.trunk.config), generation.max_new_tokens)
        return limit


def load_published(folder: Path, precision: PrecisionConfig, device: Device = Device.auto, task: str = "",
                   ) -> Published:
    """Load a verified model folder, the selector in front of it included.

    Args:
        task: Of a model of several tasks, the one that is meant.

    Raises:
        CheckpointError: transformers cannot load it.
    """
    return load_published_tasks(folder, precision, device, (task,))[task]


def load_published_tasks(folder: Path, precision: PrecisionConfig, device: Device, tasks: Sequence[str],
                         ) -> dict[str, Published]:
    """The same for several of a model's tasks, by their names: the weights are loaded once, and all share them."""
    cuda = torch.cuda.is_available() and device is not Device.cpu
    if device is Device.cuda and not cuda:
        raise ConfigError("trainer.device=cuda but torch sees no CUDA device; use trainer.device=cpu")
    where = torch.device("cuda" if cuda else "cpu")
    whole, tokenizer = load(folder)
    chosen = Precision(precision, where)
    selector = Selector(folder / SELECTOR, where, chosen) if (folder / SELECTOR).is_dir() else None
    whole = whole.to(where).eval()
    models = {task: whole.of_task(task) for task in tasks}
    lock = Lock()  # of all: what it guards, they share
    return {task: Published(model, tokenizer, chosen, selector, learnt_from(folder, facts_of(model.config), task), lock)
            for task, model in models.items()}


def check_predicts(stored: dict[str, Any], folder: Path) -> None:
    """Raise CheckpointError for a base that was trained alone: it predicts nothing."""
    config = from_dict(stored["config"], str(folder / "llmtrain.json"), CheckpointError, scoring=True)
    if not trains_task(config.objective):
        raise CheckpointError(f"the model at {folder} is a base that was trained alone and predicts nothing; train "
                              f"a task on it: llmtrain train model.init_from={folder}")
