"""What a child of the warm server may do to itself before its command starts: limits, failing calls, aimed signals."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "os.link", "os.symlink"}


def signal_at_step(step: int, number: int = signal.SIGTERM) -> None:
    """Send this process a signal once the run has taken so many steps, before anything is logged or saved of them."""
    from llmtrain.training import loop

    advance = loop.advance

    def advancing(run: Any, *rest: Any) -> None:
        advance(run, *rest)
        if run.progress.step == step:
            os.kill(os.getpid(), number)

    loop.advance = advancing


def count_writes(below: str, tell: str) -> None:
    """Write the number of file-system changes below a folder, as Python makes them, into the file ``tell``."""
    made: list[str] = []

    def seen(event: str, path: str) -> None:
        made.append(event)
        handle = os.open(tell, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(handle, str(len(made)).encode())
        os.close(handle)

    _watch(below, seen)


def kill_at_write(below: str, number: int) -> None:
    """kill -9 right before the file-system change of this number (1: the first) below a folder."""
    made: list[str] = []

    def seen(event: str, path: str) -> None:
        made.append(event)
        if len(made) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    _watch(below, seen)


def _watch(below: str, seen: Any) -> None:
    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            changes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            path, changes = (arguments[0] if arguments else None), event in WRITES
        if changes and isinstance(path, str | os.PathLike) and os.fspath(path).startswith(below):
            seen(event, os.fspath(path))

    sys.addaudithook(audit)
