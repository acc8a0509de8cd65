"""Recurrent layers over a sequence by torch's kernels, in every precision.

Under bf16 autocast torch's CPU kernels take 16-bit products and are faster than in fp32 where the CPU has such ones. In
fp16 on a CPU they are no use: a GRU takes many times the time of fp32, an LSTM is refused by oneDNN. On a CPU without
AVX-512 oneDNN refuses an LSTM in bf16 too. In both cases the operands are rounded to 16 bits and the layers computed by
the fp32 kernel, as attention is (llmtrain/nn/attention.py); the result is rounded, the state between two tokens is not.

Shapes: L layers, B rows, T tokens, W width. A state is (h_LBW,) of a GRU or (h_LBW, c_LBW) of an LSTM.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from llmtrain.nn.linear import half_on_cpu

State = tuple[Tensor, ...]


def recur(rnn: nn.GRU | nn.LSTM, x_BTI: Tensor, state: State) -> tuple[Tensor, State]:
    """Outputs (B, T, W) of the top layer, and the state behind the last token."""
    if (dtype := _without_kernel(rnn, x_BTI)) is not None:
        with torch.autocast("cpu", enabled=False):
            weights = [weight.to(dtype).float() for layer in rnn.all_weights for weight in layer]
            before = tuple(part.to(dtype).float() for part in state)
            output, state = _call(rnn, x_BTI.to(dtype).float(), before, weights)
        return output.to(dtype), state
    state = tuple(part.to(x_BTI.dtype) for part in state)
    if isinstance(rnn, nn.LSTM):
        return rnn(x_BTI, state)
    output, hidden = rnn(x_BTI, state[0])
    return output, (hidden,)


def _without_kernel(rnn: nn.GRU | nn.LSTM, x: Tensor) -> torch.dtype | None:
    """The 16-bit format that is asked for where no kernel of this device serves these layers in it."""
    if half_on_cpu(x):
        return torch.float16
    asked = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    if (x.device.type == "cpu" and asked is torch.bfloat16 and isinstance(rnn, nn.LSTM)
            and not _cpu_has_bf16()):
        return torch.bfloat16
    return None


@cache
def _cpu_has_bf16() -> bool:
    """Whether oneDNN serves bf16 on this CPU."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _call(rnn: nn.GRU | nn.LSTM, x: Tensor, state: State, weights: list[Tensor]) -> tuple[Tensor, State]:
    """The layers with other weights than their own."""
    how = (weights, True, rnn.num_layers, rnn.dropout, rnn.training, False, True)
    if isinstance(rnn, nn.LSTM):
        output, *after = torch.lstm(x, state, *how)
        return output, tuple(after)
    output, hidden = torch.gru(x, state[0], *how)
    return output, (hidden,)
