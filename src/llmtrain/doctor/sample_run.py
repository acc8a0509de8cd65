"""The run that would be trained, built on a sample of its rows by what builds every run, and tried from there.

Shapes: B rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmtrain.data.batch import PARTS, Batch
from llmtrain.data.examples import Splits
from llmtrain.data.sources.splits import subset
from llmtrain.doctor.clock import Clock
from llmtrain.models.heads.base import Removal
from llmtrain.models.task_model import TaskModel
from llmtrain.optim.schedule import Schedule
from llmtrain.training.build import Training
from llmtrain.training.spec import TaskSpec

LATE = 1 << 30  # a step by which no term waits or is idle any more, and nothing is frozen for a time
HELD_OUT = 8  # validation rows that are read


@dataclass(slots=True)
class SampleRun:
    """A run on a sample of its rows.

    Attributes:
        training: The run.
        whole: All of its rows as texts, by the task's name in the run.
        clock: The time that is left.
        folder: Where it may write; removed afterwards.
        rows: The examples that are learnt by heart, by task.
        step_seconds: What a step of the run takes.
        row_seconds: What predicting a row takes, by task.
        usable: Its losses were seen to be numbers.
    """

    training: Training
    whole: dict[str, Splits]
    clock: Clock
    folder: Path
    rows: dict[str, list[int]] = field(default_factory=dict)
    step_seconds: float = 0.0
    row_seconds: dict[str, float] = field(default_factory=dict)
    usable: bool = False
    _start: dict[str, Tensor] = field(default_factory=dict)
    _weighting: Any = None
    _scaler: dict[str, Any] = field(default_factory=dict)

    @property
    def module(self) -> Any:
        """The model and its loss terms."""
        return self.training.model.module

    @property
    def tasks(self) -> tuple[TaskSpec, ...]:
        """The tasks of the run."""
        return self.training.spec.tasks

    def model_of(self, task: TaskSpec) -> TaskModel:
        """The model of one task."""
        return self.training.model.task_model.of_task(task.name)

    def term_of(self, task: TaskSpec) -> str:
        """The name of a task's own term."""
        return task.name or str(self.module.task_terms[0])

    @property
    def steps(self) -> int | None:
        """Steps of the whole run; None where minutes limit it."""
        trainer = self.training.config.trainer
        if trainer.max_steps is not None or trainer.max_epochs is None:
            return trainer.max_steps
        rows = 0.0
        for name, splits in self.whole.items():
            sampled = self.training.data.rows[name]
            rows += len(splits.train) * len(sampled.train) / max(1, len(sampled.splits.training))
        a_step = trainer.batch_size - self.training.data.loader.alone_a_step
        return max(1, round(trainer.max_epochs * -(-rows // a_step)))

    @property
    def read(self) -> int | None:
        """Rows that the whole run reads; None where minutes limit it."""
        return None if self.steps is None else self.steps * self.training.config.trainer.batch_size

    def schedule(self) -> tuple[Schedule, int]:
        """(the schedule of the whole run, the update at which its rates are highest)."""
        schedule = Schedule(self.training.config.schedule, self.steps)
        last = min(self.steps or 20_000, 20_000)
        return schedule, max(range(last), key=lambda update: (schedule.factor(update, "base"), -update))

    # rows

    def batch(self, rows: list[int]) -> Batch:
        """Rows by their numbers over all tasks, as a step collates them."""
        return self.training.to_device(self.training.data.loader.together(0, rows))

    def by_heart(self) -> Batch:
        """The rows that are learnt by heart."""
        loader = self.training.data.loader
        numbers = []
        for task in self.tasks:
            features, first = self.training.data.rows[task.name].train, loader.first_of(task.name)
            chosen = set(self.rows[task.name])
            numbers += [first + row for row in range(len(features)) if features.example_of(row) in chosen]
        return self.batch(numbers)

    def longest(self, count: int) -> Batch:
        """The longest rows."""
        return self.training.to_device(self.training.data.loader.longest(count))

    def few(self, count: int, turn: int) -> list[int]:
        """So many rows of the first epoch, others at each turn."""
        plan = [row for step in self.training.data.loader.plan(0) for row in step]
        start = (turn * count) % len(plan)
        return [*plan[start:start + count], *plan[:max(0, start + count - len(plan))]][:len(plan)]

    # weights

    def remember(self) -> None:
        """Keep the weights as they are now. From here on no average of them is made: they go back and forth."""
        self._start = {name: value.detach().clone() for name, value in self._changing()}
        self._weighting = self.training.model.weighting.save()
        self._scaler = self.training.precision.scaler.state_dict()
        self.training.optimization.average = self.training.optimization.step.average = None

    @torch.no_grad()
    def begin_again(self) -> None:
        """Put the weights back, and forget what the optimizer knew of them."""
        for name, value in self._changing():
            value.copy_(self._start[name])
        self.training.optimization.optimizer.state.clear()
        self.training.optimization.optimizer.zero_grad(set_to_none=True)
        self.training.model.weighting.load(*self._weighting)
        if self._scaler:  # of a format that scales
            self.training.precision.scaler.load_state_dict(self._scaler)

    def moved(self, parameters: Iterator[nn.Parameter]) -> tuple[float, float]:
        """(length of the way that some weights have gone, their own length at the start)."""
        wanted = {id(parameter) for parameter in parameters}
        gone = kept = 0.0
        for name, value in self._changing():
            if id(value) in wanted and (start := self._start[name]).is_floating_point():
                gone += float((value.detach() - start).float().square().sum())
                kept += float(start.float().square().sum())
        return gone ** 0.5, kept ** 0.5

    def _changing(self) -> Iterator[tuple[str, Tensor]]:
        yield from ((name, value) for name, value in self.module.named_parameters() if value.requires_grad)
        yield from self.module.named_buffers()

    # losses

    def means(self, batch: Batch, grad: bool = False, exact: bool = False) -> dict[str, Tensor]:
        """The mean of every term over a batch, of the terms that count anything in it; ``exact``: in fp32."""
        counts = self.module.counts(batch)
        with torch.set_grad_enabled(grad), nullcontext() if exact else self.training.precision.autocast():
            sums = self.module(batch, LATE)
        return {name: sums[name] / counts[name] for name in self.module.terms if name in sums and counts[name] > 0}

    def losses(self, batch: Batch) -> dict[str, float]:
        """The same as numbers, without dropout."""
        with self.still():
            return {name: float(value) for name, value in self.means(batch).items()}

    def losses_without(self, batch: Batch, removed: tuple[Removal, ...]) -> dict[str, float]:
        """The same without some ways on which the document reaches the output, in fp32: 16 bits would round what two of
        them differ by."""
        with without(removed), self.still():
            return {name: float(value) for name, value in self.means(batch, exact=True).items()}

    @contextmanager
    def still(self) -> Iterator[None]:
        """Without dropout."""
        self.module.eval()
        try:
            yield
        finally:
            self.module.train()


def without(removed: tuple[Removal, ...]) -> ExitStack:
    """Takes some ways away, until the context ends."""
    stack = ExitStack()
    for one in removed:
        stack.enter_context(one())
    return stack


def choose(splits: Splits, rows: int, longest: int) -> Splits:
    """Some of the rows: ``rows`` of train by a hash, then the ``longest``; few of the others, and no test row."""
    by_hash = subset(splits.train, rows)
    known = set(map(id, by_hash))
    others = sorted((one for one in splits.train if id(one) not in known), key=lambda one: -len(one.source))
    return replace(splits, train=[*by_hash, *others[:longest]], validation=subset(splits.validation, HELD_OUT), test=[],
                   unlabelled=subset(splits.unlabelled, longest), notes=[*splits.notes])


def easily_learnt(run: SampleRun, task: TaskSpec, count: int) -> list[int]:
    """Examples of a task that are short, have a target, and differ in how it begins as far as they can."""
    features = run.training.data.rows[task.name].train
    rows_of: dict[int, list[int]] = {}
    for row in range(len(features)):
        rows_of.setdefault(features.example_of(row), []).append(row)
    size = {example: sum(len(features.input_ids[row]) + len(features.labels[row]) for row in mine)
            for example, mine in rows_of.items()}
    short = sorted(rows_of, key=lambda example: (size[example], example))
    short = short[len(short) // 8:] or short  # the very shortest may be hardly anything
    short = [example for example in short[:64 * count] if _has_target(run, task, rows_of[example])]
    chosen, begun = [], set()
    for example in short[:8 * count]:
        if (first := tuple(features.labels[rows_of[example][0]][:1].tolist())) not in begun:
            chosen.append(example)
            begun.add(first)
    chosen += [example for example in short if example not in set(chosen)]
    return sorted(chosen[:count])


def _has_target(run: SampleRun, task: TaskSpec, rows: list[int]) -> bool:
    """Whether the task's own term counts anything in some rows."""
    if not run.module.task_terms:
        return True
    first = run.training.data.loader.first_of(task.name)
    return bool(run.module.counts(run.batch([first + row for row in rows]))[run.term_of(task)] > 0)


def other_rows_documents(batch: Batch) -> Batch:
    """The batch in which each row has the document of the row before it, and all else of its own."""
    if PARTS in batch:
        return batch | {PARTS: {name: other_rows_documents(rows) for name, rows in batch[PARTS].items()}}
    return batch | {name: batch[name].roll(1, 0) for name in ("input_ids", "attention_mask")}


