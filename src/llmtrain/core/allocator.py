"""What a CPU process keeps in memory between steps: freed blocks, and compiled kernels.

Page faults of freshly mapped activation buffers cost a CPU training step about a quarter of its time; higher mmap and
trim thresholds of glibc avoid them. Anywhere but on glibc that does nothing.

oneDNN compiles a kernel for every shape of a 16-bit matrix product and, like torch above it, keeps the last 1024:
batches of many widths then hold hundreds of megabytes that a fixed width would not, about 0.5 MiB a shape. One step's
shapes recur within the step, so a much smaller cache serves it (docs/records/log.md has both figures).
"""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEEP_BYTES = 1 << 30
KEPT_KERNELS = 128  # a training step of one shape needs about 50
CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")  # oneDNN's own, and torch's around it


def keep_freed_memory() -> bool:
    """Raise the thresholds; returns whether the C library took them."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, KEEP_BYTES)) and bool(mallopt(M_TRIM_THRESHOLD, KEEP_BYTES))


def bound_kernel_caches() -> None:
    """Keep few compiled kernels, unless the user's environment says how many.

    Both libraries read it at their first product: too late after that.
    """
    for name in CACHES:
        os.environ.setdefault(name, str(KEPT_KERNELS))
