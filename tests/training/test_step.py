"""One optimizer step: real dtypes, the scaler, skips, clipping, frozen parameters, averages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from llmtrain.config.choices import ScheduleName
from llmtrain.config.sections.optim import ScheduleConfig
from llmtrain.config.sections.trainer import TrainerConfig
from llmtrain.core.errors import NumericsError
from llmtrain.models.backbone.families import layers
from llmtrain.objectives.joint_module import JointModule
from llmtrain.optim.schedule import Schedule
from llmtrain.training.run_length import TimeLimit
from llmtrain.training.state import ProgressPart
from llmtrain.training.step import SMALLEST_SCALE
from llmtrain.training.trainer import quarters
from running import Runs, copies, take


@pytest.fixture
def make(tiny_base: Path, tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(tiny_base, tmp_path)
    yield runs
    runs.close()


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("fp16", torch.float16),
                                                  ("bf16", torch.bfloat16)])
def test_the_trunk_really_computes_in_the_named_format(precision: str, dtype: torch.dtype, make: Any) -> None:
    run = make(f"precision={precision}")
    seen = set()
    for layer in layers(run.model.task_model.trunk):
        for module in layer.modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_hook(lambda _m, _i, output: seen.add(output.dtype))
    take(run)
    assert seen == {dtype}
    assert run.precision.effective == str(dtype).removeprefix("torch.")
    assert run.precision.scaler.is_enabled() is (precision == "fp16")
    assert all(p.dtype == torch.float32 for p in run.model.module.parameters())
    for state in run.optimization.optimizer.state.values():
        assert all(value.dtype == torch.float32 for value in state.values())


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 0.02), ("bf16", 0.08)])
def test_accumulated_clipped_gradients_are_fp32s_within_the_formats_error(precision: str, tolerance: float,
                                                                          make: Any) -> None:
    found = []
    for name in ("fp32", precision):
        run = make(f"precision={name}", "trainer.accumulate=2", "optim.base_lr=0", "optim.head_lr=0",
                   "optim.weight_decay=0", "optim.clip_norm=0.1")
        take(run)
        found.append(torch.cat([p.grad.flatten() for p in run.model.module.parameters() if p.grad is not None]))
    assert float(found[0].norm()) == pytest.approx(0.1, rel=1e-3)
    assert float((found[0] - found[1]).norm() / found[0].norm()) < tolerance


def test_an_overflow_skips_every_parameter_and_the_schedule(make: Any) -> None:
    run = make("precision=fp16", "optim.ema_decay=0.5")
    take(run, 2)
    before, average = copies(run), {k: v.clone() for k, v in run.optimization.average.average.items()}
    scale, rate = run.precision.scaler.get_scale(), run.optimization.optimizer.param_groups[0]["lr"]
    parameter = run.model.task_model.head.transform.weight
    handle = parameter.register_hook(lambda gradient: gradient * float("inf"))
    (result,) = take(run)
    handle.remove()
    assert result.skipped
    assert run.state.progress.skipped == 1
    assert run.state.progress.updates == 2
    assert all(torch.equal(before[name], value) for name, value in copies(run).items())
    assert all(torch.equal(average[name], value) for name, value in run.optimization.average.average.items())
    assert run.precision.scaler.get_scale() == scale / 2
    (result,) = take(run)
    assert not result.skipped
    group = run.optimization.optimizer.param_groups[0]
    assert group["lr"] == pytest.approx(group["peak"] * (8 - 2) / 7)
    assert rate > group["lr"]
    assert not torch.equal(before["model.head.transform.weight"], parameter)


@pytest.mark.parametrize("choice", ["stop", "skip"])
def test_gradients_that_no_scale_makes_finite_are_told(choice: str, make: Any) -> None:
    run = make("precision=fp16", f"trainer.on_nonfinite={choice}", "precision.init_scale=0.0001", "optim.clip_norm=0")
    for parameter in run.model.module.parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda gradient: gradient * float("nan"))
    if choice == "stop":
        with pytest.raises(NumericsError, match=r"step 1 stopped: its gradients .* precision=bf16"):
            take(run)
        return
    before = copies(run)
    for result in take(run, 3):
        assert result.skipped and "loss scale" in result.reason
    assert run.precision.scaler.get_scale() == SMALLEST_SCALE
    assert all(torch.equal(before[name], value) for name, value in copies(run).items())


def test_an_overflow_in_withheld_gradients_alone_is_a_skip(make: Any) -> None:
    """They are in no norm, but the scaler has seen them and moves no weight."""
    run = make("precision=fp16", "model.freeze_until_step=6", "optim.ema_decay=0.5")
    take(run)
    before, average = copies(run), {k: v.clone() for k, v in run.optimization.average.average.items()}
    scale = run.precision.scaler.get_scale()
    words = run.model.task_model.trunk.embeddings.word_embeddings
    handle = words.weight.register_hook(lambda gradient: gradient * float("inf"))
    (result,) = take(run)
    handle.remove()
    assert result.skipped and not result.reason  # the scaler's routine
    assert result.grad_norm == pytest.approx(result.grad_norm) and run.state.progress.updates == 1
    assert run.precision.scaler.get_scale() == scale / 2
    assert all(torch.equal(before[name], value) for name, value in copies(run).items())
    assert all(torch.equal(average[name], value) for name, value in run.optimization.average.average.items())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_skipped_loss_is_named_by_term_and_the_datasets_own_ids(precision: str, make: Any,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the rows in the masked pass only the poisoned one is named, and random state is left as found."""
    forward = JointModule.forward

    def poisoned(self: Any, batch: Any, step: int, *rest: Any) -> Any:
        sums = forward(self, batch, step, *rest)
        if bool((batch["mlm_input_ids"] == unlucky).any()):
            sums["mlm"] = sums["mlm"] * float("nan")
        return sums

    run = make(f"precision={precision}", "trainer.on_nonfinite=skip", "objective.base=mlm", "trainer.accumulate=2",
               "objective.mlm.fraction=0.7", "model.dropout=0.1")
    micro = next(run.data.loader.iterate(0)).micro
    rows = {int(row): {int(i) for i in ids} for batch in micro for row, ids in _masked_rows(batch)}
    row, unlucky = next((row, i) for row, ids in rows.items() for i in sorted(ids)
                        if i > 5 and not any(i in other for r, other in rows.items() if r != row))
    monkeypatch.setattr(JointModule, "forward", poisoned)
    before = copies(run)
    (result,) = take(run)
    assert result.skipped and len(rows) > 2
    assert result.reason == f"its loss is not finite (term mlm, rows 0-{row})"
    assert all(torch.equal(before[name], value) for name, value in copies(run).items())


