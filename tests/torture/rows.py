"""The table's rows, and how one is run.

A row is a function in a file ``rows_*.py`` that raises bench.Caught when what must hold does not. It gets a bench, the
number of trials and a seeded generator, and returns what it did, in words and counts, for the summary. Each row must
fail on its mutants (mutants.py).
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from torture.bench import Bench, Caught, changed_source
from torture.mutants import MUTANTS

Body = Callable[[Bench, int, random.Random], str]


class Skipped(Exception):
    """This machine lacks or forbids what the row needs; the text says what."""


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        id: R1, R2 ...
        about: What is done, in a few words.
        target: "module:function" under tests/torture.
        short: Trials in CI, and ``long``: trials of the long form.
        negative: Trials that are enough to catch the row's mutants.
    """

    id: str
    about: str
    target: str
    short: int
    long: int
    negative: int

    @property
    def body(self) -> Body:
        module, _, function = self.target.partition(":")
        return getattr(import_module(f"torture.{module}"), function)  # type: ignore[no-any-return]

    @property
    def mutants(self) -> list[str]:
        return [name for name, mutant in MUTANTS.items() if self.id in mutant.caught_by]


ROWS: dict[str, Row] = {row.id: row for row in (
    Row("R1", "kill -9 at random moments, most inside a save", "rows_crash:killed", 9, 300, 6),
    Row("R2", "SIGKILL at every file-system call of a save and prune", "rows_disk:killed_at_calls", 2, 10_000, 1),
    Row("R3", "writes that fail: full, broken, read-only disks, closed folders, limits", "rows_full:refused", 5, 60, 1),
    Row("R4", "signals in every phase", "rows_signals:signalled", 8, 100, 8),
    Row("R5", "stopped at a step and gone on with", "rows_crash:stopped", 4, 460, 2),
    Row("R6", "one file of a checkpoint damaged, or swapped between steps", "rows_files:damaged", 60, 2000, 60),
    Row("R7", "huge and non-finite weights, non-finite losses", "rows_numbers:not_finite", 6, 18, 6),
    Row("R8", "fp16 overflow at known steps", "rows_numbers:overflows", 2, 20, 1),
    Row("R9", "malformed data, keys, bases, predictions", "rows_input:malformed", 30, 3000, 12),
    Row("R10", "one of two ranks killed, stopped, raising, exiting", "rows_ranks:lost", 2, 30, 1),
    Row("R11", "a data worker killed or stopped", "rows_processes:worker_lost", 2, 30, 1),
    Row("R12", "hostile models, checkpoints, configurations, data", "rows_hostile:hostile", 24, 10_000, 7),
    Row("R13", "secrets in the environment, on the command line, in a URL", "rows_secrets:kept", 6, 23, 6),
    Row("R14", "no network; a hub that refuses, is silent, slow or broken", "rows_network:no_network", 2, 17, 1),
    Row("R15", "two runs started in one folder at once; a holder killed", "rows_processes:one_folder", 8, 200, 2),
    Row("R16", "keep_last and best over every crash point", "rows_crash:crash_points", 6, 10_000, 3),
    Row("R18", "documents of every kind to summarize", "rows_documents:documents", 5, 72, 2),
)}


@contextmanager
def bench_for(folder: Path, mutant: str | None = None, keep: bool = False) -> Iterator[Bench]:
    """A bench on the current source, or on a copy with one mutant in it; its folder is removed afterwards, unless it is
    to be kept when the row fails."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        if mutant is None:
            with Bench(folder / "bench") as bench:
                yield bench
            keep = False
            return
        with (changed_source(folder / "mutant", MUTANTS[mutant].change) as source,
              Bench(folder / "bench", source) as bench):
            yield bench
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def run_row(row: Row, bench: Bench, n: int, seed: int) -> str:
    """Run a row; returns its report with the count and the time.

    Raises:
        Caught: What must hold did not.
        Skipped: The machine lacks what the row needs.
    """
    started = time.monotonic()
    report = row.body(bench, n, random.Random(seed))
    return f"{row.id}  {n} trials in {time.monotonic() - started:.1f} s: {report}"


def catches(row: Row, folder: Path, mutant: str, seed: int, n: int | None = None) -> str | None:
    """What the row says against a mutant; None when it lets it pass."""
    with bench_for(folder, mutant) as bench:
        try:
            run_row(row, bench, n or MUTANTS[mutant].trials or row.negative, seed)
        except Caught as caught:
            return str(caught)
    return None
