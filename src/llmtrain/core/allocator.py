"""What a CPU process keeps in memory between steps: freed blocks, and compiled kernels.

Page faults of freshly mapped activation buffers cost a CPU training step about a quarter of its time; higher mmap and
trim thresholds of glibc avoid them. Batches of many shapes then scatter what is freed: the heap of a run that needs
1.5 GB grew to 9 GB in 2,300 steps. So it is given back when it has grown to twice of what a step needs. Anywhere but on
glibc neither does anything.

oneDNN compiles a kernel for every shape of a 16-bit matrix product and, like torch above it, keeps the last 1024:
batches of many widths then hold hundreds of megabytes that a fixed width would not, about 0.5 MiB a shape. One step's
shapes recur within the step, so a much smaller cache serves it (docs/records/log.md has both figures).
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

STATM = Path("/proc/self/statm")  # much shorter than status, which names each of its numbers

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEEP_BYTES = 1 << 30
GROWN = 2  # times of what a step needs
SPARE = 256 << 20  # bytes that a small process may grow by
KEPT_KERNELS = 128  # a training step of one shape needs about 50
CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")  # oneDNN's own, and torch's around it


def keep_freed_memory() -> bool:
    """Raise the thresholds; returns whether the C library took them."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, KEEP_BYTES)) and bool(mallopt(M_TRIM_THRESHOLD, KEEP_BYTES))


class FreedMemory:
    """What the C library keeps of freed blocks, given back once it is much beside what a step needs."""

    def __init__(self) -> None:
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if STATM.exists() else None
        self._needed = 0  # the most bytes that were resident one step after all was given back
        self._measure = True  # the next look is at such a step; the first one counts as it

    def after_step(self) -> bool:
        """Look, and give it back if need be; returns whether it did."""
        if self._trim is None:
            return False
        now = int(STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        if self._measure:
            self._needed, self._measure = max(self._needed, now), False
        elif now > max(GROWN * self._needed, self._needed + SPARE):
            self._trim(0)
            self._measure = True
        return self._measure


def bound_kernel_caches() -> None:
    """Keep few compiled kernels, unless the user's environment says how many.

    Both libraries read it at their first product: too late after that.
    """
    for name in CACHES:
        os.environ.setdefault(name, str(KEPT_KERNELS))
