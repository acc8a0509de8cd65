"""The label that stands beside a row's target, predicted by a classifier of its own on the trunk's pooled states.

So the base of one task also learns what a text is about (multi-task learning, Caruana 1997). The classifier is part
of the training state and is not published.

Shapes: B rows, S source tokens, C labels, D width of the trunk.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from llmtrain.data.batch import IGNORED, Batch
from llmtrain.data.row_labels import ROW_LABEL
from llmtrain.models.heads.base import EncoderStates
from llmtrain.models.heads.classifier.head import label_nll
from llmtrain.models.heads.classifier.pooling import Pooling
from llmtrain.models.task_model import TaskModel
from llmtrain.nn.linear import Linear
from llmtrain.objectives.base import Objective, Vocabulary
from llmtrain.objectives.options import RowLabelConfig


class RowLabel(Objective):
    """The base term that predicts a row's label."""

    name = "label"

    def __init__(self, model: TaskModel, options: RowLabelConfig, vocabulary: Vocabulary,
                 base_folder: Path | None) -> None:
        super().__init__(model, options, vocabulary, base_folder)
        self.pooling = Pooling(options.pooling, model.hidden_size)
        self.output = Linear(model.hidden_size, vocabulary.row_labels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def count(self, batch: Batch) -> Tensor:
        return (batch[ROW_LABEL] > 0).sum()

    def forward(self, model: TaskModel, states: EncoderStates, batch: Batch, step: int) -> Tensor:
        labels_B1 = (batch[ROW_LABEL] - 1).masked_fill(batch[ROW_LABEL] == 0, IGNORED)
        logits_BC = self.output(self.pooling(states.hidden_BSD, states.attention_mask_BS))
        loss, _count = label_nll(logits_BC, labels_B1, False)
        return loss
