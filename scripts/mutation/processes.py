"""Forked processes: each in a session and a folder of its own, and killed when it takes too long."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PASSED, FAILED, NEEDS_IMPORT = 0, 1, 77
CPU_SECONDS = 10.0  # allowed beside five times what the tests took
PR_SET_PDEATHSIG = 1


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


def keep(path: Path, thing: Any) -> None:
    """Write it in one piece: whoever reads it finds all of it."""
    beside = path.with_suffix(".part")
    beside.write_bytes(pickle.dumps(thing))
    beside.rename(path)
