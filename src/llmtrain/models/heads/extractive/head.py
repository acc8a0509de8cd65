"""The extractive head: a score for each sentence, and which scores make the output.

Shapes: B rows, N sentences.
"""

from __future__ import annotations

import torch
from torch import Tensor

from llmtrain.models.heads.base import EncoderStates, Head, Sizes
from llmtrain.models.heads.extractive.choose import Selection
from llmtrain.models.heads.extractive.options import ExtractiveHeadConfig
from llmtrain.models.heads.extractive.scorer import SentenceScorer, sentence_nll

THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)  # that select=tuned tries


class ExtractiveHead(Head):
    """Scores a document's sentences and chooses the output among them.

    What ``select=tuned`` settled on is part of the weights, so that whoever loads them chooses alike.
    """

    tuned_count: Tensor
    tuned_threshold: Tensor

    def __init__(self, options: ExtractiveHeadConfig, sizes: Sizes) -> None:
        super().__init__(options, sizes)
        self.scorer = SentenceScorer(sizes, sentence=options.sentence, layers=options.layers, dropout=options.dropout,
                                     heads=options.heads, ffn=options.ffn)
        self.register_buffer("tuned_count", torch.tensor(options.count))  # 0: any number
        self.register_buffer("tuned_threshold", torch.tensor(0.0))

    def sentence_nll(self, states: EncoderStates) -> tuple[Tensor, Tensor]:
        """(sum, count) of the binary cross-entropy of sentences (fp32, 0-dim)."""
        assert states.sentences is not None
        loss = sentence_nll(self.scorer(states), states.sentences, self.options.positive_weight)
        return loss, states.sentences.mask_BN.sum()

    @property
    def selection(self) -> Selection:
        """The rule in force."""
        if self.options.select == "count":
            return Selection(self.options.count)
        if self.options.select == "threshold":
            return Selection(None, self.options.threshold)
        return Selection(int(self.tuned_count) or None, round(float(self.tuned_threshold), 4))

    def candidates(self) -> list[Selection]:
        """The rules among which validation chooses; none where the options settle it."""
        if self.options.select != "tuned":
            return []
        return [*(Selection(count) for count in range(1, self.options.count + 1)),
                *(Selection(self.options.count, threshold) for threshold in THRESHOLDS if self.options.count > 1)]

    def settle(self, selection: Selection) -> None:
        """Select so from now on."""
        self.tuned_count.fill_(selection.count or 0)
        self.tuned_threshold.fill_(selection.threshold)
