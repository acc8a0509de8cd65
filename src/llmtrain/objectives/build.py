"""The terms of the joint loss, built from the configuration: objectives, their weighting, what they do to a batch."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from llmtrain import registry
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.model import ModelConfig
from llmtrain.config.sections.objective import (
    base_terms_of,
    needs_summaries,
    reads_documents_alone,
    terms_apart,
    terms_of,
)
from llmtrain.core.errors import ConfigError
from llmtrain.data.special_tokens import id_count
from llmtrain.data.unread_rows import LeaveUnread
from llmtrain.models.backbone.families import layers
from llmtrain.models.backbone.pretrained import base_folder
from llmtrain.models.heads.base import Head
from llmtrain.models.task_model import SummaryModel
from llmtrain.objectives.base import Objective, Transform, Vocabulary
from llmtrain.objectives.joint_module import JointModule
from llmtrain.objectives.weighting.base import Weighting


def build_objectives(config: TrainConfig, model: SummaryModel, tokenizer: Any, base: ModelConfig,
                     ) -> dict[str, Objective]:
    """The base terms the configuration names, under the run's seed."""
    names = base_terms_of(config.objective)
    if not names:
        return {}
    vocabulary = Vocabulary(model.input_embedding_VD.shape[0], tokenizer.mask_token_id,
                            frozenset(tokenizer.all_special_ids), continuation_of(tokenizer))
    folder = base_folder(base.path, base.revision)
    return {name: registry.resolve("objective", name)(model, getattr(config.objective, name), vocabulary, folder)
            for name in names}


def build_weighting(config: TrainConfig) -> Weighting:
    """The weighting the configuration names, over its terms."""
    method = registry.resolve("weighting", config.objective.weighting)
    weighting: Weighting = method(config.objective, terms_of(config.objective), config.run.seed)
    return weighting


def check_trained(config: TrainConfig, trunk: Any) -> None:
    """Raise ConfigError where the weighting reads gradients of a part of the base of which nothing is trained."""
    chosen, frozen = config.objective.weighting, config.model.freeze
    facts = registry.get("weighting", chosen).requires
    read, name = (layers(trunk)[-1], "the base's last layer") if facts.get("last_layer") else (trunk, "the base")
    if facts.get("trunk") and not any(parameter.requires_grad for parameter in read.parameters()):
        raise ConfigError(f"objective.weighting={chosen} reads gradients of {name} and model.freeze={frozen} leaves "
                          "none; freeze fewer layers, or use objective.weighting=fixed")


def transforms_of(config: TrainConfig, module: JointModule) -> list[Transform]:
    """What is done to a batch where it is collated: by the base terms, then by the head.

    Terms with a pass of their own make their copies first. Where the others need a summary, the shared pass then leaves
    out the rows that have none.
    """
    apart = terms_apart(config.objective)
    ours = {name: term for name, term in module.objectives.items() if isinstance(term, Objective)}
    first = [term.transform() for name, term in ours.items() if name in apart]
    others = [term.transform() for name, term in ours.items() if name not in apart]
    summaries = needs_summaries(config.objective)
    unread = LeaveUnread(summaries) if apart and not reads_documents_alone(config.objective, but=apart) else None
    return [transform for transform in (*first, unread, *others, cast(Head, module.model.head).batch_transform())
            if transform is not None]


def continuation_of(tokenizer: Any) -> Tensor:
    """(V,) bool: the token continues the word before it (WordPiece ##, byte-level BPE and SentencePiece markers)."""
    tokens = [""] * id_count(tokenizer)
    for token, number in tokenizer.get_vocab().items():
        tokens[number] = token
    if any(token.startswith("##") for token in tokens):
        return torch.tensor([token.startswith("##") for token in tokens])
    marker = next((mark for mark in ("Ġ", "▁") if any(token.startswith(mark) for token in tokens)), None)
    special = set(tokenizer.all_special_tokens)
    return torch.tensor([marker is not None and not token.startswith(marker) and token not in special
                         for token in tokens])
