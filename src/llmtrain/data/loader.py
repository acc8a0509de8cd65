"""Batches in the order of :mod:`llmtrain.data.order`, skipped by index and never by fetching."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from llmtrain.core.errors import DataError
from llmtrain.data.batch import IGNORED, L1, MULTIPLE, PARTS, Batch, Context, pad
from llmtrain.data.features import Features
from llmtrain.data.mixed_order import MixedOrder
from llmtrain.data.order import Order, Request, Requests
from llmtrain.data.workers import end, fetch


@dataclass(frozen=True, slots=True)
class StepBatch:
    """The micro-batches of one optimizer step for one process; ``step`` is 0-based."""

    step: int
    epoch: int
    micro: list[Batch]


def _padded(prefix: str, sources: list[NDArray[np.int64]], pad_id: int) -> Batch:
    """input_ids and attention_mask (B, S) of some documents, their names behind ``prefix``."""
    input_ids = pad(sources, pad_id, MULTIPLE)
    lengths = torch.tensor([len(source) for source in sources])
    return {f"{prefix}input_ids": input_ids,
            f"{prefix}attention_mask": (torch.arange(input_ids.shape[1]) < lengths.unsqueeze(1)).long()}


@dataclass(frozen=True)
class Collate:
    """Makes a batch of rows: example_id (B,), input_ids and attention_mask (B, S), labels (B, T), extras (B, N).

    Where preprocessing makes a text for l1 alone, l1_input_ids and l1_attention_mask (B, S') hold it. ``tokens`` is the
    number of the rows' tokens, targets' included.

    No rows at all make a dummy of row 0 that counts for nothing: a process without rows must still take part.
    """

    features: Features
    pad_id: int
    seed: int
    transforms: list[Callable[[Batch, Context], None]]

    def __call__(self, request: Request) -> Batch:
        indices = request.rows
        rows = indices or [0]
        batch: Batch = {"example_id": torch.tensor(rows),
                        **_padded("", [self.features.input_ids[i] for i in rows], self.pad_id),
                        "labels": pad([self.features.labels[i] for i in rows], IGNORED), "dummy": not indices}
        batch["tokens"] = sum(len(self.features.input_ids[i]) + len(self.features.labels[i]) for i in indices)
        if self.features.l1_input_ids is not None:
            batch |= _padded(L1, [self.features.l1_input_ids[i] for i in rows], self.pad_id)
        for name, column in self.features.extra.items():
            batch[name] = pad([column[i] for i in rows], 0)
        if not indices:
            batch["labels"].fill_(IGNORED)
            for name in self.features.extra:
                batch[name].zero_()
        for transform in self.transforms:
            transform(batch, Context(request.epoch, self.seed, request.step))
        return batch


@dataclass(frozen=True)
class CollateParts:
    """Makes a batch of rows of several tasks: those of each, collated as that task alone would, under its name.

    Rows are numbered through over all tasks. A task of which there is no row has a dummy: every head must be called.

    Attributes:
        tasks: What collates each task's rows.
    """

    tasks: dict[str, Collate]

    def __call__(self, request: Request) -> Batch:
        parts: dict[str, Batch] = {}
        for name, collate in self.tasks.items():
            first = self.first_of(name)
            mine = [row - first for row in request.rows if first <= row < first + len(collate.features)]
            parts[name] = collate(Request(request.step, request.epoch, mine)) | {"first": first}
        return {PARTS: parts, "tokens": sum(part["tokens"] for part in parts.values()), "dummy": not request.rows}

    def first_of(self, name: str) -> int:
        """The number of a task's first row."""
        return sum(len(self.tasks[other].features) for other in list(self.tasks)[:list(self.tasks).index(name)])

    def task_of(self, row: int) -> tuple[str, int]:
        """(the task of a row, its number there)."""
        name = [name for name in self.tasks if self.first_of(name) <= row][-1]
        return name, row - self.first_of(name)


def one_task(features: Features, *, batch_size: int, bucket: int, seed: int, pad_id: int,
             transforms: list[Callable[[Batch, Context], None]], alone: int = 0, share: float = 0.5,
             ) -> tuple[Order, Collate]:
    """The order of one task's rows, and what collates them.

    Args:
        batch_size: Rows per optimizer step over all processes.
        bucket: Length-sorted pools of this many batches (1: none).
        alone: The last so many rows are documents alone, of which a step takes ``share``.
        transforms: Called on each batch in the process that collates it; they must be picklable.
    """
    return (Order(features.input_ids.lengths, batch_size, bucket, seed, alone, share),
            Collate(features, pad_id, seed, transforms))


class StepLoader:
    """The training rows, a step at a time.

    Args:
        order: Which rows make up which step.
        collate: Makes a batch of rows.
        accumulate: Micro-batches per process and step.
        workers: Loader processes; the batches are the same with any number.
        timeout: Longest wait for a worker, in seconds.
        worker_start: Called in each worker, with its number, before its first batch.
    """

    def __init__(self, order: Order | MixedOrder, collate: Collate | CollateParts, *, accumulate: int, rank: int,
                 world_size: int, workers: int = 0, timeout: float = 0.0,
                 worker_start: Callable[[int], None] | None = None) -> None:
        self._order, self._collate = order, collate
        self.accumulate, self._rank, self._world = accumulate, rank, world_size
        self._workers, self._timeout = workers, timeout
        self._worker_start = worker_start

    @property
    def steps_per_epoch(self) -> int:
        return self._order.steps_per_epoch

    def plan(self, epoch: int) -> list[list[int]]:
        return self._order.plan(epoch)

    @property
    def alone_a_step(self) -> int:
        """Documents alone among the rows of a step."""
        return self._order.alone_a_step

    def example_of(self, row: int) -> tuple[str, int]:
        """(the task of a row, the number of the example there that the row was made of)."""
        if isinstance(self._collate, CollateParts):
            name, row = self._collate.task_of(row)
            return name, self._collate.tasks[name].features.example_of(row)
        return "", self._collate.features.example_of(row)

    def longest(self, count: int) -> Batch:
        """The rows that take the most memory, as one micro-batch of the first epoch."""
        return self._collate(Request(0, 0, self._order.longest(count)))

    def alone(self, step: int, row: int) -> Batch:
        """One row as a micro-batch of its own, as a step collates it."""
        return self.together(step, [row])

    def together(self, step: int, rows: list[int]) -> Batch:
        """Any rows as one micro-batch, as a step collates them."""
        return self._collate(Request(step, step // self.steps_per_epoch, rows))

    def first_of(self, task: str) -> int:
        """The number of a task's first row; the only task's name is empty."""
        return self._collate.first_of(task) if isinstance(self._collate, CollateParts) else 0

    def iterate(self, start_step: int) -> Generator[StepBatch]:
        """Steps from ``start_step`` on, without end.

        Losses of workers are told by :mod:`llmtrain.data.workers`. When the iterator is closed, all have ended.
        """
        requests = Requests(self._order, self.accumulate, self._rank, self._world, start_step)
        loader: DataLoader[Any] = DataLoader(
            _Identity(), batch_size=None, sampler=requests, collate_fn=cast(Any, self._collate),
            num_workers=self._workers, worker_init_fn=self._worker_start if self._workers else None,
            timeout=self._timeout if self._workers else 0,
            generator=torch.Generator())  # its own: an iterator else draws its seed from the global one
        fetched = iter(loader)
        workers = list(getattr(fetched, "_workers", []))
        step = start_step
        try:
            while True:
                micro = [fetch(fetched, workers, self._timeout, step) for _ in range(self.accumulate)]
                yield StepBatch(step, step // self.steps_per_epoch, micro)
                step += 1
        finally:
            del fetched  # which asks the workers to end
            end(workers)


class _Identity(torch.utils.data.Dataset[Any]):
    """Hands the request to the collate function, which does the work."""

    def __getitem__(self, request: Any) -> Any:
        return request


def eval_batches(features: Features, batch_size: int, pad_id: int,
                 transforms: list[Callable[[Batch, Context], None]]) -> Iterator[Batch]:
    """Every row once in a fixed order, longest first; masks as in epoch 0 of seed 0."""
    if not len(features):
        raise DataError("no rows to evaluate; check data.validation")
    collate = Collate(features, pad_id, 0, transforms)
    order = np.argsort(-features.input_ids.lengths, kind="stable").tolist()
    for start in range(0, len(order), batch_size):
        yield collate(Request(0, 0, order[start:start + batch_size]))
