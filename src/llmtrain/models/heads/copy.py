"""Negative log-likelihood of gold tokens, from the vocabulary alone or mixed with a pointer over the source.

The mixture (See, Liu and Manning 2017, "Get To The Point") gives a gold token

    log p = logaddexp(log(1 - g) + log p_vocabulary(gold),  log g + log sum of attention at the gold's source places)

in fp32: an fp16 softmax would underflow to log 0. Shapes: N gold tokens, S source tokens, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from llmtrain.nn.attention import NEVER, tracing


class GoldLogProbability(torch.autograd.Function):
    """log softmax(logits)[gold] per row, computed in fp32 without an fp32 copy of all logits.

    ``F.log_softmax`` of 16-bit logits would round its result to 16 bits on the CPU; a whole upcast copy doubles the
    memory and leaves the cache. A few rows at a time are upcast instead, in both passes.
    """

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, gold_N: Tensor) -> Tensor:
        log_norm_N = logits_NV.new_empty(len(logits_NV), dtype=wide_dtype(logits_NV))
        for rows in _blocks(logits_NV):
            wide = logits_NV[rows].to(log_norm_N.dtype)
            log_norm_N[rows] = wide[:, 0] - torch.log_softmax(wide, 1)[:, 0]  # faster than logsumexp on a CPU
        ctx.save_for_backward(logits_NV, gold_N, log_norm_N)
        return logits_NV.gather(1, gold_N.unsqueeze(1)).squeeze(1).to(log_norm_N.dtype) - log_norm_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        logits_NV, gold_N, log_norm_N = ctx.saved_tensors
        down_N1 = gradients[0].unsqueeze(1)
        grad_NV = torch.empty_like(logits_NV)
        for rows in _blocks(logits_NV):
            probability = logits_NV[rows].to(log_norm_N.dtype, copy=True).sub_(log_norm_N[rows].unsqueeze(1)).exp_()
            grad = probability.mul_(-down_N1[rows])
            gold = gold_N[rows].unsqueeze(1)
            grad_NV[rows] = grad.scatter_(1, gold, grad.gather(1, gold) + down_N1[rows])
        return grad_NV, None


def wide_dtype(tensor: Tensor) -> torch.dtype:
    """fp32, or fp64 for what is that already."""
    return torch.promote_types(tensor.dtype, torch.float32)


def _blocks(logits_NV: Tensor) -> list[slice]:
    """Rows worked on at once: 16 on a CPU, where an upcast block must fit the cache; all of them elsewhere."""
    size = 16 if logits_NV.device.type == "cpu" else max(1, len(logits_NV))
    return [slice(start, start + size) for start in range(0, len(logits_NV), size)]


def gold_log_probability(logits_NV: Tensor, gold_N: Tensor) -> Tensor:
    """(N,) fp32 log-probabilities of the gold tokens under the vocabulary alone."""
    if tracing():  # its blocks are a loop over N
        log_NV = torch.log_softmax(logits_NV.to(wide_dtype(logits_NV)), 1)
        return log_NV.gather(1, gold_N.unsqueeze(1)).squeeze(1)
    result: Tensor = GoldLogProbability.apply(logits_NV, gold_N)  # type: ignore[no-untyped-call]
    return result


def mix_gold(vocabulary_N: Tensor, gate_N: Tensor, scores_NS: Tensor, source_NS: Tensor, gold_N: Tensor) -> Tensor:
    """(N,) fp32 log-probabilities of the gold tokens under the mixture.

    Args:
        vocabulary_N: Their log-probabilities under the vocabulary.
        gate_N: Logits of g, the probability of copying.
        scores_NS: Pointer logits, already ``NEVER`` at padding.
        source_NS: Source token ids, less than 0 for one that copies nothing, whose score is ``NEVER``.
    """
    matches_NS = source_NS == gold_N.unsqueeze(1)
    pointed_N = torch.logsumexp(scores_NS.masked_fill(~matches_NS, NEVER), 1) - torch.logsumexp(scores_NS, 1)
    return torch.logaddexp(F.logsigmoid(-gate_N) + vocabulary_N, F.logsigmoid(gate_N) + pointed_N)


def mix_all(logits_NV: Tensor, gate_N: Tensor, scores_NS: Tensor, source_NS: Tensor) -> Tensor:
    """(N, V) fp32 log-probabilities of every token under the mixture."""
    copy_N1 = torch.sigmoid(gate_N).unsqueeze(1)
    vocabulary_NV = torch.softmax(logits_NV.float(), 1) * (1 - copy_N1)
    place_NS = source_NS.clamp_min(0)  # what copies nothing has no share
    mixed_NV = vocabulary_NV.scatter_add(1, place_NS, torch.softmax(scores_NS, 1) * copy_N1)
    return mixed_NV.clamp_min(torch.finfo(torch.float32).tiny).log()


def smoothed(gold_N: Tensor, all_NV: Tensor | None, smoothing: float) -> Tensor:
    """(N,) losses: (1 - e) * -log p(gold) + e * mean over the vocabulary of -log p (Szegedy et al. 2016)."""
    if smoothing == 0.0 or all_NV is None:
        return -gold_N
    return -(1 - smoothing) * gold_N - smoothing * all_NV.mean(1)
