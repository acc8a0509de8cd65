"""How likely each sentence of a document belongs to the output.

After Liu and Lapata 2019 (arXiv:1908.08345), section 3.1: sentence vectors from the
trunk, sinusoidal places, a few transformer layers over the sentences, one logit each. The layers are pre-norm, which
learns at the head's usual rate without a long warm-up.

Shapes: B rows, S source tokens, N sentences, D width of the trunk.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llmtrain.config.sentence_input import CLS, LAST
from llmtrain.core.errors import ConfigError
from llmtrain.models.heads.base import EncoderStates, Sentences, Sizes
from llmtrain.models.heads.transformer.decoder import MultiHeadAttention
from llmtrain.nn.dropout import Dropout
from llmtrain.nn.linear import Linear, product


def sentence_vectors(hidden_BSD: Tensor, sentences: Sentences, how: str) -> Tensor:
    """(B, N, D): each sentence's first token (cls), last token, or the mean of its tokens; zeros for padding."""
    mask_BN1 = sentences.mask_BN.unsqueeze(2)
    if how in (CLS, LAST):
        place_BN = sentences.start_BN if how == CLS else (sentences.end_BN - 1).clamp_min(0)
        vectors_BND = hidden_BSD.gather(1, place_BN.unsqueeze(2).expand(-1, -1, hidden_BSD.shape[2]))
        return vectors_BND.masked_fill(~mask_BN1, 0.0)
    members_BNS = sentences.members_BNS(hidden_BSD.shape[1]).to(hidden_BSD.dtype)
    return product(members_BNS / members_BNS.sum(2, keepdim=True).clamp_min(1), hidden_BSD)


def places(count: int, width: int, like: Tensor) -> Tensor:
    """(N, D) sinusoidal position embeddings (Vaswani et al. 2017): any number of sentences has a place."""
    place_N1 = torch.arange(count, device=like.device, dtype=torch.float32).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2, device=like.device, dtype=torch.float32) * (-math.log(10_000.0) / width))
    return torch.stack([(place_N1 * rate).sin(), (place_N1 * rate).cos()], 2).flatten(1)[:, :width].to(like.dtype)


class SentenceLayer(nn.Module):
    """Self-attention and feed-forward over sentences, each with a norm before it."""

    def __init__(self, width: int, heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = MultiHeadAttention(width, heads)
        self.ffn_norm = nn.LayerNorm(width, eps=1e-6)
        self.up, self.down = Linear(width, ffn), Linear(ffn, width)
        self.dropout = Dropout(dropout)

    def forward(self, x_BND: Tensor, mask_BN: Tensor) -> Tensor:
        normed = self.attention_norm(x_BND)
        attended = self.attention(normed, *self.attention.key_value(normed), mask_BN[:, None, None, :], False)
        x_BND = x_BND + self.dropout(attended)
        return x_BND + self.dropout(self.down(F.gelu(self.up(self.ffn_norm(x_BND)))))


class SentenceScorer(nn.Module):
    """Logits of a document's sentences, from the trunk's states."""

    def __init__(self, sizes: Sizes, *, sentence: str, layers: int, dropout: float = 0.0, heads: int | None = None,
                 ffn: int | None = None) -> None:
        super().__init__()
        heads = heads or sizes.heads
        if sizes.width % heads:
            raise ConfigError(f"the base's width of {sizes.width} is no multiple of {heads} attention heads; change "
                              "head.heads")
        self.sentence = sentence
        self.layers = nn.ModuleList(SentenceLayer(sizes.width, heads, ffn or sizes.ffn, dropout)
                                    for _ in range(layers))
        self.norm = nn.LayerNorm(sizes.width, eps=1e-6)
        self.logit = Linear(sizes.width, 1)

    def forward(self, states: EncoderStates) -> Tensor:
        """(B, N) fp32 logits; whatever for padding."""
        sentences = states.sentences
        assert sentences is not None, "features without sentences; the options ask for them"
        x_BND = sentence_vectors(states.hidden_BSD, sentences, self.sentence)
        x_BND = x_BND + places(x_BND.shape[1], x_BND.shape[2], x_BND)
        mask_BN = sentences.mask_BN.clone()
        mask_BN[:, 0] = True  # a document without sentences: attention must have something to look at
        for layer in self.layers:
            x_BND = layer(x_BND, mask_BN)
        logits: Tensor = self.logit(self.norm(x_BND)).squeeze(2).float()
        return logits


def sentence_nll(logits_BN: Tensor, sentences: Sentences, positive_weight: float) -> Tensor:
    """0-dim fp32 sum of the binary cross-entropy over real sentences, connected also when there are none."""
    assert sentences.labels_BN is not None, "features without labels; the options ask for them"
    weight = torch.tensor(positive_weight, device=logits_BN.device)
    loss_BN = F.binary_cross_entropy_with_logits(logits_BN, sentences.labels_BN.float(), pos_weight=weight,
                                                 reduction="none")
    return (loss_BN * sentences.mask_BN).sum()
