"""Schedules, averages, Newton-Schulz steps and the order of rows, written out."""

from __future__ import annotations

import math
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from llmtrain.config.choices import ScheduleName
from llmtrain.config.sections.optim import ScheduleConfig
from llmtrain.data.order import Order, Request, Requests
from llmtrain.optim.average import WeightAverage
from llmtrain.optim.muon import orthogonalised, size_of
from llmtrain.optim.schedule import Schedule


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))



def factors(name: str, total: int | None, steps: int, **options: Any) -> list[float]:
    schedule = Schedule(ScheduleConfig(name=ScheduleName(name), **options), total)
    return [schedule.factor(update, "head") for update in range(steps)]


def test_every_schedule_written_out() -> None:
    rise = [1 / 4, 2 / 4, 3 / 4]
    assert factors("linear", 8, 10, warmup_steps=3) == pytest.approx([*rise, 1, 0.8, 0.6, 0.4, 0.2, 0, 0])
    assert factors("cosine", 8, 10, warmup_steps=3) == pytest.approx(
        [*rise, *(0.5 * (1 + math.cos(math.pi * n / 5)) for n in range(6)), 0])
    assert factors("inverse_sqrt", None, 8, warmup_steps=3) == pytest.approx(
        [*rise, *(math.sqrt(3 / n) for n in range(3, 8))])
    assert factors("inverse_sqrt", None, 4, warmup_steps=0) == pytest.approx(
        [1, 1, math.sqrt(1 / 2), math.sqrt(1 / 3)])
    assert factors("noam", None, 9, warmup_steps=4) == pytest.approx([min(n ** -0.5, n / 8) for n in range(1, 10)])
    assert factors("noam", None, 3, warmup_steps=0) == pytest.approx([n ** -0.5 for n in range(1, 4)])
    assert factors("linear", 3, 4, warmup_steps=3) == pytest.approx([*rise, 0])
    assert factors("linear", 2, 2, warmup_steps=0) == pytest.approx([1, 0.5])
    assert factors("linear", 4, 5, warmup_steps=3) == pytest.approx([*rise, 1, 0])


def test_a_cooldown_is_a_fifth_a_number_or_told_later() -> None:
    assert factors("constant_cooldown", 10, 12, warmup_steps=0) == pytest.approx([1] * 8 + [1, 0.5, 0, 0])
    assert factors("constant_cooldown", 20, 21, warmup_steps=0) == pytest.approx([*[1] * 17, 0.75, 0.5, 0.25, 0])
    assert factors("constant_cooldown", 4, 5, warmup_steps=0) == pytest.approx([1, 1, 1, 1, 0])
    assert factors("constant_cooldown", 6, 7, warmup_steps=0, cooldown_steps=4) == pytest.approx(
        [1, 1, 1, 0.75, 0.5, 0.25, 0])
    assert factors("constant_cooldown", 3, 4, warmup_steps=0, cooldown_steps=0) == pytest.approx([1, 1, 1, 0])
    timed = Schedule(ScheduleConfig(name=ScheduleName.constant_cooldown, warmup_steps=1), None)
    assert [timed.factor(n, "base") for n in (0, 1, 500)] == [0.5, 1, 1]
    timed.fix(10, 12)
    assert [timed.factor(n, "base") for n in (9, 10, 11, 12)] == [1, 1, 0.5, 0]


def test_only_a_cooldown_settles_where_it_starts() -> None:
    for total, start in ((4, 3), (10, 8), (11, 9)):
        assert Schedule(ScheduleConfig(name=ScheduleName.constant_cooldown), total).cooldown_start == start
    assert Schedule(ScheduleConfig(name=ScheduleName.linear), 10).cooldown_start is None


def test_the_base_warms_up_by_its_own_steps() -> None:
    schedule = Schedule(ScheduleConfig(name=ScheduleName.linear, warmup_steps=1, base_warmup_steps=3), 11)
    assert [schedule.factor(1, group) for group in ("head", "base")] == pytest.approx([1, 0.5])
    assert [schedule.factor(7, group) for group in ("head", "base")] == pytest.approx([0.4, 0.5])


def test_rates_are_set_on_numbers_and_tensors_and_the_top_layers_is_told() -> None:
    schedule = Schedule(ScheduleConfig(name=ScheduleName.linear, warmup_steps=0), 4)
    groups = [{"name": "base", "peak": 0.2, "lr": 0.0}, {"name": "base", "peak": 0.4, "lr": 0.0},
              {"name": "base", "peak": 0.1, "lr": 0.0}, {"name": "head", "peak": 1.0, "lr": torch.tensor(0.0)}]
    assert schedule.apply(SimpleNamespace(param_groups=groups), 1) == pytest.approx(  # type: ignore[arg-type]
        {"base": 0.3, "head": 0.75})
    assert [float(group["lr"]) for group in groups] == pytest.approx([0.15, 0.3, 0.075, 0.75])