def _masked_rows(batch: Any) -> list[tuple[int, Any]]:
    """(row, its tokens in the masked pass), found by what the masks left of the row."""
    found = []
    for ids, labels in zip(batch["mlm_input_ids"], batch["mlm_labels"], strict=True):
        whole = torch.where(labels == -100, ids, labels)
        place = next(i for i, source in enumerate(batch["input_ids"]) if torch.equal(source, whole))
        found.append((int(batch["example_id"][place]), ids.tolist()))
    return found


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
    assert all(p.requires_grad for p in run.model.task_model.trunk.parameters())  # DDP's reducer still waits for them
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
    for name, value in run.optimization.average.average.items():
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
    assert rates(ScheduleName.noam)[:4] == [pytest.approx(n ** -0.5 if n > 2 else n * 2 ** -1.5) for n in (1, 2, 3, 4)]
    base = Schedule(ScheduleConfig(warmup_steps=2, base_warmup_steps=8), 10)
    assert base.factor(2, "base") < base.factor(2, "head")


def test_a_run_is_validated_at_its_quarters() -> None:
    assert quarters(150) == {38, 75, 113, 150}
    assert quarters(1000) == {250, 500, 750, 1000}
    assert quarters(3) == {1, 2, 3}


@pytest.mark.parametrize(("options", "cooldown", "total"), [({"cooldown_steps": 10}, 50, 60),
                                                            ({"cooldown_fraction": 0.25}, 46, 60)])
def test_max_minutes_settles_the_cooldown_once(options: dict[str, Any], cooldown: int, total: int) -> None:
    """60 seconds at a second a step, the first of which took five."""
    config = ScheduleConfig(name=ScheduleName.constant_cooldown, **options)
    schedule, progress = Schedule(config, None), ProgressPart()
    limit = TimeLimit(TrainerConfig(max_minutes=(total + 4) / 60), config, schedule)
    seconds, lines = 0.0, []
    while progress.total is None or progress.step < progress.total:
        if (line := limit.settle(progress, seconds)) is not None:
            lines.append(line)
        seconds += 5.0 if progress.step == 0 else 1.0
        progress.step += 1
    assert len(lines) == 1
    assert abs(progress.step - total) <= 1
    assert schedule.cooldown_start is not None and abs(schedule.cooldown_start - cooldown) <= 2
    if "cooldown_steps" in options:
        assert progress.step - schedule.cooldown_start == 10


@pytest.mark.parametrize("stop", range(1, 24))
def test_a_stop_changes_nothing_of_how_a_limited_run_settles(stop: int) -> None:
    """24 seconds at a second a step: the cooldown of 6 steps begins at the same step, whenever it was stopped."""
    config, settled = ScheduleConfig(name=ScheduleName.constant_cooldown, cooldown_steps=6), []
    for stops in ((), (stop,)):
        schedule, progress = Schedule(config, None), ProgressPart()
        limit = TimeLimit(TrainerConfig(max_minutes=24 / 60), config, schedule)
        while progress.total is None or progress.step < progress.total:
            if progress.step in stops:
                saved = progress.save()
                progress = ProgressPart()
                progress.load(*saved)
                limit = TimeLimit(TrainerConfig(max_minutes=24 / 60), config, schedule)
            limit.settle(progress, float(progress.step))
            progress.step += 1
        settled.append((schedule.cooldown_start, progress.total))
    assert settled[0] == settled[1] and settled[0][1] - settled[0][0] == 6


def test_the_base_alone_leaves_the_head_as_it_is(make: Any) -> None:
    run = make("objective.base=select", "objective.lam=null", "trainer.best_metric=loss.total")
    assert run.model.module.terms == ["select"] and run.model.weighting.weights(0) == {"select": 1.0}
    before = copies(run)
    (result,) = take(run)
    moved = {name for name, value in copies(run).items() if not torch.equal(before[name], value)}
    assert list(result.losses) == ["select"] and not result.skipped
    assert moved and not any(name.startswith("model.head.") for name in moved)
    assert "objectives.select.scorer.weight" in moved and "model.trunk.embeddings.word_embeddings.weight" in moved


def test_three_terms_add_up(make: Any) -> None:
    run = make("objective.terms=[{name: mlm}, {name: select, lam: 0.3}, {name: summary, lam: 0.5}]",
               "objective.mlm.fraction=0.6")
    (result,) = take(run)
    assert list(result.losses) == ["mlm", "select", "summary"]
    assert result.total == pytest.approx(result.losses["mlm"] + 0.3 * result.losses["select"]
                                         + 0.5 * result.losses["summary"])
