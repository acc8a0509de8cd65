"""Attention, and how to train it fast on a CPU.

torch's fused kernel is slow there in 16 bit: forward and backward of 32 rows of 88 tokens, 12 heads of 32, cost one
core 86 ms in bf16 and 158 ms in fp16, against 29 ms in fp32 and 16 ms for the batched bf16 products below (which leave
the matrix-product units less idle at small sizes). So on a CPU bf16 trains by those products, and fp16, whose batched
products are slower still, by the fused kernel in fp32. The products keep the probabilities (B, H, T, S) for the
backward pass; sequences for which that is much memory go to the fused kernel, which keeps none.

Shapes: B rows, H heads, T queries, S keys, K features of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from llmtrain.heads.dropout import dropout_factor

KEPT_BYTES = 256 << 20  # probabilities kept for one call; beyond it torch's kernel, which keeps none
CACHE_ELEMENTS = 1 << 19  # scores worked on at once, in fp32
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
    if query.device.type == "cpu" and torch.is_grad_enabled():
        if query.dtype == torch.float16:
            wide = F.scaled_dot_product_attention(query.float(), key.float(), value.float(), mask, dropout, causal)
            return wide.to(query.dtype)
        kept = query.shape[:3].numel() * key.shape[2] * query.element_size()
        if query.dtype == torch.bfloat16 and kept <= KEPT_BYTES:
            if causal:
                mask = torch.ones(1, 1, query.shape[2], query.shape[2], dtype=torch.bool).tril()
            result: Tensor = _Attention.apply(query, key, value, mask, dropout)  # type: ignore[no-untyped-call]
            return result
    return F.scaled_dot_product_attention(query, key, value, mask, dropout, causal)


class _Attention(torch.autograd.Function):
    """Scores in fp32, products in the dtype of the inputs."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
        shape = query.shape
        query, key, value = (x.reshape(-1, *x.shape[2:]) for x in (query, key, value))
        scale = query.shape[-1] ** -0.5
        scores = torch.bmm(query, key.transpose(1, 2))
        probabilities = _softmax(scores.view(*shape[:3], -1), mask, scale).flatten(0, 1)
        factor = dropout_factor(probabilities.shape, dropout, probabilities.dtype) if dropout > 0 else None
        ctx.save_for_backward(query, key, value, probabilities, factor)
        ctx.scale, ctx.shape = scale, shape
        if factor is not None:
            probabilities = probabilities * factor
        return torch.bmm(probabilities, value).view(shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, probabilities, factor = ctx.saved_tensors
        upstream = gradients[0].to(query.dtype).reshape(-1, *ctx.shape[2:])
        at_probabilities = torch.bmm(upstream, value.transpose(1, 2))
        used = probabilities
        if factor is not None:
            used = probabilities * factor
            at_probabilities.mul_(factor)
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
        wide = scores[part].to(torch.float32, copy=True).mul_(scale)
        if blocked is not None:
            wide = wide.add_(blocked if blocked.shape[0] == 1 else blocked[part])
        result[part].copy_(torch.softmax(wide, -1))
    return result
