"""One optimizer step: real dtypes, the scaler, skips, clipping, frozen parameters, averages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import pairs, write_jsonl
from llmtrain.config.load import compose, to_typed
from llmtrain.config.schema import ScheduleConfig, ScheduleName
from llmtrain.model.base import layers
from llmtrain.optim import Schedule
from llmtrain.training.runfolder import RunFolder
from llmtrain.training.setup import Training, build, start_accelerator


@pytest.fixture
def make(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(tmp_path)
    train = write_jsonl(tmp_path / "train.jsonl", pairs(40))
    folders = []

    def made(*overrides: str) -> Training:
        config = to_typed("train", compose("train", [
            f"model.path={tiny_base}", "head.layers=1", "data=files", f"data.train={train}", "trainer.max_steps=8",
            f"data.cache_dir={tmp_path / 'cache'}", "trainer.batch_size=8", "schedule.warmup_steps=1",
            "model.dropout=0", "head.dropout=0", f"run.name=r{len(folders)}", *overrides]))
        folder = RunFolder.claim(config)  # type: ignore[arg-type]
        folders.append(folder)
        accelerator = start_accelerator(config, None)  # type: ignore[arg-type]
        run = build(config, folder, accelerator, None)  # type: ignore[arg-type]
        run.module.train()
        return run

    yield made
    for folder in folders:
        folder.abandon()
        folder.release()
    torch.use_deterministic_algorithms(False)


def take(run: Training, steps: int = 1) -> list[Any]:
    results = []
    for batch in run.loader.iterate(run.progress.step):
        if len(results) == steps:
            break
        agreed = run.step.agree(batch.micro, 0.0, 0, False)
        results.append(run.step(batch.micro, agreed, run.progress.step, run.progress.updates))
        run.progress.step += 1
        run.progress.skipped += results[-1].skipped
    return results


def copies(run: Training) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in run.module.named_parameters()}


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("fp16", torch.float16),
                                                  ("bf16", torch.bfloat16)])
def test_the_trunk_really_computes_in_the_named_format(precision: str, dtype: torch.dtype, make: Any) -> None:
    run = make(f"precision={precision}")
    seen = set()
    for layer in layers(run.model.trunk):
        for module in layer.modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_hook(lambda _m, _i, output: seen.add(output.dtype))
    take(run)
    assert seen == {dtype}
    assert run.precision.effective == str(dtype).removeprefix("torch.")
    assert run.precision.scaler.is_enabled() is (precision == "fp16")
    assert all(p.dtype == torch.float32 for p in run.module.parameters())
    for state in run.optimizer.state.values():
        assert all(value.dtype == torch.float32 for value in state.values())


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 0.02), ("bf16", 0.08)])
def test_accumulated_clipped_gradients_are_fp32s_within_the_formats_error(precision: str, tolerance: float,
                                                                          make: Any) -> None:
    found = []
    for name in ("fp32", precision):
        run = make(f"precision={name}", "trainer.accumulate=2", "optim.base_lr=0", "optim.head_lr=0",
                   "optim.weight_decay=0", "optim.clip_norm=0.1")
        take(run)
        found.append(torch.cat([p.grad.flatten() for p in run.module.parameters() if p.grad is not None]))
    assert float(found[0].norm()) == pytest.approx(0.1, rel=1e-3)
    assert float((found[0] - found[1]).norm() / found[0].norm()) < tolerance


def test_an_overflow_skips_every_parameter_and_the_schedule(make: Any) -> None:
    run = make("precision=fp16", "optim.ema_decay=0.5")
    take(run, 2)
    before, average = copies(run), {k: v.clone() for k, v in run.average.average.items()}
    scale, rate = run.precision.scaler.get_scale(), run.optimizer.param_groups[0]["lr"]
    parameter = run.model.head.transform.weight
    handle = parameter.register_hook(lambda gradient: gradient * float("inf"))
    (result,) = take(run)
    handle.remove()
    assert result.skipped
    assert run.progress.skipped == 1
    assert run.progress.updates == 2
    assert all(torch.equal(before[name], value) for name, value in copies(run).items())
    assert all(torch.equal(average[name], value) for name, value in run.average.average.items())
    assert run.precision.scaler.get_scale() == scale / 2
    (result,) = take(run)
    assert not result.skipped
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(run.optimizer.param_groups[0]["peak"] * (8 - 2) / 7)
    assert rate > run.optimizer.param_groups[0]["lr"]
    assert not torch.equal(before["model.head.transform.weight"], parameter)


def test_frozen_layers_stay_and_withheld_ones_move_later(make: Any) -> None:
    run = make("model.freeze=1")
    before = copies(run)
    take(run, 2)
    moved = {name for name, value in copies(run).items() if not torch.equal(before[name], value)}
    assert not any(name.startswith(("model.trunk.embeddings", "model.trunk.encoder.layer.0")) for name in moved)
    assert any(name.startswith("model.trunk.encoder.layer.1") for name in moved)
    run = make("model.freeze_until_step=2")
    before = copies(run)
    take(run, 2)
    trunk = [name for name in before if name.startswith("model.trunk.")]
    assert all(torch.equal(before[name], copies(run)[name]) for name in trunk)
    assert all(p.requires_grad for p in run.model.trunk.parameters())  # DDP's reducer still waits for them
    take(run)
    assert any(not torch.equal(before[name], copies(run)[name]) for name in trunk)


def test_gradient_checkpointing_changes_no_gradient(make: Any) -> None:
    found = []
    for flag in ("false", "true"):
        run = make(f"model.gradient_checkpointing={flag}")
        take(run, 2)
        found.append(copies(run))
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-6) for name in found[0])


def test_the_average_follows(make: Any) -> None:
    run = make("optim.ema_decay=0.5")
    start = copies(run)
    take(run)
    live = copies(run)
    for name, value in run.average.average.items():
        assert torch.allclose(value, 0.5 * start[name] + 0.5 * live[name], atol=1e-7)


def test_schedules() -> None:
    def rates(name: ScheduleName, **values: Any) -> list[float]:
        one = Schedule(ScheduleConfig(name=name, warmup_steps=2, **values), 10)
        return [one.factor(step, "head") for step in range(11)]

    linear = rates(ScheduleName.linear)
    assert linear[:3] == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0]
    assert linear[6] == 0.5
    assert linear[10] == 0.0
    assert rates(ScheduleName.cosine)[6] == pytest.approx(0.5)
    held = rates(ScheduleName.constant_cooldown, cooldown_steps=4)
    assert held[2:7] == [1.0] * 5
    assert held[8] == 0.5
    assert rates(ScheduleName.inverse_sqrt)[8] == 0.5
    base = Schedule(ScheduleConfig(warmup_steps=2, base_warmup_steps=8), 10)
    assert base.factor(2, "base") < base.factor(2, "head")
