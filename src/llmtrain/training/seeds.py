"""Everything that makes a run repeatable: the seeds of all generators, and torch's settings."""

from __future__ import annotations

import os
import random
from importlib import import_module

import numpy as np
import torch

from llmtrain.config.schema import TrainConfig
from llmtrain.core.allocator import keep_freed_memory


def make_deterministic(config: TrainConfig) -> None:
    """Seed every generator and ask torch for repeatable algorithms, on the CPU too."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    import_module("rich.console")  # draws from Python's generator the first time: now, before it is seeded
    keep_freed_memory()
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    torch.use_deterministic_algorithms(config.trainer.deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    seed_everything(config.run.seed)


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def seed_process(seed: int, process: int) -> None:
    """The same with a seed of this process's own: its dropout differs from the others'."""
    seed_everything(seed * 1_000_003 + process)
