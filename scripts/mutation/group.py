"""A group of files with the same tests: one process collects the tests, learns which line each of them runs, and forks
once for each mutant."""

from __future__ import annotations

import argparse
import functools
import gc
import importlib
import json
import os
import pickle
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from exchange import Importing, exchange, functions_of
from processes import FAILED, NEEDS_IMPORT, PASSED, Child, fork, keep, quiet, wait
from reach import Baseline, measure, run_tests, with_tests
from sources import Source, Trial


def collected(session: Any, sources: list[Source], trials: list[Trial], options: argparse.Namespace, deadline: float,
              folder: Path, tell: Callable[[Trial], None]) -> int:
    """In the process that has the tests: measure, then try every mutant whose code can be exchanged."""
    for source in sources:  # the registry imports many a module when it is first asked for it
        importlib.import_module(source.module)
    base = folder / "baseline"
    keep(base, Baseline())
    wait([fork(lambda: keep(base, measure(session, sources)) or PASSED)])
    baseline: Baseline = pickle.loads(base.read_bytes())
    functions = functions_of({str(source.path) for source in sources})
    gc.collect()
    gc.freeze()  # so that no fork copies what its collector looks through

    def work(trial: Trial, tests: list[str]) -> int:
        mutant = trial.source.mutants[trial.number]
        try:
            code = mutant.compiled(trial.source.tree, str(trial.source.path))
        except SyntaxError:
            return FAILED
        if not exchange(functions[str(trial.source.path)], code):
            return NEEDS_IMPORT
        return PASSED if run_tests(session, tests) else FAILED

    def jobs() -> Iterator[tuple[Trial, Callable[[], int], float]]:
        for trial in trials:
            tests = baseline.fitting(trial.source, trial.source.mutants[trial.number], options.each)
            if not tests:
                trial.verdict = "unreached"
                tell(trial)
            elif not trial.source.mutants[trial.number].inside:
                trial.verdict = "import"
                tell(trial)
            else:
                yield trial, functools.partial(work, trial, tests), sum(baseline.seconds[test] for test in tests)

    pool(jobs(), options.parallel, deadline, tell)
    return PASSED


def pool(jobs: Iterator[tuple[Trial, Callable[[], int], float]], parallel: int, deadline: float,
         tell: Callable[[Trial], None]) -> None:
    """Run the jobs, so many at a time, until the time is up."""
    running: dict[int, tuple[Trial, Child]] = {}

    def take_one() -> None:
        child, code = wait([child for _, child in running.values()])
        trial, _ = running.pop(child.pid)
        trial.verdict = {PASSED: "survived", NEEDS_IMPORT: "import"}.get(code, "killed")
        trial.why = "by time" if code < 0 else ""
        tell(trial)

    try:
        for trial, work, seconds in jobs:
            while len(running) >= parallel:
                take_one()
            if time.monotonic() > deadline:
                break
            child = fork(work, seconds)
            running[child.pid] = trial, child
        while running:
            take_one()
    finally:
        for _, child in running.values():
            child.kill()
            shutil.rmtree(child.folder, ignore_errors=True)


def run_group(sources: list[Source], trials: list[Trial], tests: list[Path], options: argparse.Namespace,
              deadline: float, folder: Path, done: Callable[[Trial], None]) -> None:
    numbers = {(str(trial.source.path), trial.number): trial for trial in trials}
    reading, writing = os.pipe()

    def group() -> int:
        os.close(reading)
        quiet()

        def tell(trial: Trial) -> None:
            line = json.dumps([str(trial.source.path), trial.number, trial.verdict, trial.why])
            os.write(writing, f"{line}\n".encode())

        return with_tests(tests, options.root, lambda session: collected(
            session, sources, trials, options, deadline, folder, tell))

    (folder / "baseline").unlink(missing_ok=True)
    child = fork(group)
    os.close(writing)
    later: list[Trial] = []
    try:
        with os.fdopen(reading, encoding="utf-8") as lines:
            for line in lines:
                path, number, verdict, why = json.loads(line)
                trial = numbers[path, number]
                trial.verdict, trial.why = verdict, why
                if verdict == "import":
                    trial.verdict = "left"
                    later.append(trial)
                else:
                    done(trial)
        _, code = wait([child])
    except BaseException:
        child.kill()
        raise
    if code != PASSED:
        names = ", ".join(path.name for path in tests)
        sys.exit(f"mutate: the tests could not be collected: {names}; run them with scripts/test")
    baseline: Baseline = pickle.loads((folder / "baseline").read_bytes())
    for name in baseline.failed:
        print(f"left out, fails or is skipped without any change: {name}", file=sys.stderr)
    wanted = baseline.fastest(options.each, baseline.seconds.keys())

    def fresh(trial: Trial) -> int:
        quiet()
        try:
            code = trial.source.mutants[trial.number].compiled(trial.source.tree, str(trial.source.path))
        except SyntaxError:
            return FAILED
        sys.meta_path.insert(0, Importing(trial.source, code))
        return with_tests(tests, options.root, lambda session: PASSED if run_tests(session, wanted) else FAILED)

    total = sum(baseline.seconds[test] for test in wanted) + 20
    pool(((trial, functools.partial(fresh, trial), total) for trial in later), options.parallel, deadline, done)
