"""A step of each task is the same in micro-batches and in processes, and so is what validation settles."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from two_ranks import TOLERANCE, run_two_ranks
from two_task_processes import CASES, step


@pytest.fixture(scope="module")
def two(tiny_base_mlm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that two gloo processes wrote."""
    return run_two_ranks("two_task_processes.py", tiny_base_mlm, tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_the_same_in_micro_batches_and_processes(name: str, tiny_base_mlm: Path, two: Path,
                                                           tmp_path: Path) -> None:
    """8 rows, or windows, x 1 = 4 x 2 accumulated = 2 processes x 4."""
    whole = step(name, tiny_base_mlm, tmp_path, ())
    assert bool((whole["losses"] > 0).all())
    others = {"accumulated": step(name, tiny_base_mlm, tmp_path, ("trainer.accumulate=2", "trainer.processes=1"))}
    others |= {f"rank {rank}": load_file(two / f"{name}-{rank}.safetensors") for rank in (0, 1)}
    for how, parts in others.items():
        assert parts.keys() == whole.keys(), how
        for key in whole:
            assert torch.allclose(whole[key], parts[key], **TOLERANCE), (how, key)
