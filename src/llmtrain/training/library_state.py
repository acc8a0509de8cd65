"""What a run changes in libraries for the whole process, given back to a notebook or server that goes on after it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def libraries_as_found() -> Iterator[None]:
    """Whatever a run sets inside, afterwards torch's settings, the generators' states and accelerate's idea of this
    process are what they were.

    accelerate keeps one precision and one device for a whole process, and refuses others: a run starts without those of
    the caller or of an earlier run. Among several processes they stay: their group is made once.
    """
    settings = torch.utils.deterministic
    before = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
              settings.fill_uninitialized_memory, torch.get_num_threads())  # type: ignore[attr-defined]
    generators = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        with _own_accelerate():
            yield
    finally:
        strict, warning, settings.fill_uninitialized_memory, threads = before  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(strict, warn_only=warning)
        torch.set_num_threads(threads)
        random.setstate(generators[0])
        np.random.set_state(generators[1])
        torch.set_rng_state(generators[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def _own_accelerate() -> Iterator[None]:
    from accelerate.state import AcceleratorState, GradientState, PartialState

    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or torch.distributed.is_initialized():
        yield
        return
    shared = [kind._shared_state for kind in (PartialState, AcceleratorState, GradientState)]
    before = [dict(state) for state in shared]
    try:
        for state in shared:
            state.clear()
        yield
    finally:
        for state, held in zip(shared, before, strict=True):
            state.clear()
            state.update(held)
