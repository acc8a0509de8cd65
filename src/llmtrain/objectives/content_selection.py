"""Content selection: is this source token in the target (Gehrmann, Deng and Rush 2018, arXiv:1808.10792), as
binary cross-entropy of one linear layer on the trunk's states.

Shapes: B rows, S source tokens, T target tokens, D width of the trunk.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from llmtrain.data.batch import IGNORED, Batch
from llmtrain.models.heads.base import EncoderStates
from llmtrain.models.task_model import TaskModel
from llmtrain.nn.linear import Linear
from llmtrain.objectives.base import Objective, Vocabulary
from llmtrain.objectives.options import SelectConfig


class ContentSelection(Objective):
    """The base term that predicts whether a source token is in the target."""

    name = "select"
    positive_weight: Tensor
    special: Tensor

    def __init__(self, model: TaskModel, options: SelectConfig, vocabulary: Vocabulary,
                 base_folder: Path | None) -> None:
        super().__init__(model, options, vocabulary, base_folder)
        self.scorer = Linear(model.hidden_size, 1)
        nn.init.normal_(self.scorer.weight, std=0.02)
        nn.init.zeros_(self.scorer.bias)
        self.register_buffer("positive_weight", torch.tensor(options.positive_weight), persistent=False)
        self.register_buffer("special", torch.tensor(sorted(vocabulary.special_ids)), persistent=False)

    def _counted_BS(self, batch: Batch) -> Tensor:
        """Real, unspecial tokens of rows that have a target."""
        has_target_B1 = (batch["labels"] != IGNORED).any(dim=1, keepdim=True)
        special_BS = torch.isin(batch["input_ids"], self.special)
        return batch["attention_mask"].bool() & ~special_BS & has_target_B1

    def count(self, batch: Batch) -> Tensor:
        return self._counted_BS(batch).sum()

    def forward(self, model: TaskModel, states: EncoderStates, batch: Batch, step: int) -> Tensor:
        logits_BS = self.scorer(states.hidden_BSD).squeeze(-1).float()
        chosen_BS = (batch["input_ids"].unsqueeze(2) == batch["labels"].unsqueeze(1)).any(dim=2)
        loss_BS = nn.functional.binary_cross_entropy_with_logits(
            logits_BS, chosen_BS.float(), pos_weight=self.positive_weight, reduction="none")
        return (loss_BS * self._counted_BS(batch)).sum()
