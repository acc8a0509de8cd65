"""The head that selects and writes: the probabilities of a document's sentences steer a transformer decoder.

After Hsu et al. 2018 (arXiv:1805.06266), section 3.3: attention on a token is multiplied by the probability of its
sentence and normalised again. Here it is added to the scores as a logarithm, in the cross-attention of every layer and
in the copy gate's pointer. ``steer=top_k`` is the hard form: what is not selected is not read.

Shapes: B rows, S source tokens, T target tokens, N sentences.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llmtrain.models.heads.base import EncoderStates, Removal, Sizes
from llmtrain.models.heads.ext_abs.options import SOFT, ExtAbsHeadConfig
from llmtrain.models.heads.extractive.scorer import SentenceScorer
from llmtrain.models.heads.removal import replaced
from llmtrain.models.heads.transformer.head import TransformerHead
from llmtrain.nn.attention import NEVER


class ExtAbsHead(TransformerHead):
    """Writes as a :class:`TransformerHead`, steered by the sentences that a :class:`SentenceScorer` finds likely.

    Documents whose sentences are not told (``states.sentences`` is None) are read without steering.
    """

    cites = True

    def __init__(self, options: ExtAbsHeadConfig, sizes: Sizes) -> None:
        super().__init__(options, sizes)
        self.scorer = SentenceScorer(sizes, sentence=options.sentence, layers=options.sentence_layers,
                                     dropout=options.dropout, heads=options.heads, ffn=options.ffn)
        if options.steer == SOFT:
            self.steering = nn.Parameter(torch.ones(()))

    def sentence_scores(self, states: EncoderStates) -> Tensor:
        """(B, N) fp32 logits of the document's sentences, computed once in a training step."""
        if states.shared is None:
            return self.scorer(states)  # type: ignore[no-any-return]
        if "sentence_scores" not in states.shared:
            states.shared["sentence_scores"] = self.scorer(states)
        scores: Tensor = states.shared["sentence_scores"]
        return scores

    def steer(self, states: EncoderStates) -> EncoderStates:
        """The states with what is added to the attention on each source token. Tokens outside any sentence get 0."""
        sentences = states.sentences
        if sentences is None or states.steering_BS is not None:
            return states
        scores_BN = self.sentence_scores(states)
        if self.options.steer == SOFT:
            log_BN = F.logsigmoid(scores_BN).masked_fill(~sentences.mask_BN, NEVER)
            best_B1 = log_BN.amax(1, keepdim=True).detach()  # the likeliest sentence is read as if nothing steered
            added_BN = self.steering * (log_BN - best_B1).masked_fill(~sentences.mask_BN, 0.0)
        else:
            added_BN = torch.zeros_like(scores_BN).masked_fill(~self.chosen(scores_BN, states), NEVER)
        members_BNS = sentences.members_BNS(states.input_ids_BS.shape[1])
        return replace(states, steering_BS=(added_BN.unsqueeze(2) * members_BNS).sum(1))

    def chosen(self, scores_BN: Tensor, states: EncoderStates) -> Tensor:
        """(B, N) bool: the ``count`` likeliest sentences of each document; in training the labelled ones first."""
        sentences = states.sentences
        assert sentences is not None
        order_BN = scores_BN.detach()
        if self.training and sentences.labels_BN is not None:
            order_BN = torch.sigmoid(order_BN) + sentences.labels_BN
        order_BN = order_BN.masked_fill(~sentences.mask_BN, -torch.inf)
        best_BK = order_BN.topk(min(self.options.count, order_BN.shape[1]), dim=1).indices
        return torch.zeros_like(order_BN, dtype=torch.bool).scatter(1, best_BK, True) & sentences.mask_BN

    def removals(self) -> dict[str, Removal]:
        """What a transformer head has, and the steering by sentences."""
        return {**super().removals(), "steering by sentences": lambda: replaced(self, "steer", lambda states: states)}
