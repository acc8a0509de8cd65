"""Causal language modelling: the next token of the document, on the very states that the task term reads.

A decoder's states see no token to their right, so one pass over the clean document serves both terms. The output
embedding is the base's own: its input embedding where the two are tied, else the pretrained one, which AutoModel drops
and which is trained here.

Shapes: B rows, S source tokens, N predicted tokens, D width of the trunk, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from llmtrain.data.batch import IGNORED, Batch, Context
from llmtrain.models.backbone.families import pretrained_lm_head
from llmtrain.models.heads.base import EncoderStates
from llmtrain.models.heads.copy import gold_log_probability
from llmtrain.models.task_model import TaskModel
from llmtrain.nn.linear import linear
from llmtrain.objectives.base import Objective, Transform, Vocabulary, connected_zero, row_generator
from llmtrain.objectives.options import ClmConfig

STREAM = 2  # tells this term's random numbers from those of other terms


class NextTokens:
    """Adds clm_labels (B, S): at each place the token behind it, for the rows chosen; IGNORED elsewhere.

    The choice is a pure function of (seed, epoch, example id).
    """

    def __init__(self, options: ClmConfig) -> None:
        self.options = options

    def __call__(self, batch: Batch, context: Context) -> None:
        source_BS, mask_BS = batch["input_ids"], batch["attention_mask"]
        labels_BS = torch.full_like(source_BS, IGNORED)
        labels_BS[:, :-1] = torch.where(mask_BS[:, 1:] > 0, source_BS[:, 1:], IGNORED)
        for row, example in enumerate(batch["example_id"].tolist()):
            generator = row_generator(context.seed, context.epoch, example, STREAM)
            if batch.get("dummy") or torch.rand((), generator=generator) >= self.options.fraction:
                labels_BS[row] = IGNORED
        batch["clm_labels"] = labels_BS


class CausalLm(Objective):
    """The base term that predicts the next token of the document."""

    name = "clm"

    def __init__(self, model: TaskModel, options: ClmConfig, vocabulary: Vocabulary,
                 base_folder: Path | None) -> None:
        super().__init__(model, options, vocabulary, base_folder)
        self.options = options
        stored = pretrained_lm_head(base_folder)
        self.output_VD = None if stored is None else nn.Parameter(stored)

    def transform(self) -> Transform:
        return NextTokens(self.options)

    def count(self, batch: Batch) -> Tensor:
        return (batch["clm_labels"] != IGNORED).sum()

    def forward(self, model: TaskModel, states: EncoderStates, batch: Batch, step: int) -> Tensor:
        labels_BS = batch["clm_labels"]
        at_N = (labels_BS != IGNORED).reshape(-1).nonzero().squeeze(1)
        if at_N.numel() == 0:
            return connected_zero(self, states.hidden_BSD)
        hidden_ND = states.hidden_BSD.flatten(0, 1).index_select(0, at_N)
        gold_N = labels_BS.reshape(-1).index_select(0, at_N)
        weight_VD = model.input_embedding_VD if self.output_VD is None else self.output_VD
        losses, size = [], self.options.chunk_tokens
        for start in range(0, len(gold_N), size):
            part = hidden_ND[start:start + size], weight_VD, gold_N[start:start + size]
            if len(gold_N) > size:  # recompute in the backward pass: one chunk's logits exist at a time
                losses.append(checkpoint(_loss, *part, use_reentrant=False))
            else:
                losses.append(_loss(*part))
        return torch.stack(losses).sum()


def _loss(hidden_ND: Tensor, weight_VD: Tensor, gold_N: Tensor) -> Tensor:
    return -gold_log_probability(linear(hidden_ND, weight_VD), gold_N).sum()
