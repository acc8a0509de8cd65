"""Attention of a recurrent decoder over the document.

general and dot: Luong, Pham and Manning 2015, "Effective Approaches to Attention-based Neural Machine Translation";
additive: Bahdanau, Cho and Bengio 2015, "Neural Machine Translation by Jointly Learning to Align and Translate".

Shapes: B rows, S source tokens, T target tokens, W width of the head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from llmtrain.nn.attention import NEVER, attend
from llmtrain.nn.linear import Linear, product

BLOCK_ELEMENTS = 1 << 26  # activations of additive scores that exist at once


class SourceAttention(nn.Module):
    """softmax(score(state, document)) document, with one of the scores ``general``, ``dot`` and ``additive``."""

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "general":
            self.key = Linear(width, width, bias=False)
        elif kind == "additive":
            self.query = Linear(width, width, bias=False)
            self.key = Linear(width, width)
            self.energy = Linear(width, 1, bias=False)

    def keys(self, memory_BSW: Tensor) -> Tensor:
        """(B, S, W) what scores need of the document, once a document."""
        return memory_BSW if self.kind == "dot" else self.key(memory_BSW)

    def forward(self, state_BTW: Tensor, key_BSW: Tensor, memory_BSW: Tensor, mask_BS: Tensor | None) -> Tensor:
        """(B, T, W) contexts; ``mask_BS`` is True for real tokens."""
        if self.kind != "additive":
            state_BTW = state_BTW.to(memory_BSW.dtype)
            mask = None if mask_BS is None else mask_BS[:, None, None, :]
            return attend(state_BTW.unsqueeze(1), key_BSW.unsqueeze(1).to(memory_BSW.dtype), memory_BSW.unsqueeze(1),
                          mask, scale=1.0).squeeze(1)
        scores_BTS = self._energies(self.query(state_BTW), key_BSW).float()
        if mask_BS is not None:
            scores_BTS = scores_BTS.masked_fill(~mask_BS[:, None, :], NEVER)
        return product(torch.softmax(scores_BTS, -1).to(memory_BSW.dtype), memory_BSW)

    def _energies(self, query_BTW: Tensor, key_BSW: Tensor) -> Tensor:
        """(B, T, S) additive scores; a few target tokens at a time where (B, T, S, W) would be much memory."""
        tokens = max(1, BLOCK_ELEMENTS // key_BSW.numel())
        parts = query_BTW.split(tokens, 1)
        if len(parts) == 1:
            return self._block(query_BTW, key_BSW)
        return torch.cat([checkpoint(self._block, part, key_BSW, use_reentrant=False) for part in parts], 1)

    def _block(self, query_BTW: Tensor, key_BSW: Tensor) -> Tensor:
        scores: Tensor = self.energy(torch.tanh(query_BTW.unsqueeze(2) + key_BSW.unsqueeze(1)))
        return scores.squeeze(-1)
