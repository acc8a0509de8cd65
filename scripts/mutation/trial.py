"""One process that has collected the tests, learns which test runs which line, and forks once for each mutant.

A mutant never touches a file: in the fork, the changed code takes the place of the functions' own, or, for what runs
when the module is imported, an import hook gives the changed module.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
from mutants import Mutant

PASSED, FAILED, NEEDS_IMPORT = 0, 1, 77
CPU_SECONDS = 10.0  # allowed beside five times what the tests took
PR_SET_PDEATHSIG = 1


@dataclass
class Source:
    """A module and its breaks."""

    path: Path
    module: str
    tree: ast.Module
    mutants: list[Mutant]


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


# The broken code in place of the program's own


def functions_of(paths: set[str]) -> dict[str, list[FunctionType]]:
    """Every function there is of these files."""
    found: dict[str, list[FunctionType]] = {path: [] for path in paths}
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename in found:
            found[thing.__code__.co_filename].append(thing)
    return found


def codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from codes(constant)


def _key(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno


def exchange(functions: list[FunctionType], broken: CodeType) -> bool:
    """Whether these functions could be given the broken module's code, which differs from their own."""
    changed = False
    by_place: dict[tuple[str, int], list[CodeType]] = {}
    for code in codes(broken):
        by_place.setdefault(_key(code), []).append(code)
    for function in functions:
        found = by_place.get(_key(function.__code__), [])
        if len(found) != 1:
            return False
        if found[0] != function.__code__:
            try:
                function.__code__ = found[0]
                changed = True
            except ValueError:  # other variables of the function around it
                return False
    return changed


class Importing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives a module's broken code to whoever imports it."""

    def __init__(self, source: Source, code: CodeType) -> None:
        self.source, self.code = source, code

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != self.source.module:
            return None
        package = self.source.path.name == "__init__.py"
        return importlib.util.spec_from_file_location(
            name, self.source.path, loader=self,
            submodule_search_locations=[str(self.source.path.parent)] if package else None)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        exec(self.code, module.__dict__)


# Processes


@dataclass
class Child:
    pid: int
    folder: Path
    ends: float

    def kill(self) -> None:
        for stop in (lambda: os.killpg(self.pid, signal.SIGKILL), lambda: os.kill(self.pid, signal.SIGKILL)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                stop()


def die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def fork(work: Callable[[], int], seconds: float | None = None) -> Child:
    """A process in a session and a folder of its own; it ends with what ``work`` returns."""
    folder = Path(tempfile.mkdtemp(prefix="mutate-"))
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = FAILED
        try:
            os.setsid()
            die_with_parent()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            os.environ["PYTEST_DEBUG_TEMPROOT"] = str(folder)
            if seconds is not None:
                limit = int(CPU_SECONDS + 5 * seconds)
                resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
            code = work()
        except BaseException:
            code = FAILED
        finally:
            os._exit(code)
    return Child(pid, folder, time.monotonic() + (3600 if seconds is None else 60 + 40 * seconds))


def wait(children: list[Child]) -> tuple[Child, int]:
    """One that has ended, and its exit code; one that takes too long is killed."""
    while True:
        for child in children:
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid == 0 and time.monotonic() > child.ends:
                child.kill()
                pid, status = os.waitpid(child.pid, 0)
            if pid:
                child.kill()  # what it left running
                shutil.rmtree(child.folder, ignore_errors=True)
                return child, os.waitstatus_to_exitcode(status)
        time.sleep(0.01)


def quiet() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)


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


def keep(path: Path, thing: Any) -> None:
    """Write it in one piece: whoever reads it finds all of it."""
    beside = path.with_suffix(".part")
    beside.write_bytes(pickle.dumps(thing))
    beside.rename(path)