def test_the_weights_average_is_torchs() -> None:
    layer = nn.Linear(3, 2)
    theirs = AveragedModel(layer, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    theirs.update_parameters(layer)  # torch's first update copies
    ours = WeightAverage(dict(layer.named_parameters()), 0.9)
    for seed in range(3):
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(numbers(*parameter.shape, seed=seed))
        ours.update()
        theirs.update_parameters(layer)
    live = {name: p.detach().clone() for name, p in layer.named_parameters()}
    for name, value in theirs.module.named_parameters():
        torch.testing.assert_close(ours.average[name], value.detach())
    ours.swap()
    for name, value in theirs.module.named_parameters():
        torch.testing.assert_close(dict(layer.named_parameters())[name].detach(), value.detach())
        assert torch.equal(ours.average[name], live[name])
    ours.restart()
    assert torch.equal(ours.average["weight"], layer.weight)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_newton_schulz_acts_on_singular_values_alone(shape: tuple[int, int]) -> None:
    matrix, (a, b, c) = numbers(*shape), (3.4445, -4.7750, 2.0315)
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / matrix.double().norm()
    for _ in range(3):
        s = a * s + b * s ** 3 + c * s ** 5
    torch.testing.assert_close(orthogonalised(matrix, (a, b, c), 3, 1e-7).double(), u @ s.diag() @ v, atol=1e-5,
                               rtol=1e-5)


@pytest.mark.parametrize(("rows", "columns", "original", "adamw"), [
    (8, 2, 2.0, 0.2 * math.sqrt(8)), (2, 8, 1.0, 0.2 * math.sqrt(8)), (3, 3, 1.0, 0.2 * math.sqrt(3))])
def test_the_size_of_muons_updates(rows: int, columns: int, original: float, adamw: float) -> None:
    shape = torch.Size((rows, columns))
    assert size_of(shape, "original") == pytest.approx(original)
    assert size_of(shape, "match_rms_adamw") == pytest.approx(adamw)


# Order of rows


def test_rows_are_sorted_by_length_in_pools_and_steps_shuffled() -> None:
    lengths = np.array([5, 1, 9, 2, 8, 3, 7, 4, 6, 10, 12])
    order = Order(lengths, batch_size=2, bucket=2, seed=7)
    generator = np.random.Generator(np.random.PCG64([7, 3]))
    drawn = generator.permutation(11).tolist()
    steps = []
    for start in range(0, 11, 4):
        pool = sorted(drawn[start:start + 4], key=lambda row: lengths[row])
        steps += [pool[i:i + 2] for i in range(0, len(pool), 2)]
    assert order.steps_per_epoch == len(steps) == 6
    assert order.plan(3) == [steps[i] for i in generator.permutation(6)]
    plain = Order(lengths, batch_size=4, bucket=1, seed=7)
    generator = np.random.Generator(np.random.PCG64([7, 0]))
    drawn = generator.permutation(11).tolist()
    assert plain.plan(0) == [[drawn[0:4], drawn[4:8], drawn[8:]][i] for i in generator.permutation(3)]


def test_documents_alone_come_in_passes_of_their_own() -> None:
    order = Order(np.arange(1, 12), batch_size=4, bucket=1, seed=5, alone=5, share=0.5)  # rows 6 to 10 are alone
    assert (order.alone_a_step, order.steps_per_epoch) == (2, 3)
    endless = np.concatenate([np.random.Generator(np.random.PCG64([5, n, 1])).permutation(5) + 6 for n in range(5)])
    for epoch in range(4):
        wanted = endless[epoch * 6:(epoch + 1) * 6].tolist()
        steps = order.plan(epoch)
        assert Counter(row for step in steps for row in step if row >= 6) == Counter(wanted)
        assert sorted(row for step in steps for row in step if row < 6) == list(range(6))
        assert all(len([row for row in step if row >= 6]) == 2 for step in steps)
    for share, count in ((0.0, 1), (0.5, 2), (0.7, 3), (1.0, 3)):
        assert Order(np.arange(9), 4, 1, 0, alone=3, share=share).alone_a_step == count
    assert Order(np.arange(9), 4, 1, 0, share=0.5).alone_a_step == 0
    assert Order(np.arange(9), 4, 1, 0, alone=3).share == 0.5
    assert all(row >= 6 for step in order.plan(0) for row in step[-2:])  # behind the others
    assert Order(np.array([], dtype=np.int64), 4, 1, 0).plan(0) == []


def test_micro_batches_are_neighbours_in_length_and_the_longest_is_known() -> None:
    lengths = np.array([3, 9, 1, 7, 5, 2, 8, 4, 6])  # rows 6 to 8 are alone
    order = Order(lengths, batch_size=6, bucket=1, seed=0, alone=3, share=0.34)
    assert order.chunks([0, 1, 2, 3, 4, 6, 7, 8], 2) == [[2, 0, 4, 7], [3, 1, 6, 8]]
    assert order.chunks([0, 1, 2, 6, 7], 2) == [[2, 0, 7], [1, 6]]
    assert order.chunks([5, 3, 1, 6], 2) == [[5, 3], [1, 6]]
    assert order.longest(6) == [1, 3, 4, 0, 6, 8]
    assert order.longest(3) == [1, 3, 6]


def test_requests_go_on_from_any_step_for_every_process() -> None:
    order = Order(np.array([5, 1, 9, 2, 8, 3, 7, 4]), batch_size=4, bucket=1, seed=1)
    every: list[list[Request]] = []
    for rank in range(2):
        stream = iter(Requests(order, 2, rank, 2, 3))
        every.append([next(stream) for _ in range(6)])
    for micro in range(6):
        step = 3 + micro // 2
        rows = sorted(order.plan(step // 2)[step % 2], key=lambda row: order.lengths[row])
        for rank in range(2):
            found = every[rank][micro]
            assert (found.step, found.epoch) == (step, step // 2)
            assert found.rows == [rows[(micro % 2) * 2 + rank]]
