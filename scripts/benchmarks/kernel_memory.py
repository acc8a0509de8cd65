"""Memory that compiled kernels hold after products of many widths, by format and cache size, in fresh processes.

    python scripts/benchmarks/kernel_memory.py
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import torch
from common import table
from torch.nn.functional import linear

from llmtrain.core.allocator import CACHES, KEPT_KERNELS

WIDTHS = range(500, 1900, 7)


def resident() -> float:
    """MiB of this process in memory once freed blocks are given back."""
    ctypes.CDLL(None).malloc_trim(0)
    return os.sysconf("SC_PAGE_SIZE") * int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) / 2**20


def grow(dtype: torch.dtype) -> float:
    """MiB by which forward and backward of a feed-forward block over ``WIDTHS`` raise the resident set."""
    torch.set_num_threads(1)
    up, down = (torch.randn(shape, dtype=dtype, requires_grad=True) for shape in ((1536, 384), (384, 1536)))
    before = resident()
    for width in WIDTHS:
        linear(linear(torch.randn(width, 384, dtype=dtype, requires_grad=True), up), down).sum().backward()
    return resident() - before


def main() -> None:
    if len(sys.argv) > 1:
        print(grow(getattr(torch, sys.argv[1])))
        return
    rows = []
    for dtype in ("float32", "bfloat16"):
        for kept in (1024, KEPT_KERNELS):
            environment = {**os.environ, **dict.fromkeys(CACHES, str(kept))}
            done = subprocess.run([sys.executable, __file__, dtype], env=environment, capture_output=True, text=True,
                                  check=True)
            rows.append([dtype, kept, f"{float(done.stdout):.0f}"])
    print(table(["format", "kernels kept", f"MiB more after {len(WIDTHS)} widths"], rows))


if __name__ == "__main__":
    main()
