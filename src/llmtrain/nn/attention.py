"""Scaled dot-product attention, by the fastest correct way on each device.

torch's fused CPU kernel misses oneDNN's 16-bit products: forward and backward of 32 rows of 88 tokens, 12 heads of
32, took one core 86 ms in bf16 and 158 ms in fp16, against 29 ms in fp32 and 16 ms for the batched bf16 products
below (docs/records/log.md). So on a CPU bf16 trains by those products, fp16 (whose batched products are slower still)
by the fused kernel in fp32; the projections around it, which are most of the work, stay 16-bit. The products keep the
probabilities (B, H, T, S) for the backward pass; where that is much memory the fused kernel, which keeps none, is used.

Shapes: B rows, H heads, T queries, S keys, K width of a head.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from llmtrain.nn.dropout import dropout_factor

NAME = "llmtrain"  # how a trunk's configuration names this attention
KEPT_BYTES = 256 << 20  # probabilities kept for one call
CACHE_ELEMENTS = 1 << 19  # scores worked on at once in fp32: they stay in the cache
NEVER = -1e30  # the score of what may not be chosen; finite, so that a fully masked row has no NaN, nor its gradient


def tracing() -> bool:
    """Whether a graph is being made of what runs now: it can hold no branch that a tensor's values decide."""
    return torch.compiler.is_exporting() or torch.compiler.is_compiling()


def hiding(mask: Tensor) -> Tensor | None:
    """The mask, or None where it hides nothing: attention without one is faster. A graph that is traced keeps it."""
    return None if not tracing() and bool(mask.all()) else mask


def attend(query_BHTK: Tensor, key_BHSK: Tensor, value_BHSK: Tensor, mask: Tensor | None = None,
           causal: bool = False, dropout: float = 0.0, scale: float | None = None) -> Tensor:
    """softmax(scale query key') value; scale is 1 / sqrt(K) by default.

    Args:
        mask: Broadcasts to (B, 1, T, S): True where attention may look, or fp32 numbers added to the scores, which
            may have a gradient.
        causal: A query sees the keys up to its own place; then T is S and there is no mask.
        dropout: Share of the probabilities that are set to zero.

    Returns:
        (B, H, T, K) in the dtype of the query.
    """
    dtype = query_BHTK.dtype
    if query_BHTK.device.type == "cpu" and dtype in (torch.bfloat16, torch.float16):
        if kept_probabilities((*query_BHTK.shape[:3], key_BHSK.shape[2]), dtype, "cpu"):
            scale = query_BHTK.shape[-1] ** -0.5 if scale is None else scale
            if causal:
                mask = torch.ones(1, 1, query_BHTK.shape[2], key_BHSK.shape[2], dtype=torch.bool).tril()
            made: Tensor = _Products.apply(query_BHTK, key_BHSK, value_BHSK, mask, dropout, scale)
            return made
        with torch.autocast("cpu", enabled=False), _kept_as(dtype):
            return F.scaled_dot_product_attention(query_BHTK.float(), key_BHSK.float(), value_BHSK.float(), mask,
                                                  dropout, causal, scale=scale).to(dtype)
    if mask is not None and mask.is_floating_point():
        mask = mask.to(dtype)
    return F.scaled_dot_product_attention(query_BHTK, key_BHSK, value_BHSK, mask, dropout, causal, scale=scale)


def kept_probabilities(shape_BHTS: tuple[int, ...], dtype: torch.dtype, device: str) -> int:
    """Bytes of probabilities that one call of :func:`attend` keeps for its backward pass; 0 where it keeps none."""
    size = prod(shape_BHTS) * dtype.itemsize
    return size if device == "cpu" and dtype == torch.bfloat16 and size <= KEPT_BYTES else 0


