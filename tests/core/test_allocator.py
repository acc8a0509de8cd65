"""Kernels compiled for many shapes do not pile up in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from helpers import environment

SCRIPT = """
import torch
from llmtrain.config.choices import PrecisionName
from llmtrain.config.sections.precision import PrecisionConfig
from llmtrain.nn.precision import Precision

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * 4096 / 2**20

Precision(PrecisionConfig(name=PrecisionName.bf16), torch.device("cpu"))
first, second = torch.randn(64, 128, dtype=torch.bfloat16), torch.randn(128, 64, dtype=torch.bfloat16)
before = None
for width in range(200, 1200):
    torch.randn(width, 128, dtype=torch.bfloat16) @ first.T @ second.T
    if width == 400:
        before = resident()
print("grew", resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the resident set from Linux's /proc")
def test_many_widths_do_not_fill_the_memory_with_kernels() -> None:
    grew = {}
    for capacity in ("", "1024"):  # ours, and the libraries' own
        extra = {name: capacity for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY") if capacity}
        done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment(extra), capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, done.stderr
        grew[capacity] = float(done.stdout.split("grew")[1])
    if grew["1024"] < 50:
        pytest.skip("torch compiles no kernel per shape on this CPU")
    assert grew[""] < 0.3 * grew["1024"], grew
