"""Scaled dot-product attention, by the fastest correct way on each device.

torch's fused CPU kernel is two to four times as slow in 16 bits as in fp32 on CPUs without matrix units (its inner
products miss oneDNN), so 16-bit queries, keys and values are attended to in fp32 there; the projections around it,
which are most of the work, stay 16-bit (docs/log.md).

Shapes: B rows, H heads, T queries, S keys, K width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

NAME = "llmtrain"  # how a trunk's configuration names this attention


def attend(query_BHTK: Tensor, key_BHSK: Tensor, value_BHSK: Tensor, mask: Tensor | None = None,
           causal: bool = False, dropout: float = 0.0, scale: float | None = None) -> Tensor:
    """(B, H, T, K) attention output; ``mask`` broadcasts to (B, H, T, S), True where attention may look."""
    dtype = query_BHTK.dtype
    if query_BHTK.device.type == "cpu" and dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(query_BHTK.float(), key_BHSK.float(), value_BHSK.float(), mask,
                                                  dropout, causal, scale=scale).to(dtype)
    return F.scaled_dot_product_attention(query_BHTK, key_BHSK, value_BHSK, mask, dropout, causal, scale=scale)


def trunk_attention(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
                    dropout: float = 0.0, scaling: float | None = None, **_: Any) -> tuple[Tensor, None]:
    """:func:`attend` in the form transformers' models call; returns (B, T, H, K)."""
    attended = attend(query, key, value, attention_mask, dropout=dropout if module.training else 0.0, scale=scaling)
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, trunk_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