def _kept_as(dtype: torch.dtype) -> AbstractContextManager[object]:
    """Keep an fp32 kernel's operands and result for its backward pass in ``dtype``, from which they came.

    For the operands nothing is lost; the result is rounded as its reader sees it. Row norms (B, H, T) stay fp32.
    """
    def pack(kept: Tensor) -> Tensor:
        return kept.to(dtype) if kept.dtype == torch.float32 and kept.dim() == 4 else kept

    def unpack(kept: Tensor) -> Tensor:
        return kept.float() if kept.dtype == dtype else kept

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


class _Products(torch.autograd.Function):
    """Attention by batched products in the dtype of the inputs, with the softmax in fp32."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float,
                scale: float) -> Tensor:
        shape = query.shape
        query, key, value = (x.reshape(-1, *x.shape[2:]) for x in (query, key, value))
        scores = torch.bmm(query, key.transpose(1, 2)).unflatten(0, shape[:2])
        probabilities = _softmax_(scores, mask, scale).flatten(0, 1)
        factor = dropout_factor(probabilities.shape, dropout, probabilities.dtype) if dropout > 0 else None
        ctx.save_for_backward(query, key, value, probabilities, factor)
        ctx.scale, ctx.rows = scale, shape[:2]
        ctx.mask_shape = mask.shape if mask is not None and mask.requires_grad else None
        return torch.bmm(probabilities if factor is None else probabilities * factor, value).unflatten(0, shape[:2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, probabilities, factor = ctx.saved_tensors
        upstream = gradients[0].to(query.dtype).flatten(0, 1)
        at_probabilities = torch.bmm(upstream, value.transpose(1, 2))
        used = probabilities
        if factor is not None:
            used = probabilities * factor
            at_probabilities.mul_(factor)
        at_value = torch.bmm(used.transpose(1, 2), upstream)
        at_scores = torch._softmax_backward_data(at_probabilities, probabilities, -1, probabilities.dtype)
        at_query = torch.bmm(at_scores, key).mul_(ctx.scale)
        at_key = torch.bmm(at_scores.transpose(1, 2), query).mul_(ctx.scale)
        at_mask = None
        if ctx.mask_shape is not None:
            at_mask = at_scores.unflatten(0, ctx.rows).float().sum_to_size(ctx.mask_shape)
        return (at_query.unflatten(0, ctx.rows), at_key.unflatten(0, ctx.rows), at_value.unflatten(0, ctx.rows),
                at_mask, None, None)


def _softmax_(scores_BHTS: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Overwrite scores by softmax(scale * scores), computed in fp32, a few rows at a time."""
    hidden = mask if mask is None or mask.is_floating_point() else torch.zeros(mask.shape).masked_fill_(~mask, NEVER)
    rows = max(1, CACHE_ELEMENTS // max(1, scores_BHTS[0].numel()))
    for start in range(0, len(scores_BHTS), rows):
        part = scores_BHTS[start:start + rows]
        wide = part.float().mul_(scale)
        if hidden is not None:
            wide.add_(hidden if len(hidden) == 1 else hidden[start:start + rows])
        part.copy_(torch.softmax(wide, -1))
    return scores_BHTS


def trunk_attention(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
                    dropout: float = 0.0, scaling: float | None = None, is_causal: bool | None = None,
                    **_: Any) -> tuple[Tensor, None]:
    """:func:`attend` in the form transformers' models call; returns (B, T, H, K).

    Key and value may have fewer heads than the query, each for several of its heads. Without a mask a decoder's layers
    (``module.is_causal``) still see only what stands before.
    """
    if torch.is_autocast_enabled(query.device.type):  # rotary positions are applied in fp32, to query and key alone
        query, key, value = (x.to(torch.get_autocast_dtype(query.device.type)) for x in (query, key, value))
    if (shared := query.shape[1] // key.shape[1]) > 1:
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    causal = is_causal if is_causal is not None else bool(getattr(module, "is_causal", False))
    attended = attend(query, key, value, attention_mask, causal and attention_mask is None and query.shape[2] > 1,
                      dropout if module.training else 0.0, scaling)
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, trunk_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
