"""All checks of a run in their order, each in its part of the time, none of them able to end the others."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from llmtrain.config.choices import Tracker
from llmtrain.config.schema import TrainConfig
from llmtrain.core.errors import LlmtrainError, shorten
from llmtrain.core.lock import FolderLock
from llmtrain.data.examples import Splits
from llmtrain.doctor.by_heart import ROWS, Student, look_at_learning
from llmtrain.doctor.check_result import Level, Verdict
from llmtrain.doctor.clock import Clock
from llmtrain.doctor.learning_rate import look_at_rates
from llmtrain.doctor.machine import look_at_products, look_at_range, look_at_steps
from llmtrain.doctor.pairing import look_at_pairs
from llmtrain.doctor.predicting import look_at_predictions, look_at_round_trip
from llmtrain.doctor.resources import look_at_disk, look_at_memory, look_at_time
from llmtrain.doctor.row_checks import look_at_cuts, look_at_rows, look_at_splits
from llmtrain.doctor.sample_run import SampleRun, choose, easily_learnt
from llmtrain.doctor.token_checks import look_at_decoding, look_at_tokens
from llmtrain.doctor.ways import look_at_document, look_at_terms, look_at_ways
from llmtrain.training.accelerator import start_accelerator
from llmtrain.training.build import build
from llmtrain.training.library_state import libraries_as_found
from llmtrain.training.read_data import Sample
from llmtrain.training.resolve import resolve
from llmtrain.training.run_folder.claim import RunFolder
from llmtrain.training.spec import TaskSpec

RUN, CACHE = "run", "cache"  # what lies in its folder
TRIAL = 1000  # rows that a run reads in all: one that reads no more tries something out
TOLD = "llmtrain: "  # before what a start warns of


def examine(config: TrainConfig, seconds: float, rows: int) -> Iterator[Verdict]:
    """What is found, a line as soon as it is known. Nothing is left behind but the caches that ``llmtrain data show``
    fills too.

    Args:
        config: Of the run that would be trained.
        seconds: For all checks, about.
        rows: Training rows that the checks work with.
    """
    clock = Clock(seconds)
    folder = Path(tempfile.mkdtemp(prefix="llmtrain-doctor-"))
    try:
        with libraries_as_found(), FolderLock(folder):  # `clean` takes away what is left of it once nobody holds it
            try:
                run, told = _built(_alone(config), clock, folder, rows)
            except LlmtrainError as error:
                yield from (_refused("start", problem) for problem in error.problems)
                return
            yield from told
            yield from _all(run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _all(run: SampleRun) -> Iterator[Verdict]:
    """The checks, in order: what is cheap first; those that move the weights each begin with the run's own."""
    yield from _part(run, 3, "matrix products", look_at_products)
    for name, look in (("rows", look_at_rows), ("rows of two splits", look_at_splits),
                       ("targets of their rows", look_at_pairs), ("special tokens", look_at_tokens)):
        yield from _of_tasks(run, 4, name, look)
    for name, look in (("cuts", look_at_cuts), ("decode settings", look_at_decoding)):
        yield from map(partial(_of_trial, run), _of_tasks(run, 4, name, look))
    yield from _part(run, 6, "memory", look_at_memory)
    yield from _part(run, 1, "disk", look_at_disk)
    yield from _part(run, 5, "number range", look_at_range)
    if not run.usable:
        return
    run.remember()
    yield from _part(run, 10, "a real step", look_at_steps)
    yield from _part(run, 12, "learning rate", look_at_rates)
    student = Student(run, run.by_heart())
    yield from _part(run, 3, "terms", partial(look_at_terms, student=student))
    yield from _part(run, 14, "learns by heart", partial(look_at_learning, student=student))
    yield from _of_tasks(run, 4, "the document", partial(look_at_document, student=student))
    yield from _of_tasks(run, 4, "predicts what it learnt", partial(look_at_predictions, student=student))
    yield from _part(run, 5, "save and load", partial(look_at_round_trip, student=student))
    yield from _of_tasks(run, max(5, 12 / len(run.tasks)), "ways of the document",
                         partial(look_at_ways, student=student))
    yield from _part(run, 1, "time", look_at_time)


def _of_trial(run: SampleRun, verdict: Verdict) -> Verdict:
    """What shortens texts is meant where hardly anything is trained: told, and not judged."""
    if verdict.level in (Level.ok, Level.skip) or run.read is None or run.read > TRIAL:
        return verdict
    return replace(verdict, level=Level.ok, remedy="",
                   found=f"{verdict.found}; not judged, in a run that reads {run.read} rows in all")


def _of_tasks(run: SampleRun, seconds: float, name: str, look: Callable[[SampleRun, TaskSpec], Iterator[Verdict]],
              ) -> Iterator[Verdict]:
    """A check of each task; of several its name is told."""
    for task in run.tasks:
        for verdict in _part(run, seconds, name, partial(_of_task, look, task)):
            yield replace(verdict, check=f"{task.name}: {verdict.check}") if task.name else verdict


def _of_task(look: Callable[[SampleRun, TaskSpec], Iterator[Verdict]], task: TaskSpec, run: SampleRun,
             ) -> Iterator[Verdict]:
    return look(run, task)


def _part(run: SampleRun, seconds: float, name: str, look: Callable[[SampleRun], Iterator[Verdict]],
          ) -> Iterator[Verdict]:
    """A check in its part of the time. What it stops with is its result: training would stop there too."""
    with run.clock.part(seconds):
        try:
            yield from look(run)
        except LlmtrainError as error:
            yield from (_refused(name, problem) for problem in error.problems)
        except Exception as error:
            if os.environ.get("LLMTRAIN_DEBUG") == "1":
                raise
            yield Verdict(name, Level.fail, shorten(f"stopped by {type(error).__name__}: {error}", 300),
                          "training would stop there too; LLMTRAIN_DEBUG=1 shows the traceback")


def _built(config: TrainConfig, clock: Clock, folder: Path, rows: int) -> tuple[SampleRun, list[Verdict]]:
    """The run on a sample of its rows, and what its start warned of."""
    whole: dict[str, Splits] = {}

    def chosen(task: str, splits: Splits) -> Splits:
        whole[task] = splits
        return choose(splits, rows, max(8, config.trainer.batch_size // 4))

    said, warned = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(warned):
        accelerator = start_accelerator(config, None)
        training = build(resolve(config), RunFolder(folder / RUN), accelerator,
                         sample=Sample(chosen, folder / CACHE))
    training.model.module.train()
    run = SampleRun(training, whole, clock, folder)
    few = max(2, ROWS // len(run.tasks))
    run.rows = {task.name: easily_learnt(run, task, few) for task in run.tasks}
    return run, [_refused("start", line.removeprefix(TOLD), Level.warn)
                 for line in warned.getvalue().splitlines() if line.startswith(TOLD)]


def _alone(config: TrainConfig) -> TrainConfig:
    """The same run in this process alone, without trackers and loader processes."""
    made = copy.deepcopy(config)
    made.data.workers, made.trainer.tracker, made.trainer.find_batch_size = 0, Tracker.none, False
    made.trainer.processes = None
    return made


def _refused(check: str, problem: str, level: Level = Level.fail) -> Verdict:
    what, _, remedy = problem.partition("; ")
    return Verdict(check, level, what, remedy)
