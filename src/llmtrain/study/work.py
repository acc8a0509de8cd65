"""Runs the cells of a study, each in a process of its own, and tells how it goes.

What is done is read from the run folders alone, so a study that was stopped in any way goes on where it stood: finished
runs are passed over, and one that was stopped goes on from its checkpoint as any run does.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llmtrain.core.children import Forwarding
from llmtrain.core.errors import ConfigError, ResourceError, Stopped
from llmtrain.core.files import make_folder, read_json
from llmtrain.core.lock import LOCK_NAME, FolderLock
from llmtrain.core.logging import say, warn
from llmtrain.study.paces import Pace
from llmtrain.study.plan import Plan, Run
from llmtrain.study.run_folders import RESULTS, is_finished, last_step, scores_of
from llmtrain.study.starting import LOGS, check_disk, kept, place, problem_of, share, train_command

PAUSED = 128 + signal.SIGTERM
POLL_SECONDS = 0.1
LONGEST_WAIT = 600.0  # seconds for what an earlier start left at work to save and end


@dataclass(slots=True)
class Started:
    """A run at work."""

    run: Run
    process: subprocess.Popen[bytes]
    slot: int
    log: Path
    offset: int
    since: float


@dataclass(slots=True)
class StudyRuns:
    """The runs of a study as they are done.

    Attributes:
        problems: Why runs failed in this start, by their names, in one line each.
        codes: Their exit codes.
    """

    plan: Plan
    forwarding: Forwarding
    paces: dict[str, Pace]
    problems: dict[str, str] = field(default_factory=dict)
    codes: list[int] = field(default_factory=list)
    _took: dict[str, list[float]] = field(default_factory=dict)  # seconds of whole runs, by cell
    _looked: bool = False  # at the disk

    def folder(self, run: Run) -> Path:
        return self.plan.folder / run.name

    def train(self, runs: Sequence[Run], pause: dict[str, int] | None = None) -> None:
        """Bring every run to its end, or to the step at which its cell pauses; those that fail are told and passed
        over.

        Args:
            pause: Steps by cell.

        Raises:
            Stopped: A signal asked to stop; every run has saved.
        """
        waiting = [run for run in runs if not self.there(run, pause)]
        done = len(runs) - len(waiting)
        slots = list(range(self.plan.study.parallel))
        at_work: list[Started] = []
        for number, run in enumerate(waiting, done + 1):
            while len(at_work) == len(slots):
                at_work = self._wait(at_work, waiting)
            free = next(slot for slot in slots if slot not in [one.slot for one in at_work])
            say(f"run {number} of {len(runs)}: {run.name}" + (f", to step {pause[run.cell.name]}" if pause else ""))
            at_work.append(self._start(run, free, pause))
        while at_work:
            at_work = self._wait(at_work, waiting)

    def there(self, run: Run, pause: dict[str, int] | None) -> bool:
        """Whether a run has ended, or stands where it pauses."""
        folder = self.folder(run)
        if is_finished(folder):
            return True
        return pause is not None and last_step(folder) >= pause[run.cell.name]

    def _start(self, run: Run, slot: int, pause: dict[str, int] | None) -> Started:
        self._wait_for_lock(self.folder(run))
        log = self.plan.folder / LOGS / f"{run.name}.log"
        make_folder(log.parent)
        offset = log.stat().st_size if log.exists() else 0
        stop = [] if pause is None else ["--pause", str(pause[run.cell.name])]
        command = [*train_command(run.cell.config.trainer.processes), *stop, *self.plan.typed, *run.cell.overrides,
                   *run.cell.length, *kept(self.plan, run), *place(self.plan.folder, run.name), f"run.seed={run.seed}"]
        with log.open("ab") as output:
            process = self.forwarding.start(command, output, share(slot, self.plan.study.parallel))
        return Started(run, process, slot, log, offset, time.monotonic())

    def _wait(self, at_work: list[Started], waiting: Sequence[Run]) -> list[Started]:
        """What is still at work once a run has ended. Raises Stopped where a signal asked for it."""
        while True:
            if self.forwarding.signals:
                for one in at_work:
                    one.process.wait()
                raise Stopped(f"stopped; what was trained is saved in {self.plan.folder}, and the same command goes on",
                              self.forwarding.signals[0])
            ended = [one for one in at_work if one.process.poll() is not None]
            if ended:
                break
            time.sleep(POLL_SECONDS)
        left = [one for one in at_work if one not in ended]
        for one in ended:
            self._tell(one)
            if not self._looked and is_finished(self.folder(one.run)):
                self._looked = True
                runs = [run for run in waiting if not self.folder(run).exists()]
                if (line := check_disk(self.folder(one.run), len(runs))) is not None:
                    warn(line)
        if not self.forwarding.signals and (minutes := self._left(waiting)) is not None:
            say(f"  about {minutes:.0f} min left" if minutes >= 1 else "  less than a minute left")
        return left

    def _tell(self, one: Started) -> None:
        """A line about a run that has ended."""
        code, folder = one.process.returncode, self.folder(one.run)
        took = time.monotonic() - one.since
        if is_finished(folder):
            self._took.setdefault(one.run.cell.name, []).append(took)
            results = read_json(folder / RESULTS)
            value = scores_of(results).get(self.plan.metric)
            told = f"{self.plan.metric} {value:.2f}" if value is not None else "no score"
            speed = f", {results['tokens_per_second']:,.0f} tokens/s" if self.plan.study.parallel == 1 else ""
            say(f"  {told}{speed}, {took:.0f} s")
        elif code == PAUSED and not self.forwarding.signals and last_step(folder) > 0:
            say(f"  paused at step {last_step(folder)}, {took:.0f} s")
        elif not self.forwarding.signals:
            self.problems[one.run.name] = problem_of(one.log, one.offset, code)
            self.codes.append(code if code > 0 else ResourceError.exit_code)
            say(f"  failed, passed over: {self.problems[one.run.name]}")

    def _left(self, runs: Sequence[Run]) -> float | None:
        """Minutes that the runs which are not done will take; None where nothing is known yet."""
        known = {name: statistics.fmean(took) for name, took in self._took.items()}
        if not known:
            return None
        seconds = 0.0
        for run in runs:
            if run.name not in self.problems and not is_finished(self.folder(run)):
                pace = self.paces.get(run.cell.name)
                expected = statistics.fmean(known.values()) if pace is None or run.steps is None else (
                    pace.start + pace.step * run.steps)
                seconds += known.get(run.cell.name, expected)
        return seconds / 60 / self.plan.study.parallel if seconds else None

    def _wait_for_lock(self, folder: Path) -> None:
        """A run of a study that was killed saves and ends by itself: let it. Raises ConfigError where it does not."""
        until = time.monotonic() + LONGEST_WAIT
        told = False
        while (folder / LOCK_NAME).exists():
            try:
                FolderLock(folder).release()
                return
            except ConfigError:
                if time.monotonic() > until or self.forwarding.signals:
                    raise
                if not told:
                    say(f"waiting for another process to leave {folder}")
                told = True
                time.sleep(POLL_SECONDS)
