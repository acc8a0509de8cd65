"""The terms of the joint loss, built from the configuration: objectives, their weighting, what they do to a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from llmtrain import registry
from llmtrain.config.sections.objective import ObjectiveConfig, measures_lambda
from llmtrain.config.terms import Terms
from llmtrain.data.special_tokens import id_count
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.data.unread_rows import LeaveUnread
from llmtrain.models.backbone.base_facts import Base
from llmtrain.models.backbone.families import layers
from llmtrain.models.heads.base import Head
from llmtrain.models.task_model import TaskModel
from llmtrain.objectives.base import Objective, Transform, Vocabulary
from llmtrain.objectives.joint_module import JointModule
from llmtrain.objectives.weighting.auto_lambda import AutoLambda
from llmtrain.objectives.weighting.base import Weighting


def build_objectives(names: tuple[str, ...], options: ObjectiveConfig, model: TaskModel, base: Base,
                     row_labels: int = 0) -> dict[str, Objective]:
    """The named base terms, under torch's current seed.

    Args:
        base: Whose pretrained heads they go on from.
        row_labels: How many labels stand beside targets.
    """
    if not names:
        return {}
    tokenizer = base.tokenizer
    vocabulary = Vocabulary(model.input_embedding_VD.shape[0], tokenizer.mask_token_id,
                            frozenset(tokenizer.all_special_ids), continuation_of(tokenizer), row_labels)
    return {name: registry.resolve("objective", name)(model, getattr(options, name), vocabulary, base.folder)
            for name in names}


def build_weighting(options: ObjectiveConfig, terms: Terms, seed: int) -> Weighting:
    """The weighting the configuration names, over its terms; one of its own where lambda is measured."""
    if measures_lambda(options):
        return AutoLambda(options, terms.every, seed)
    weighting: Weighting = registry.resolve("weighting", options.weighting)(options, terms.every, seed)
    return weighting


def frozen_problems(objective: ObjectiveConfig, trunk: nn.Module, freeze: str) -> Iterator[str]:
    """A line where the weighting reads gradients of a part of the base of which nothing is trained.

    Args:
        trunk: With what is held still needing no gradient.
        freeze: model.freeze, for the line.
    """
    facts = registry.get("weighting", objective.weighting).requires
    measured = measures_lambda(objective)
    chosen = "objective.lam=auto" if measured else f"objective.weighting={objective.weighting}"
    read, name = (layers(trunk)[-1], "the base's last layer") if facts.get("last_layer") else (trunk, "the base")
    if (measured or facts.get("trunk")) and not any(parameter.requires_grad for parameter in read.parameters()):
        instead = "give objective.lam a number" if measured else "use objective.weighting=fixed"
        yield (f"{chosen} reads gradients of {name} and model.freeze={freeze} leaves none; freeze fewer layers, or "
               f"{instead}")


def transforms_of(terms: Terms, module: JointModule, head: Head | None = None) -> list[Transform]:
    """What is done to a task's rows where they are collated: by the base terms, then by the head.

    Terms with a pass of their own make their copies first. Where the others need a target, the shared pass then leaves
    out the rows that have none.

    Args:
        head: That of one of several tasks; default: the model's.
    """
    ours = {name: term for name, term in module.objectives.items() if isinstance(term, Objective)}
    first = [term.transform() for name, term in ours.items() if name in terms.own_pass]
    others = [term.transform() for name, term in ours.items() if name not in terms.own_pass]
    unread = LeaveUnread(terms.needs_targets) if terms.leaves_unread else None
    head = cast(Head, module.model.head) if head is None else head
    return [transform for transform in (*first, unread, *others, head.batch_transform()) if transform is not None]


def continuation_of(tokenizer: Tokenizer) -> Tensor:
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
