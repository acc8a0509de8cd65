"""fp16 matrix products on CPUs that have no fp16 arithmetic.

torch computes them there by a reference kernel: for 2816 x 384 x 1536 one core took 190 ms forward and 1490 ms
backward, where fp32 took 38 and 68 (docs/records/log.md). Here operands and results are rounded to fp16 and the
products are summed in fp32, which is what an fp16 matrix unit does: the same rounding, the same overflow to inf, fp16
activations in memory. CPUs with fp16 arithmetic, other formats and other devices use torch's own products.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D


@cache
def cpu_has_fp16() -> bool:
    """Whether this CPU multiplies fp16 matrices itself."""
    return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``, fast in fp16 on every CPU: (..., K), (M, K), (M,) -> (..., M)."""
    if _must_round(x):
        made: Tensor = _HalfLinear.apply(x, weight, bias)
        return made
    return F.linear(x, weight, bias)


def product(left: Tensor, right: Tensor) -> Tensor:
    """``torch.bmm``, fast in fp16 on every CPU: (B, N, K), (B, K, M) -> (B, N, M)."""
    if _must_round(left):
        made: Tensor = _HalfProduct.apply(left, right)
        return made
    return torch.bmm(left, right)


class Linear(nn.Linear):
    """``nn.Linear`` by :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class Transposed(Conv1D):
    """GPT-2's linear layer, whose weight is (inputs, outputs), by :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight.t(), self.bias)


def cheapen_linear(module: nn.Module) -> None:
    """Let every linear layer inside ``module`` compute by :func:`linear`; names and parameters stay."""
    for child in module.modules():
        if type(child) is nn.Linear:
            child.__class__ = Linear
        elif type(child) is Conv1D:
            child.__class__ = Transposed


def half_on_cpu(x: Tensor) -> bool:
    """Whether a product of ``x`` is to be fp16 on a CPU: by its own dtype, or autocast's where that is on."""
    if x.device.type != "cpu":
        return False
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.float16
    return x.dtype == torch.float16


def _must_round(x: Tensor) -> bool:
    return half_on_cpu(x) and not cpu_has_fp16()


def _half(x: Tensor) -> Tensor:
    return x.detach().to(torch.float16)


class _HalfLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.dtypes = x.dtype, weight.dtype, None if bias is None else bias.dtype
        x, weight = _half(x), _half(weight)
        ctx.save_for_backward(x, weight)
        with torch.autocast("cpu", enabled=False):
            return F.linear(x.float(), weight.float(), None if bias is None else _half(bias).float()).half()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        upstream = _half(gradients[0]).float().flatten(0, -2)
        at_x = at_weight = at_bias = None
        with torch.autocast("cpu", enabled=False):
            if ctx.needs_input_grad[0]:
                at_x = (upstream @ weight.float()).half().view(x.shape).to(ctx.dtypes[0])
            if ctx.needs_input_grad[1]:
                at_weight = (upstream.T @ x.float().flatten(0, -2)).half().to(ctx.dtypes[1])
            if ctx.needs_input_grad[2]:
                at_bias = upstream.sum(0).half().to(ctx.dtypes[2])
        return at_x, at_weight, at_bias


class _HalfProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.dtypes = left.dtype, right.dtype
        left, right = _half(left), _half(right)
        ctx.save_for_backward(left, right)
        with torch.autocast("cpu", enabled=False):
            return torch.bmm(left.float(), right.float()).half()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        left, right = ctx.saved_tensors
        upstream = _half(gradients[0]).float()
        at_left = at_right = None
        with torch.autocast("cpu", enabled=False):
            if ctx.needs_input_grad[0]:
                at_left = torch.bmm(upstream, right.float().transpose(1, 2)).half().to(ctx.dtypes[0])
            if ctx.needs_input_grad[1]:
                at_right = torch.bmm(left.float().transpose(1, 2), upstream).half().to(ctx.dtypes[1])
        return at_left, at_right
