"""Rows of several tasks in one order: each task's share in every step, the same whoever asks, resumed by index."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from llmtrain.config.choices import Mix
from llmtrain.data.mixed_order import MixedOrder, counts_of, shares_of
from llmtrain.data.order import Requests

LENGTHS = tuple(np.random.default_rng(0).integers(3, 60, size) for size in (40, 7, 100))


def order(mix: Mix = Mix.proportional, temperature: float = 2.0, bucket: int = 4, size: int = 16, seed: int = 5,
          lengths: tuple[np.ndarray, ...] = LENGTHS) -> MixedOrder:
    shares = shares_of([len(one) for one in lengths], mix, temperature)
    return MixedOrder(lengths, tuple(shares), size, bucket, seed)


def by_task(made: MixedOrder, rows: list[int]) -> Counter[int]:
    return Counter(int(np.searchsorted(made.first, row, side="right")) - 1 for row in rows)


def test_shares_follow_the_number_of_rows_its_root_or_nothing() -> None:
    assert shares_of([10, 30], Mix.proportional, 9) == [0.25, 0.75]
    assert shares_of([10, 30], Mix.even, 9) == [0.5, 0.5]
    assert shares_of([16, 256], Mix.temperature, 4) == pytest.approx([2 / 6, 4 / 6])
    assert shares_of([16, 256], Mix.temperature, 1) == pytest.approx([16 / 272, 256 / 272])
    assert shares_of([16, 256], Mix.temperature, 1e9) == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("total", [3, 4, 7, 100, 147])
def test_counts_add_up_and_every_task_has_one(total: int) -> None:
    for shares in ([0.2, 0.3, 0.5], [0.001, 0.001, 0.998], [1 / 3, 1 / 3, 1 / 3]):
        counts = counts_of(total, shares)
        assert sum(counts) == total and min(counts) >= 1
        assert all(abs(count - total * share) < 1 or count == 1 or total * min(shares) < 1
                   for count, share in zip(counts, shares, strict=True))


@pytest.mark.parametrize("bucket", [1, 4])
def test_in_proportion_an_epoch_is_every_row_once(bucket: int) -> None:
    made = order(bucket=bucket)
    for epoch in (0, 1, 7):
        assert sorted(row for step in made.plan(epoch) for row in step) == list(range(147))
    assert made.plan(0) != made.plan(1) and made.plan(3) == made.plan(3)
    assert order(seed=6).plan(0) != made.plan(0)
    assert made.steps_per_epoch == len(made.plan(0)) == 10


@pytest.mark.parametrize("mix", list(Mix))
def test_every_step_is_full_and_has_each_tasks_share(mix: Mix) -> None:
    made = order(mix)
    plan = made.plan(2)
    assert sorted(map(len, plan))[:-1].count(16) >= len(plan) - 2 and sum(map(len, plan)) == 147
    for step in plan:
        for task, count in by_task(made, step).items():
            assert abs(count - len(step) * made.counts[task] / 147) < 2


def test_a_small_task_is_passed_over_again_and_again_each_time_in_another_order() -> None:
    made = order(Mix.even)
    assert made.counts == [49, 49, 49]
    drawn = [row - made.first[1] for epoch in range(2) for row in sorted_as_drawn(made, epoch, 1)]
    passes = [drawn[start:start + 7] for start in range(0, 98, 7)]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert len({tuple(one) for one in passes}) > 10
    of_all = Counter(row for epoch in range(3) for step in made.plan(epoch) for row in step)
    assert {of_all[made.first[1] + row] for row in range(7)} == {21}


def sorted_as_drawn(made: MixedOrder, epoch: int, task: int) -> list[int]:
    count = made.counts[task]
    return (made._rows(task, epoch * count, count) + made.first[task]).tolist()


def test_rows_of_a_step_are_of_about_one_length_in_each_task() -> None:
    lengths = tuple(np.arange(1, size + 1) for size in (64, 64))
    spread = [[max(rows) - min(rows) for step in order(lengths=lengths, bucket=bucket).plan(0)
               if (rows := [int(lengths[0][row]) for row in step if row < 64])] for bucket in (8, 1)]
    assert np.mean(spread[0]) < np.mean(spread[1]) / 3


@pytest.mark.parametrize("count", [1, 2, 3, 4, 16])
def test_a_step_is_cut_into_parts_of_one_size_that_hold_every_row_once(count: int) -> None:
    made = order()
    for step in made.plan(0):
        parts = made.chunks(step, count)
        assert sorted(row for part in parts for row in part) == sorted(step)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        for task in range(3):
            shares = [by_task(made, part)[task] for part in parts]
            assert max(shares) - min(shares) <= 1


def test_requests_go_on_by_index_on_any_number_of_processes() -> None:
    made = order()

    def requests(rank: int, world: int, start: int, count: int) -> list[tuple[int, int, list[int]]]:
        every = iter(Requests(made, 2, rank, world, start))
        return [(one.step, one.epoch, one.rows) for one in (next(every) for _ in range(count))]

    assert requests(0, 1, 13, 8) == requests(0, 1, 0, 34)[26:]
    whole, halves = requests(0, 1, 9, 4), [requests(rank, 2, 9, 4) for rank in (0, 1)]
    for at in (0, 2):
        assert sorted(row for one in whole[at:at + 2] for row in one[2]) == sorted(
            row for half in halves for one in half[at:at + 2] for row in one[2])


def test_the_longest_rows_are_a_micro_batch_in_the_mixture() -> None:
    made = order()
    found = made.longest(8)
    assert by_task(made, found) == Counter({0: 3, 1: 1, 2: 6})
    assert max(LENGTHS[2]) in [LENGTHS[2][row - made.first[2]] for row in found if row >= made.first[2]]
