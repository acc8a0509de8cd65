"""Which rows make up which optimizer step: a pure function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Request:
    """Rows to be collated as a micro-batch of a step; both numbers count from 0."""

    step: int
    epoch: int
    rows: list[int]


@dataclass(frozen=True)
class Order:
    """Steps of rows of about one length.

    Attributes:
        lengths: Tokens of each row.
        batch_size: Rows a step.
        bucket: Length-sorted pools of this many steps (1: none).
        alone: The last so many rows are documents alone, of which a step takes ``share``; an epoch is then a pass
            over the other rows, and the documents are passed over at a pace of their own.
    """

    lengths: Rows
    batch_size: int
    bucket: int
    seed: int
    alone: int = 0
    share: float = 0.5

    @property
    def alone_a_step(self) -> int:
        return min(max(1, round(self.share * self.batch_size)), self.batch_size - 1) if self.alone else 0

    @property
    def steps_per_epoch(self) -> int:
        return -(-(len(self.lengths) - self.alone) // (self.batch_size - self.alone_a_step))

    def plan(self, epoch: int) -> list[list[int]]:
        """Every row once: shuffled, sorted by length within pools of ``bucket`` steps, cut, steps shuffled.

        The smaller last step of an epoch, where there is one, comes anywhere.
        """
        generator = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        rows = generator.permutation(len(self.lengths) - self.alone)
        steps = self._cut(rows, self.batch_size - self.alone_a_step)
        if self.alone:
            steps = [pairs + documents for pairs, documents in
                     zip(steps, self._cut(self._documents(epoch), self.alone_a_step), strict=True)]
        return [steps[i] for i in generator.permutation(len(steps))]

    def chunks(self, rows: list[int], count: int) -> list[list[int]]:
        """A step's rows in ``count`` parts of neighbours in length, each with its part of the documents alone."""
        first = len(self.lengths) - self.alone
        rows = sorted(rows, key=lambda row: (self.lengths[row], row))
        pairs = np.array_split(np.array([row for row in rows if row < first], dtype=np.int64), count)
        # from the other end: a part that has one pair more than others has one document less
        documents = np.array_split(np.array([row for row in rows if row >= first], dtype=np.int64)[::-1], count)[::-1]
        return [[*some.tolist(), *more.tolist()] for some, more in zip(pairs, documents, strict=True)]

    def longest(self, count: int) -> list[int]:
        """The longest rows of a micro-batch of ``count``, in the mixture that steps have."""
        documents = count * self.alone_a_step // self.batch_size
        first = len(self.lengths) - self.alone
        order = np.argsort(-self.lengths, kind="stable")
        return [*order[order < first][:count - documents].tolist(), *order[order >= first][:documents].tolist()]

    def _cut(self, rows: Rows, size: int) -> list[list[int]]:
        pool = self.bucket * size if self.bucket > 1 else max(1, len(rows))
        steps = []
        for start in range(0, len(rows), pool):
            part = rows[start:start + pool]
            if self.bucket > 1:
                part = part[np.argsort(self.lengths[part], kind="stable")]
            steps += [part[i:i + size].tolist() for i in range(0, len(part), size)]
        return steps

    def _documents(self, epoch: int) -> Rows:
        """Those of an epoch: the next of a row of passes over all of them, each in an order of its own."""
        wanted = self.steps_per_epoch * self.alone_a_step
        first, last = epoch * wanted // self.alone, ((epoch + 1) * wanted - 1) // self.alone
        passes = [np.random.Generator(np.random.PCG64([self.seed, number, 1])).permutation(self.alone)
                  for number in range(first, last + 1)]
        start = epoch * wanted - first * self.alone
        found: Rows = np.concatenate(passes)[start:start + wanted] + (len(self.lengths) - self.alone)
        return found


class StepOrder(Protocol):
    """What says which rows make up which step."""

    @property
    def steps_per_epoch(self) -> int: ...

    def plan(self, epoch: int) -> list[list[int]]:
        """The rows of each step of an epoch, in order."""

    def chunks(self, rows: list[int], count: int) -> list[list[int]]:
        """A step's rows in so many parts."""


class Requests(Sampler[Any]):
    """Every micro-batch of this process from a step on, without end."""

    def __init__(self, order: StepOrder, accumulate: int, rank: int, world_size: int, start_step: int) -> None:
        self._order, self._accumulate = order, accumulate
        self._rank, self._world, self._start = rank, world_size, start_step

    def __iter__(self) -> Iterator[Request]:
        epoch, first = divmod(self._start, self._order.steps_per_epoch)
        step = self._start
        while True:
            for rows in self._order.plan(epoch)[first:]:
                chunks = self._order.chunks(rows, self._world * self._accumulate)
                for micro in range(self._accumulate):
                    yield Request(step, epoch, chunks[micro * self._world + self._rank])
                step += 1
            epoch, first = epoch + 1, 0
