"""The protocol of a loss term.

A term is a (sum, count) pair, not a mean: one term counts masked tokens, another target tokens, and a mean of
micro-batch means would be wrong for both. ``count`` reads the batch alone, so that the divisors of a whole optimizer
step (all micro-batches, all processes) are known before its first backward pass.

Shapes: B rows, S source tokens, T target tokens, D width of the trunk, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmtrain.data.batch import Batch, Context
from llmtrain.models.heads.base import EncoderStates
from llmtrain.models.task_model import TaskModel

Transform = Callable[[Batch, Context], None]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What objectives need to know of the tokenizer and the rows (picklable, so it can travel to data workers)."""

    size: int
    mask_id: int | None
    special_ids: frozenset[int]
    continuation: Tensor  # (V,) bool: the token continues a word
    row_labels: int = 0  # how many labels stand beside targets


class Objective(nn.Module):
    """A base-model term l1. Its parameters are trained but never published with the model."""

    name: str

    def __init__(self, model: TaskModel, options: Any, vocabulary: Vocabulary,
                 base_folder: Path | None) -> None:
        super().__init__()

    def transform(self) -> Transform | None:
        """A picklable function that adds this term's keys to a batch, or None.

        A term registered with ``own_pass=True`` is given every row, and must copy what it reads: documents that have no
        target may be left out of the batch's own columns behind it. The others are given what is left.
        """
        return None

    def share(self, head: nn.Module) -> None:
        """The task's head is trained beside this term: leave to it what it has too."""

    def count(self, batch: Batch) -> Tensor:
        """How many items the batch gives this term (0-dim, no gradient)."""
        raise NotImplementedError

    def forward(self, model: TaskModel, states: EncoderStates, batch: Batch, step: int) -> Tensor:
        """The term's sum over the batch (0-dim, fp32), connected to its parameters also when the count is 0."""
        raise NotImplementedError


def row_generator(seed: int, epoch: int, example_id: int, stream: int) -> torch.Generator:
    """A generator that depends on nothing but its arguments: no worker's prefetch can shift it."""
    mixed = hash((seed, epoch, example_id, stream)) & (2**63 - 1)  # ints hash alike in every process
    return torch.Generator().manual_seed(mixed)


def connected_zero(module: nn.Module, like: Tensor) -> Tensor:
    """A zero with a (zero) gradient for every trained parameter of ``module``: DDP waits for each of them."""
    zero = like.new_zeros((), dtype=torch.float32)
    for parameter in module.parameters():
        if parameter.requires_grad:
            zero = zero + parameter.reshape(-1)[:1].sum() * 0.0
    return zero
