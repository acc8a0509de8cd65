"""Decoder layers laid out like BERT's (post-norm), so that the base's own layers can start them.

Shapes: B rows, S source tokens, T target tokens, W width of the head, H attention heads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llmtrain.nn.attention import attend, tracing
from llmtrain.nn.dropout import Dropout
from llmtrain.nn.linear import Linear


class MultiHeadAttention(nn.Module):
    """Multi-head attention through torch's fused kernel (no attention dropout: it would leave the fused CPU path)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(width, width)
        self.key = Linear(width, width)
        self.value = Linear(width, width)
        self.out = Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def key_value(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.split(self.key(x)), self.split(self.value(x))

    def forward(self, x: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        attended = attend(self.split(self.query(x)), key, value, mask, causal)
        return self.out(attended.transpose(1, 2).flatten(2))


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention, feed-forward; each with residual, dropout and a norm behind it."""

    def __init__(self, width: int, heads: int, ffn: int, dropout: float, index: int) -> None:
        super().__init__()
        self.index = index
        self.self_attention = MultiHeadAttention(width, heads)
        self.self_norm = nn.LayerNorm(width, eps=1e-12)
        self.cross_attention = MultiHeadAttention(width, heads)
        self.cross_norm = nn.LayerNorm(width, eps=1e-12)
        self.up = Linear(width, ffn)
        self.down = Linear(ffn, width)
        self.ffn_norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = Dropout(dropout)

    def forward(self, x_BTW: Tensor, memory_BSW: Tensor, memory_mask: Tensor | None, cache: Any = None) -> Tensor:
        """Args: ``memory_mask`` broadcasts to (B, H, T, S), True where attention may look, or what is added to its
        scores; ``cache`` is transformers' EncoderDecoderCache in generation."""
        key, value = self.self_attention.key_value(x_BTW)
        if cache is not None:
            key, value = cache.self_attention_cache.update(key, value, self.index)
        causal, mask = self._causal(x_BTW.shape[1], key.shape[2], x_BTW.device)
        x_BTW = self.self_norm(x_BTW + self.dropout(self.self_attention(x_BTW, key, value, mask, causal)))
        key, value = self._memory(memory_BSW, cache)
        x_BTW = self.cross_norm(x_BTW + self.dropout(self.cross_attention(x_BTW, key, value, memory_mask, False)))
        return self.ffn_norm(x_BTW + self.dropout(self.down(F.gelu(self.up(x_BTW)))))

    @staticmethod
    def _causal(queries: int, keys: int, device: torch.device) -> tuple[bool, Tensor | None]:
        """Right padding needs no mask of its own: a target token never looks ahead into it."""
        if tracing():  # lengths may be symbols, which no kernel takes for a yes or no
            return False, torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
        if queries == keys:
            return queries > 1, None
        if queries == 1:
            return False, None
        ahead = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
        return False, ahead

    def _memory(self, memory_BSW: Tensor, cache: Any) -> tuple[Tensor, Tensor]:
        """Keys and values of the document: computed once a document in generation."""
        if cache is None:
            return self.cross_attention.key_value(memory_BSW)
        if cache.is_updated.get(self.index):
            layer = cache.cross_attention_cache.layers[self.index]
            return layer.keys, layer.values
        key, value = cache.cross_attention_cache.update(*self.cross_attention.key_value(memory_BSW), self.index)
        cache.is_updated[self.index] = True
        return key, value
