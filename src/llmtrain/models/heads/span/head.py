"""The span head: two scores for each token, as the answer's first and as its last (Devlin et al. 2019, section 4.2).

That there is no answer is the score of one token that stands for the whole input; which one, the model knows.

Shapes: B rows, S source tokens, D width of the trunk; 2: start and end.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from llmtrain.data.batch import IGNORED
from llmtrain.models.heads.base import EncoderStates, Head, Sizes
from llmtrain.models.heads.span.options import SpanHeadConfig
from llmtrain.nn.attention import NEVER
from llmtrain.nn.dropout import Dropout
from llmtrain.nn.linear import Linear


class SpanHead(Head):
    """Scores tokens as the ends of an answer.

    The threshold below which there is no answer is settled on validation rows and part of the weights, so that whoever
    loads them answers alike.
    """

    threshold: Tensor

    def __init__(self, options: SpanHeadConfig, sizes: Sizes) -> None:
        super().__init__(options, sizes)
        self.dropout = Dropout(options.dropout)
        self.inner = Linear(sizes.width, options.hidden) if options.hidden else None
        self.scores = Linear(options.hidden or sizes.width, 2)
        self.register_buffer("threshold", torch.tensor(0.0))

    def logits(self, states: EncoderStates) -> Tensor:
        """(B, S, 2) fp32 scores of every token as the first and as the last of the answer; padding has the least."""
        x_BSD = states.hidden_BSD
        if self.inner is not None:
            x_BSD = F.gelu(self.inner(x_BSD))
        logits_BS2: Tensor = self.scores(self.dropout(x_BSD)).float()
        return logits_BS2.masked_fill(states.attention_mask_BS.unsqueeze(2) == 0, NEVER)

    def nll(self, states: EncoderStates, labels_BT: Tensor) -> tuple[Tensor, Tensor]:
        return self.ends_nll(self.logits(states), labels_BT)

    @staticmethod
    def ends_nll(logits_BS2: Tensor, labels_BT: Tensor) -> tuple[Tensor, Tensor]:
        """(sum, count) of the cross-entropy of starts and ends, each over the tokens of its row.

        Args:
            labels_BT: (B, 2) places of the answer's first and last token, or of the token that stands for none, or
                IGNORED; (B, 1) IGNORED where no row of the batch is labelled.
        """
        if labels_BT.shape[1] < 2:
            labels_BT = F.pad(labels_BT, (0, 2 - labels_BT.shape[1]), value=IGNORED)
        counted_B2 = labels_BT != IGNORED
        log_BS2 = torch.log_softmax(logits_BS2, 1)
        gold_B2 = log_BS2.gather(1, labels_BT.clamp_min(0).unsqueeze(1)).squeeze(1)
        # times 0 where nothing counts: so it is connected to every parameter
        return -torch.where(counted_B2, gold_B2, gold_B2 * 0.0).sum(), counted_B2.sum()

    def settle(self, threshold: float) -> None:
        """Say from now on that there is no answer where its score is more than this above the best span's."""
        self.threshold.fill_(threshold)
