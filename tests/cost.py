"""``scripts/test --cost``: the CPU seconds of each test file, with those of all the programs that its tests start."""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

SHOWN = 10
TICKS = os.sysconf("SC_CLK_TCK")
open_file, read_bytes, close_file, list_folder = os.open, os.read, os.close, os.listdir  # a test may patch them


def cpu_seconds() -> float:
    """Of this process, of those it has waited for, and of those that still run below it."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used) + sum(map(_seconds_of, _below(os.getpid())))


def _read(path: str) -> str:
    """A small file's text, or nothing of what has ended."""
    try:
        descriptor = open_file(path, os.O_RDONLY)
    except OSError:
        return ""
    try:
        return read_bytes(descriptor, 1 << 16).decode()
    except OSError:
        return ""
    finally:
        close_file(descriptor)


def _below(pid: int) -> Iterator[int]:
    try:
        threads = list_folder(f"/proc/{pid}/task")
    except OSError:
        return
    for thread in threads:
        for child in map(int, _read(f"/proc/{pid}/task/{thread}/children").split()):
            yield child
            yield from _below(child)


def _seconds_of(pid: int) -> float:
    numbers = _read(f"/proc/{pid}/stat").rpartition(") ")[2].split()
    return sum(map(int, numbers[11:15])) / TICKS  # user and system, its own and of those that it waited for


class Cost:
    """The plugin: every process of a test run measures, the one that reports adds up."""

    def __init__(self) -> None:
        self.before = cpu_seconds()
        self.seconds: Counter[str] = Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Any:
        report = yield
        now = cpu_seconds()
        report.cpu_seconds, self.before = max(0.0, now - self.before), now
        return report

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid.partition("::")[0]] += getattr(report, "cpu_seconds", 0.0)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        total = sum(self.seconds.values())
        terminalreporter.section(f"{total:.0f} CPU seconds in {len(self.seconds)} files; the {SHOWN} dearest")
        for file, seconds in self.seconds.most_common(SHOWN):
            terminalreporter.write_line(f"{seconds:7.1f}  {seconds / max(total, 1e-9):4.0%}  {file}")
