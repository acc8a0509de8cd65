"""Training steps on CUDA in 16 bit; skipped, with the reason, where there is no such device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from running import Runs, copies, take


@pytest.fixture
def runs(tiny_base: Path, tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tiny_base, tmp_path)
    yield made
    made.close()


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "dtype"), [("bf16", "bfloat16"), ("fp16", "float16"), ("fp32", "float32")])
@pytest.mark.parametrize("base", ["select", "mlm"])
def test_steps_on_cuda(precision: str, dtype: str, base: str, runs: Runs) -> None:
    run = runs(f"precision={precision}", "trainer.device=cuda", f"objective.base={base}", "trainer.accumulate=2",
               "precision.init_scale=1024", "model.dropout=0.1", "optim.ema_decay=0.5")
    before = copies(run)
    results = take(run, 3)
    assert run.precision.effective == dtype
    assert run.precision.scaler.is_enabled() is (precision == "fp16")
    assert not any(result.skipped for result in results)
    assert all(p.is_cuda and p.dtype == torch.float32 for p in run.model.module.parameters())
    assert all(value > 0 for result in results for value in result.losses.values())
    assert any(not torch.equal(before[name], value) for name, value in copies(run).items())


@pytest.mark.gpu
def test_an_overflow_on_cuda_moves_nothing(runs: Runs) -> None:
    run = runs("precision=fp16", "trainer.device=cuda", "precision.init_scale=1024")
    take(run)
    before = copies(run)
    handle = run.model.task_model.head.transform.weight.register_hook(lambda gradient: gradient * float("inf"))
    (result,) = take(run)
    handle.remove()
    assert result.skipped and run.state.progress.updates == 1
    assert run.precision.scaler.get_scale() == 512
    assert all(torch.equal(before[name], value) for name, value in copies(run).items())
