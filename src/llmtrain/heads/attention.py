"""Attention for training on a CPU.

The backward pass of torch's fused CPU attention is slow in 16 bit: for 32 rows of 88 tokens and 12 heads it took
43 ms where the batched products below took 4. The probabilities (B, H, T, S) are kept for the backward pass, so long
sequences, and every other device, go to torch's own kernel.

Shapes: B rows, H heads, T queries, S keys, K features of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from llmtrain.heads.dropout import random_keep

KEPT_BYTES = 192 << 20  # probabilities kept for one call; beyond it torch's kernel, which keeps none
CACHE_ELEMENTS = 1 << 21  # scores worked on at once, in fp32
NEVER = -1e30  # added to scores that may not be looked at; finite, so that a fully masked row gives no NaN


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, causal: bool = False,
           dropout: float = 0.0) -> Tensor:
    """softmax(query key' / sqrt(K)) value.

    Args:
        query: (B, H, T, K).
        key: (B, H, S, K); so is ``value``.
        mask: Broadcasts to (B, 1, T, S), True where a query may look.
        causal: A query sees keys up to its own place; T must equal S, and there must be no mask.
        dropout: Share of probabilities set to zero.

    Returns:
        (B, H, T, K).
    """
    rows, heads, queries, _ = query.shape
    kept = rows * heads * queries * key.shape[2] * query.element_size()
    if query.device.type != "cpu" or kept > KEPT_BYTES or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(query, key, value, mask, dropout, is_causal=causal)
    if causal:
        mask = torch.ones(1, 1, queries, queries, dtype=torch.bool).tril()
    result: Tensor = _Attention.apply(query, key, value, mask, dropout)  # type: ignore[no-untyped-call]
    return result


class _Attention(torch.autograd.Function):
    """Scores in fp32, products in the dtype of the inputs."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
        shape = query.shape
        query, key, value = (x.reshape(-1, *x.shape[2:]) for x in (query, key, value))
        scale = query.shape[-1] ** -0.5
        scores = torch.bmm(query, key.transpose(1, 2))
        probabilities = _softmax(scores.view(*shape[:3], -1), mask, scale).flatten(0, 1)
        keep = random_keep(probabilities.shape, dropout) if dropout > 0 else None
        ctx.save_for_backward(query, key, value, probabilities, keep)
        ctx.scale, ctx.dropped, ctx.shape = scale, 1.0 / (1.0 - dropout), shape
        if keep is not None:
            probabilities = (probabilities * keep).mul_(ctx.dropped)
        return torch.bmm(probabilities, value).view(shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, probabilities, keep = ctx.saved_tensors
        upstream = gradients[0].to(query.dtype).reshape(-1, *ctx.shape[2:])
        at_probabilities = torch.bmm(upstream, value.transpose(1, 2))
        used = probabilities
        if keep is not None:
            used = (probabilities * keep).mul_(ctx.dropped)
            at_probabilities.mul_(keep).mul_(ctx.dropped)
        at_value = torch.bmm(used.transpose(1, 2), upstream)
        at_scores = torch._softmax_backward_data(at_probabilities, probabilities, -1, probabilities.dtype)
        at_query = torch.bmm(at_scores, key).mul_(ctx.scale)
        at_key = torch.bmm(at_scores.transpose(1, 2), query).mul_(ctx.scale)
        split = (ctx.shape[0], -1)
        return at_query.unflatten(0, split), at_key.unflatten(0, split), at_value.unflatten(0, split), None, None


def _softmax(scores: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Softmax over the last dimension in fp32, a few rows at a time so that the fp32 copy stays in the cache."""
    result = scores  # overwritten chunk by chunk
    blocked = None if mask is None else torch.zeros(mask.shape).masked_fill_(~mask, NEVER)
    rows = max(1, CACHE_ELEMENTS // max(1, scores[0].numel()))
    for start in range(0, scores.shape[0], rows):
        part = slice(start, start + rows)
        wide = scores[part].float().mul_(scale) if scores.dtype != torch.float32 else scores[part].mul_(scale)
        if blocked is not None:
            wide = wide.add_(blocked if blocked.shape[0] == 1 else blocked[part])
        result[part].copy_(torch.softmax(wide, -1))
    return result
