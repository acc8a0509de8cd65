"""Forward and backward time of the parts a CPU step is made of, against torch's own, interleaved, medians.

    python scripts/benchmarks/step_parts.py --rounds 15
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from common import table
from torch import Tensor
from torch.nn import functional as F

from llmtrain.nn import linear
from llmtrain.nn.attention import attend
from llmtrain.nn.dropout import Dropout

ROWS, HEADS, WIDTH = 32, 12, 32


def timed(call: Callable[..., Tensor], inputs: list[Tensor]) -> float:
    """Milliseconds of one forward and backward pass."""
    start = time.perf_counter()
    made = call(*inputs)
    made.backward(torch.ones_like(made))
    return 1e3 * (time.perf_counter() - start)


def compare(candidates: dict[str, Callable[..., Tensor]], inputs: list[Tensor], rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 2):  # the first two set up kernels and are not counted
        for name, call in candidates.items():
            taken = timed(call, inputs)
            if number > 1:
                times[name].append(taken)
    return {name: statistics.median(values) for name, values in times.items()}


def fused_fp32(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query.float(), key.float(), value.float()).to(query.dtype)


def attention(tokens: int, dtype: torch.dtype, rounds: int) -> dict[str, float]:
    inputs = [torch.randn(ROWS, tokens, HEADS, WIDTH, dtype=dtype).transpose(1, 2).detach().requires_grad_()
              for _ in range(3)]
    return compare({"ours": attend, "torch, fused": F.scaled_dot_product_attention, "torch, cast to fp32": fused_fp32},
                   inputs, rounds)


def products(dtype: torch.dtype, rounds: int) -> dict[str, float]:
    inputs = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in ((2816, 384), (1536, 384))]
    return compare({"ours": linear.linear, "torch": F.linear}, inputs, rounds)


def dropout(rounds: int) -> dict[str, float]:
    inputs = [torch.randn(1024, 1024, dtype=torch.bfloat16, requires_grad=True)]
    return compare({"ours": Dropout(0.1).train(), "torch": lambda x: F.dropout(x, 0.1, True)}, inputs, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    found = {f"attention, {tokens} tokens, bf16": attention(tokens, torch.bfloat16, rounds)
             for tokens in (32, 64, 128, 192)}
    found["2816 x 384 x 1536, bf16"] = products(torch.bfloat16, rounds)
    found["2816 x 384 x 1536, fp16"] = products(torch.float16, max(1, rounds // 5))
    found["dropout of a million elements, bf16"] = dropout(rounds)
    print(f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}; milliseconds, medians")
    print(table(["part", "each"], [[part, ", ".join(f"{name} {value:.1f}" for name, value in times.items())]
                                   for part, times in found.items()]))


if __name__ == "__main__":
    main()
