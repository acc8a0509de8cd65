"""Neither kernels compiled for many shapes nor freed blocks pile up in memory."""

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


FREED = """
import ctypes
from llmtrain.core.allocator import FreedMemory, keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
freed = FreedMemory()
start, told = resident(), [freed.after_step()]
for turn in range(2):
    blocks = []
    for _ in range(400):  # a small block that stays lies behind each large one, as in a run of many shapes
        blocks.append(libc.malloc(1 << 20))
        libc.memset(ctypes.c_void_p(blocks[-1]), 1, 1 << 20)
        libc.malloc(64)
    for block in blocks:
        libc.free(ctypes.c_void_p(block))
    before = resident()
    told += [freed.after_step(), freed.after_step()]
    print("turn", before - start, resident() - start)
print(told)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
def test_freed_blocks_are_given_back_once_they_are_much() -> None:
    done = subprocess.run([sys.executable, "-c", FREED], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for line in lines[:2]:
        before, after = map(float, line.split()[1:])
        assert before > 380 and after < 20, done.stdout
    assert lines[2] == "[False, True, False, True, False]"
