"""A step of each task is the same in micro-batches and in processes, and so is what validation settles."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.training.test_loss_contract import TOLERANCE, free_port

from helpers import environment
from two_task_processes import CASES, step
from warm.libraries import python

SCRIPT = Path(__file__).resolve().parents[1] / "two_task_processes.py"


@pytest.fixture(scope="module")
def two(tiny_base_mlm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that two gloo processes wrote."""
    out, port = tmp_path_factory.mktemp("two"), str(free_port())
    started = [subprocess.Popen([python(), str(SCRIPT), str(tiny_base_mlm), str(out)], env=environment(
        {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
         "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, cwd=out) for rank in range(2)]
    told = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(told)[-3000:]
    return out


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
