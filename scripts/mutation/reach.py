"""The tests in one process: which of them runs which line, and whether some of them still pass."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mutants import Mutant
from processes import FAILED
from sources import Source


@dataclass
class Baseline:
    """What the unbroken program does: seconds of each test that passes, and the tests that reach each line."""

    seconds: dict[str, float] = field(default_factory=dict)
    reach: dict[str, dict[int, set[str]]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def fitting(self, source: Source, mutant: Mutant, seconds: float) -> list[str]:
        """The tests that reach a mutant, the fastest first, as many as fit in so many seconds; one at least."""
        lines = self.reach.get(str(source.path), {})
        tests: set[str] = set().union(*(lines.get(line, set()) for line in mutant.lines))
        return self.fastest(seconds, tests if mutant.inside else self.seconds.keys())

    def fastest(self, seconds: float, tests: Set[str]) -> list[str]:
        found: list[str] = []
        for test in sorted(tests & self.seconds.keys(), key=lambda test: (self.seconds[test], test)):
            seconds -= self.seconds[test]
            if seconds >= 0 or not found:
                found.append(test)
        return found


class Watch:
    """What happens to tests: which failed or were skipped, and, with ``paths``, which lines each of them ran."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self.paths = set(paths)
        self.bad: set[str] = set()
        self.lines: set[tuple[str, int]] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self.bad.add(report.nodeid)

    def trace(self, frame: Any, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if name not in self.paths:
            return None
        self.lines.add((name, frame.f_lineno))

        def local(frame: Any, event: str, argument: Any) -> Any:
            if event == "line":
                self.lines.add((name, frame.f_lineno))
            return local

        return local


def run_item(config: pytest.Config, items: list[pytest.Item], index: int) -> None:
    following = items[index + 1] if index + 1 < len(items) else None
    config.hook.pytest_runtest_protocol(item=items[index], nextitem=following)


def measure(session: pytest.Session, sources: list[Source]) -> Baseline:
    """Run every test once and note what it reaches."""
    watch = Watch(str(source.path) for source in sources)
    session.config.pluginmanager.register(watch)
    found = Baseline()
    shared: dict[str, set[tuple[str, int]]] = {}  # lines that a file's fixtures reached, which its other tests use too
    marks: dict[str, set[tuple[str, int]]] = {}

    class Phases:
        @pytest.hookimpl(hookwrapper=True)
        def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
            yield
            shared.setdefault(item.nodeid.split("::")[0], set()).update(watch.lines)

    session.config.pluginmanager.register(Phases())
    for index, item in enumerate(session.items):
        watch.lines = set()
        started = time.perf_counter()
        threading.settrace(watch.trace)
        sys.settrace(watch.trace)
        try:
            run_item(session.config, session.items, index)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
        if item.nodeid in watch.bad:
            found.failed.append(item.nodeid)
            continue
        found.seconds[item.nodeid] = time.perf_counter() - started
        marks[item.nodeid] = watch.lines
    for test, lines in marks.items():
        for path, line in lines | shared.get(test.split("::")[0], set()):
            found.reach.setdefault(path, {}).setdefault(line, set()).add(test)
    return found


def run_tests(session: pytest.Session, wanted: list[str]) -> bool:
    """Whether these tests pass."""
    watch = Watch()
    session.config.pluginmanager.register(watch)
    by_name = {item.nodeid: item for item in session.items}
    chosen = [by_name[name] for name in wanted if name in by_name]
    for index in range(len(chosen)):
        run_item(session.config, chosen, index)
        if watch.bad:
            return False
    return len(chosen) == len(wanted)


class Runner:
    """The pytest plugin that runs the work in place of the tests."""

    def __init__(self, work: Callable[[pytest.Session], int]) -> None:
        self.work, self.result = work, FAILED

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.result = FAILED if session.testsfailed else self.work(session)
        return True


def with_tests(tests: list[Path], root: Path, work: Callable[[pytest.Session], int]) -> int:
    """What ``work`` returns once pytest has collected these tests."""
    runner = Runner(work)
    pytest.main([*map(str, tests), "-q", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(root)],
                plugins=[runner])
    return runner.result
