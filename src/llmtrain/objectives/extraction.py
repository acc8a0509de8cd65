"""Sentence extraction: is this sentence one that the greedy oracle takes (Nallapati et al. 2017; Liu and Lapata
2019), on the trunk's states while another head writes.

Sentences are where the document has them; no token is added, so every other term reads the same ids.

Shapes: B rows, N sentences.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from llmtrain.data.batch import Batch
from llmtrain.models.heads.base import EncoderStates
from llmtrain.models.heads.extractive.scorer import SentenceScorer, sentence_nll
from llmtrain.models.task_model import TaskModel, sentences_of, sizes_of
from llmtrain.objectives.base import Objective, Vocabulary
from llmtrain.objectives.options import ExtractionConfig


class Extraction(Objective):
    """The base term that predicts which sentences the greedy oracle takes."""

    name = "extraction"

    def __init__(self, model: TaskModel, options: ExtractionConfig, vocabulary: Vocabulary,
                 base_folder: Path | None) -> None:
        super().__init__(model, options, vocabulary, base_folder)
        self.positive_weight = options.positive_weight
        self.scorer = SentenceScorer(sizes_of(model.trunk.config, model.config), sentence=options.sentence,
                                     layers=options.layers)
        for module in self.scorer.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def share(self, head: nn.Module) -> None:
        """A head that scores sentences itself is trained by this loss."""
        if hasattr(head, "sentence_scores"):
            del self.scorer

    def count(self, batch: Batch) -> Tensor:
        sentences = sentences_of(batch)
        assert sentences is not None, "features without sentences; the options ask for them"
        return sentences.mask_BN.sum()

    def forward(self, model: TaskModel, states: EncoderStates, batch: Batch, step: int) -> Tensor:
        assert states.sentences is not None
        scores_BN = self.scorer(states) if hasattr(self, "scorer") else model.head.sentence_scores(states)
        return sentence_nll(scores_BN, states.sentences, self.positive_weight)
