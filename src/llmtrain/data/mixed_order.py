"""Which rows of several tasks make up which optimizer step: a pure function of (seed, epoch), like data/order.py.

An epoch has as many rows as all tasks together. Each task gives its share of them, evenly spread over the steps: the
next rows of an endless row of passes over its own, each pass in an order of its own. Every step but an epoch's last is
full, and holds each task's share to within a row for every other task. Rows of all tasks are numbered through.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np

from llmtrain.config.choices import Mix
from llmtrain.data.order import Rows

STREAM = 2  # and above, one a task: tells these random numbers from those of a single task's order


def shares_of(sizes: list[int], mix: Mix, temperature: float) -> list[float]:
    """The share of each task in the rows of a run, by how many rows it has."""
    power = {Mix.proportional: 1.0, Mix.even: 0.0}.get(mix, 1 / temperature)
    weights = [size ** power for size in sizes]
    return [weight / sum(weights) for weight in weights]


def counts_of(total: int, shares: list[float]) -> list[int]:
    """Whole numbers of about these shares that add up to ``total``, one at least of each (the largest remainders)."""
    exact = [total * share for share in shares]
    counts = [max(1, int(one)) for one in exact]
    for index in sorted(range(len(shares)), key=lambda i: (int(exact[i]) - exact[i], i)):
        if sum(counts) < total:
            counts[index] += 1
    while sum(counts) > max(total, len(counts)):  # what a task of less than a row was given
        counts[counts.index(max(counts))] -= 1
    return counts


@dataclass(frozen=True)
class MixedOrder:
    """Steps of rows of several tasks, in each task of about one length.

    Attributes:
        lengths: Tokens of each row, by task.
        shares: Of each task in an epoch's rows; they add up to 1.
        batch_size: Rows a step.
        bucket: Length-sorted pools of this many steps (1: none).
    """

    lengths: tuple[Rows, ...]
    shares: tuple[float, ...]
    batch_size: int
    bucket: int
    seed: int

    alone_a_step = 0  # documents alone are of one task's order

    @cached_property
    def first(self) -> list[int]:
        """The number of each task's first row."""
        return [0, *accumulate(map(len, self.lengths))][:-1]

    @cached_property
    def counts(self) -> list[int]:
        """Rows of each task in an epoch."""
        total = sum(map(len, self.lengths))
        if [round(total * share) for share in self.shares] == list(map(len, self.lengths)):
            return list(map(len, self.lengths))  # in proportion: every row once
        return counts_of(total, list(self.shares))

    @property
    def steps_per_epoch(self) -> int:
        return -(-sum(self.counts) // self.batch_size)

    def plan(self, epoch: int) -> list[list[int]]:
        """An epoch's steps, in an order of its own; the smaller last one, where there is one, comes anywhere."""
        quotas = self._quotas()
        steps: list[list[int]] = [[] for _ in quotas]
        for task, count in enumerate(self.counts):
            rows = self._rows(task, epoch * count, count)
            at = np.cumsum([0, *(quota[task] for quota in quotas)])
            size = self.bucket if self.bucket > 1 else len(quotas)
            for start in range(0, len(quotas), size):
                end = min(start + size, len(quotas))
                pool = rows[at[start]:at[end]]
                if self.bucket > 1:
                    pool = pool[np.argsort(self.lengths[task][pool], kind="stable")]
                for step in range(start, end):
                    mine = pool[at[step] - at[start]:at[step + 1] - at[start]]
                    steps[step] += (mine + self.first[task]).tolist()
        generator = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        return [steps[i] for i in generator.permutation(len(steps))]

    def chunks(self, rows: list[int], count: int) -> list[list[int]]:
        """A step's rows in ``count`` parts of one size, each with its part of every task's, neighbours in length."""
        made: list[list[int]] = [[] for _ in range(count)]
        turn = 0  # which part is the next to have a row more than others
        for task in range(len(self.lengths)):
            mine = sorted(self._of(task, rows), key=lambda row: (self._length(row), row))
            more = {(turn + extra) % count for extra in range(len(mine) % count)}
            turn, at = (turn + len(mine)) % count, 0
            for part in range(count):
                size = len(mine) // count + (part in more)
                made[part] += mine[at:at + size]
                at += size
        return made

    def longest(self, count: int) -> list[int]:
        """The longest rows of a micro-batch of ``count``, in the mixture that steps have."""
        found: list[int] = []
        for task, share in enumerate(self.shares):
            order = np.argsort(-self.lengths[task], kind="stable")[:max(1, math.ceil(share * count))]
            found += (order + self.first[task]).tolist()
        return found

    def _quotas(self) -> list[list[int]]:
        """Rows of each task in each step: the tasks' rows are laid evenly along the epoch, which is cut into steps."""
        place = np.concatenate([(np.arange(count) + 0.5) / count for count in self.counts])
        task = np.repeat(np.arange(len(self.counts)), self.counts)[np.argsort(place, kind="stable")]
        return [np.bincount(task[start:start + self.batch_size], minlength=len(self.counts)).tolist()
                for start in range(0, len(task), self.batch_size)]

    def _rows(self, task: int, start: int, count: int) -> Rows:
        """Rows of a task from the ``start``-th on of its endless passes."""
        size = len(self.lengths[task])
        passes = range(start // size, (start + count - 1) // size + 1)
        every = [np.random.Generator(np.random.PCG64([self.seed, number, STREAM + task])).permutation(size)
                 for number in passes]
        begin = start - passes[0] * size
        found: Rows = np.concatenate(every)[begin:begin + count]
        return found

    def _of(self, task: int, rows: list[int]) -> list[int]:
        first = self.first[task]
        return [row for row in rows if first <= row < first + len(self.lengths[task])]

    def _length(self, row: int) -> int:
        task = int(np.searchsorted(self.first, row, side="right")) - 1
        return int(self.lengths[task][row - self.first[task]])
