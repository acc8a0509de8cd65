"""Dropout whose random numbers are cheap on a CPU.

torch draws one Bernoulli number an element there, which cost a small training step about a sixth of its time; here
one 64-bit random integer serves four elements, so the probability is a multiple of 2^-16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 1 << 16


def dropout_factor(shape: Sequence[int], probability: float, dtype: torch.dtype) -> Tensor:
    """A CPU tensor of 0 (with ``probability``, to within 2^-16) and 1 / (1 - probability).

    It draws from torch's global generator.

    Args:
        probability: More than 0 and less than 1; what is nearer to them than 2^-16 counts as that.
    """
    count = math.prod(shape)
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    lowest_kept = min(max(round(probability * LEVELS), 1), LEVELS - 1) - LEVELS // 2
    draws = words.view(torch.int16)[:count].view(tuple(shape))
    kept = draws.clamp_(lowest_kept - 1, lowest_kept).sub_(lowest_kept - 1)  # 0 or 1; a comparison is slower
    return kept.to(dtype).mul_(1.0 / (1.0 - probability))


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, probability: float) -> Tensor:
        factor = dropout_factor(x.shape, probability, x.dtype)
        ctx.save_for_backward(factor)
        return x * factor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return gradients[0] * factor, None


class Dropout(nn.Dropout):
    """``nn.Dropout`` with cheap draws on the CPU; torch's own elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu" or self.p >= 1.0:
            return F.dropout(x, self.p, self.training)
        result: Tensor = _Dropout.apply(x, self.p)  # type: ignore[no-untyped-call]
        return result


def cheapen_dropout(module: nn.Module) -> None:
    """Replace every ``nn.Dropout`` inside ``module`` by :class:`Dropout`; no parameter changes."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p))
