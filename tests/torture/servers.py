"""Warm servers: where they come from, and how they are talked to and ended.

The process that has the libraries (warm/libraries.py) forks a server for every bench, which then loads the source tree
that it is for. A server that something stands in front of, or whose environment differs, is a program of its own.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from warm.libraries import libraries

SERVER = Path(__file__).with_name("server.py")


class Server:
    """A running server: lines go to ``requests`` and come from ``answers``. Ends when it is closed."""

    def __init__(self, pid: int, requests: IO[str], answers: IO[str]) -> None:
        self.pid, self.requests, self.answers = pid, requests, answers

    def send(self, line: str) -> None:
        self.requests.write(line + "\n")
        self.requests.flush()

    def close(self, timeout: float = 20) -> None:
        raise NotImplementedError


class Program(Server):
    """A server that is a program of its own, behind ``before``."""

    def __init__(self, before: Sequence[str], environment: dict[str, str], errors: Path) -> None:
        with errors.open("wb") as to_errors:
            self._process = subprocess.Popen([*before, sys.executable, "-P", str(SERVER)], env=environment, text=True,
                                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=to_errors,
                                             bufsize=1, start_new_session=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        super().__init__(self._process.pid, self._process.stdin, self._process.stdout)

    def close(self, timeout: float = 20) -> None:
        self.requests.close()
        self._process.wait(timeout)


class Forked(Server):
    """A server forked from the process that has the libraries."""

    def __init__(self, environment: dict[str, str], errors: Path) -> None:
        self._socket, theirs = socket.socketpair()
        pid = libraries().fork(theirs, {"env": environment, "errors": str(errors)})
        self._process = os.pidfd_open(pid)
        super().__init__(pid, self._socket.makefile("w"), self._socket.makefile("r"))

    def close(self, timeout: float = 20) -> None:
        self._socket.shutdown(socket.SHUT_WR)
        ended = select.select([self._process], [], [], timeout)[0]  # readable once the process is gone
        os.close(self._process)
        self._socket.close()
        if not ended:
            raise TimeoutError(f"the warm server {self.pid} does not end")
