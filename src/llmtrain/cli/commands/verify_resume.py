"""``llmtrain verify-resume OVERRIDES``: does a stopped run go on bit by bit, here, with this configuration?

A run of a few steps goes straight through; another one stops in the middle as a signal would stop it, saves, and a new
process goes on. What both hold before each step and at the end is compared, and the first thing that differs is named.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmtrain import plugins
from llmtrain.cli.options import STEPS, STOP, TRACE, Given
from llmtrain.config.load import load_config
from llmtrain.config.overrides import config_files
from llmtrain.config.schema import TrainConfig
from llmtrain.core.children import Forwarding
from llmtrain.core.errors import ConfigError, LlmtrainError, NumericsError, ResourceError, Stopped
from llmtrain.core.lock import FolderLock

if TYPE_CHECKING:
    from llmtrain.training.diagnostics.state_trace import State

STOPPED = 143
ROWS = 4  # validated on at the end: the comparison needs no score
# in the order in which one thing follows from another; parts of other names come last
ORDER = ("row order", "masks and other inputs", "random", "progress", "precision", "schedule", "weighting", "optimizer",
         "weights")
NAMES = {"random": "random state", "precision": "loss scaler and format", "average": "average of the weights"}


def run(overrides: list[str], given: Given) -> int:
    """Compare; 0 when everything is alike, NumericsError (exit 4) with what differs first."""
    steps, stop = (int(given.get(option, [default])[-1]) for option, default in ((STEPS, "6"), (STOP, "3")))
    if TRACE in given:
        return _traced(overrides, Path(given[TRACE][-1]), stop if STOP in given else None)
    if not 0 < stop < steps:
        raise ConfigError(f"--stop {stop} must be more than 0 and less than --steps {steps}; change one of them")
    config = load_config("train", [*overrides, *_fixed(steps)])
    folder = Path(tempfile.mkdtemp(prefix="llmtrain-verify-resume-"))
    try:
        with FolderLock(folder):  # `clean` takes away what is left of it once nobody holds it
            return _compare(_Trials(folder, config, [*overrides, *_fixed(steps)]), steps, stop)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fixed(steps: int) -> list[str]:
    """What every run here has: a few steps, hardly any rows to score, no tracker; one line of the log, so that a stop
    leaves half a window behind it."""
    return [f"trainer.max_steps={steps}", "trainer.max_epochs=null", "trainer.max_minutes=null",
            "trainer.eval_every=null", "trainer.save_every=null", f"trainer.eval_rows={ROWS}",
            f"trainer.log_every={steps}", "trainer.patience=null", "trainer.tracker=none", "run.extend_from=null",
            "run.resume=auto", f"objective.auto_steps={max(1, steps // 3)}", "data.max_test_rows=0",
            "eval.baselines=false", "eval.bootstrap_samples=5"]


class _Trials:
    """Runs in processes of their own, and the traces they leave."""

    def __init__(self, folder: Path, config: TrainConfig, overrides: list[str]) -> None:
        self._folder, self._overrides = folder, overrides
        self._processes = config.trainer.processes or 1

    def start(self, name: str, stop: int | None = None, more: tuple[str, ...] = ()) -> None:
        """Train, or go on with, the run ``name``; its output is shown when it fails.

        Raises:
            LlmtrainError: It ended otherwise than it should; its last line is told, with its exit code.
        """
        trace = self._folder / f"{name}.jsonl"
        command = [sys.executable, "-m"]
        if self._processes > 1:
            command += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(self._processes), "-m"]
        command += ["llmtrain", "verify-resume", *plugins.arguments(), *config_files.arguments(), "--trace", str(trace),
                    *([] if stop is None else ["--stop", str(stop)]), *self._overrides, *more,
                    f"run.root={self._folder}", f"run.name={name}"]
        output = self._folder / f"{name}.log"
        with output.open("ab") as log, Forwarding() as forwarding:
            code = forwarding.run(command, log)
        text = output.read_text(encoding="utf-8", errors="replace")
        if forwarding.signals:
            raise Stopped("stopped; nothing of the comparison is kept", forwarding.signals[0])
        if code < 0:
            raise ResourceError(f"the run {name!r} was killed by signal {-code}, which is 9 where the system was out "
                                "of memory; free memory or lower trainer.batch_size, then run the same command again")
        if code != (0 if stop is None else STOPPED) and not (self._processes > 1 and stop is not None and code):
            lines = [line for line in text.splitlines() if line.startswith("llmtrain: ")] or text.splitlines()[-1:]
            failure = LlmtrainError(f"the run {name!r} ended with {code}: {line.removeprefix('llmtrain: ')}"
                                    for line in lines[-3:])
            failure.exit_code = code or 1
            raise failure

    def states(self, name: str) -> Iterator[tuple[int, int, State]]:
        """(rank, step, state) in the order of the steps; a step that a run came to twice counts the second time."""
        for rank in range(self._processes):
            found: dict[int, State] = {}
            for row in self._rows(name, rank):
                found[row["step"]] = row["state"]
            for step, state in sorted(found.items()):
                yield rank, step, state

    def on_cuda(self, name: str) -> bool:
        """Whether the run had a CUDA device: its random state is then among what was noted."""
        return any(key.endswith(".cuda") for row in self._rows(name, 0) for key in row["state"].get("random", {}))

    def went_back(self, name: str) -> str | None:
        """Told when a start of the run did not go on where the one before it stopped: alike, and yet no resume."""
        for rank in range(self._processes):
            for before, after in pairwise(row["step"] for row in self._rows(name, rank)):
                if after < before:
                    return (f"the run {name!r} stopped before step {before + 1} and its next start began before step "
                            f"{after + 1} again: it did not go on from its checkpoint")
        return None

    def _rows(self, name: str, rank: int) -> list[dict[str, Any]]:
        text = (self._folder / f"{name}.jsonl{rank or ''}").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


def _compare(trials: _Trials, steps: int, stop: int) -> int:
    print(f"a run of {steps} steps, and one that is stopped before step {stop + 1} and gone on with", flush=True)
    trials.start("straight")
    trials.start("stopped", stop)
    trials.start("stopped")
    difference = trials.went_back("stopped") or first_difference(trials, "straight", "stopped")
    if difference is None:
        print(f"alike bit by bit before each of {steps} steps and at the end: row order, masks, random state, scaler, "
              "schedule, optimizer, weights")
        return 0
    problems = [difference]
    if trials.on_cuda("straight"):
        problems += _blame_cuda(trials)
    raise NumericsError(problems)


def _blame_cuda(trials: _Trials) -> list[str]:
    """Whether the run repeats at all, and which operation does not."""
    trials.start("again")
    if first_difference(trials, "straight", "again") is None:
        return []
    try:
        trials.start("strict", more=("trainer.deterministic=true",))
    except LlmtrainError as error:
        return [f"two straight runs differ too; torch names what is not deterministic: {error.problems[0]}"]
    return ["two straight runs differ too, so the device's own arithmetic does not repeat; torch names no operation"]


def first_difference(trials: Any, one: str, other: str) -> str | None:
    """The first thing that differs between two runs' traces, in one line; None when nothing does."""
    first, second = list(trials.states(one)), list(trials.states(other))
    for (rank, step, mine), (other_rank, other_step, theirs) in zip(first, second, strict=False):
        if (rank, step) != (other_rank, other_step):
            break
        for what in sorted(mine, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER)):
            if mine[what] == theirs.get(what):
                continue
            names = [name for name in mine[what] if mine[what][name] != theirs.get(what, {}).get(name)]
            name = names[0] if names else next(iter(theirs[what].keys() - mine[what].keys()))
            more = f" ({len(names)} differ)" if len(names) > 1 else ""
            where = f"before step {step + 1}" + (f" of process {rank}" if rank else "")
            values = [state.get(what, {}).get(name, "missing") for state in (mine, theirs)]
            return (f"first difference {where}, in the {NAMES.get(what, what)}: {name}{more} is {values[0]} in the run "
                    f"{one!r} and {values[1]} in the run {other!r}")
    lengths = [[step for _, step, _ in states] for states in (first, second)]
    if lengths[0] != lengths[1]:
        return f"the run {one!r} came to the steps {lengths[0]} and the run {other!r} to {lengths[1]}"
    return None


def _traced(overrides: list[str], path: Path, stop: int | None) -> int:
    """One start of a run, traced: what the processes that :class:`_Trials` makes do."""
    from llmtrain.training.diagnostics.state_trace import StateTrace
    from llmtrain.training.run_folder.claim import RunFolder
    from llmtrain.training.start import start_processes, start_training
    from llmtrain.training.trainer import ended, train

    config = load_config("train", overrides)
    rank = os.environ.get("RANK", "0")
    trace = StateTrace(path.with_name(path.name + (rank if rank != "0" else "")), stop)
    folder = RunFolder.claim(config)
    try:
        training = start_training(config, folder, start_processes(config, folder))
        if not ended(training):
            train(training, trace)
        trace.note(training, [])
        return 0
    finally:
        folder.release()
