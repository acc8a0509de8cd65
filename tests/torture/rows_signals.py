"""Rows about signals: every kind, in every phase of a run."""

from __future__ import annotations

import random
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from torture import rows_ranks
from torture.bench import Bench, Run, must
from torture.hooks import MOMENT, PHASES
from torture.observe import alike, finished, left_over, pointed, steps, whole_steps

LIMIT = 2  # seconds of CPU time that a stop may take, its step and its save included
SLACK = 10  # more that may pass meanwhile: the machine may be busy
STEPS = 8
BURST, LATER = 0.04, 0.5  # two signals that are one request; a second request
LEFT = ("evaluation", "generation", "scoring")  # phases that a stop leaves at once: it has saved before a second one


@dataclass(frozen=True)
class Case:
    """A signal in a phase, once or again after some seconds, to the process or to its group."""

    phase: str
    number: int
    again: float | None
    group: bool

    def __str__(self) -> str:
        twice = "" if self.again is None else f", again after {self.again:g} s"
        return f"{signal.Signals(self.number).name} in {self.phase}{twice}{', to the group' if self.group else ''}"

    @property
    def saved(self) -> int | None:
        """The step that it leaves saved: a stop its own, a request to save the next one; None where there is none."""
        early, late = MOMENT
        saves = self.number == signal.SIGUSR1
        if self.phase == "start":
            return 1 if saves else None
        if self.phase == "scoring":
            return STEPS
        return (early + 1 if self.phase in ("step", "accumulation", "workers") else late) + saves


def cases(n: int, draw: random.Random) -> list[Case]:
    """Each phase in turn, with each signal in turn; how often and to whom is drawn."""
    made = []
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    for trial in range(n):
        phase = PHASES[trial % len(PHASES)]
        again = draw.choice((None, None, BURST, LATER))
        made.append(Case(phase, numbers[trial % len(numbers)], again, phase == "workers" or draw.random() < 0.3))
    return made


def signalled(bench: Bench, n: int, draw: random.Random) -> str:
    """R4: SIGTERM, SIGINT and SIGUSR1, once and twice, in every phase.

    A stop is saved and ends with 128 + its number; a second one ends at once and damages nothing; SIGUSR1 saves and
    goes on. The same command then ends as the run that got no signal, bit by bit. The long form has two ranks too.
    """
    straight = {phase: bench.run_folder(f"quiet-{kind(phase)}") for phase in PHASES}
    ranks, slowest = n // 9, 0.0
    n -= ranks
    for trial, case in enumerate(cases(n, draw)):
        args, whole = settings(case.phase), straight[case.phase]
        if not whole.is_dir():
            finished(bench, *bench.train_args(whole.name, *args))
        folder, tell = bench.run_folder(f"signalled-{trial}"), bench.folder / f"sent-{trial}"
        run = bench.cli(*bench.train_args(folder.name, *args), hook=(
            "torture.hooks:signal_in", [case.phase, int(case.number), case.again, case.group, str(tell)]))
        must(tell.exists(), f"{case}: it was never sent; the run ended with {run.code}: {run.err()[-800:]}")
        slowest = max(slowest, check(case, run, folder, *map(float, tell.read_text(encoding="utf-8").split())))
        finished(bench, *bench.train_args(folder.name, *args))
        if case.number == signal.SIGUSR1 and case.saved is not None:
            must(case.saved in steps(folder), f"{case}: step {case.saved} was not saved, but {steps(folder)}")
        alike(whole, folder, STEPS)
        must(not left_over(folder), f"{case}: left over: {left_over(folder)}")
        shutil.rmtree(folder)
    told = f", {rows_ranks.signalled(bench, ranks, draw)}" if ranks else ""
    return (f"{n} signals over {len(PHASES)} phases, the slowest stop {slowest:.2f} s of CPU time{told}, each run gone "
            "on with bitwise")


def kind(phase: str) -> str:
    return phase if phase in ("accumulation", "workers") else "plain"


def settings(phase: str) -> list[str]:
    return [f"trainer.max_steps={STEPS}", f"trainer.eval_every={MOMENT[1]}", "trainer.keep_last=99",
            *{"accumulation": ["trainer.accumulate=2"], "workers": ["data.workers=2"]}.get(phase, [])]


def check(case: Case, run: Run, folder: Path, sent: float, used: float) -> float:
    """What must hold once the run that got the signal has ended; returns the CPU time that the stop took.

    Args:
        sent: When the last signal came, by time.monotonic, and ``used``: the CPU time of the run until then.
    """
    text = run.err()
    must("Traceback" not in text, f"{case}: a traceback: {text[-1500:]}")
    must(text.count("stopping after this step") <= 1, f"{case}: it was told more than once: {text[-800:]}")
    must(whole_steps(folder) == steps(folder), f"{case}: of {steps(folder)} only {whole_steps(folder)} are whole")
    if case.number == signal.SIGUSR1:
        must(run.code == 0, f"{case}: it ended with {run.code}, not with 0: {text[-800:]}")
        return 0.0
    must(run.code == 128 + case.number, f"{case}: it ended with {run.code}, not {128 + case.number}: {text[-800:]}")
    took, busy = (run.ended or 0) - sent, run.busy - used
    must(busy < LIMIT and took < LIMIT + SLACK,
         f"{case}: it took {took:.1f} s to end, {busy:.1f} s of CPU time in them")
    if case.saved is None:
        must(not steps(folder), f"{case}: {steps(folder)} were saved before the first step")
        return busy
    last = pointed(folder, "last")
    if case.again == LATER and case.phase not in LEFT:  # what was being done is lost
        must(last != case.saved, f"{case}: the second one did not end it, step {last} was saved: {text[-800:]}")
    else:
        must(last == case.saved, f"{case}: the last saved step is {last}, not {case.saved}: {text[-800:]}")
    return busy
