"""Warm servers: where they come from, and how they are talked to and ended.

Loading torch and transformers takes most of a server's start. So one process of each test run loads the libraries and
forks a server for every bench, which then loads the source tree that it is for. A server that something stands in front
of, or whose environment differs, is a program of its own.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

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
            self._process = subprocess.Popen([*before, sys.executable, str(SERVER)], env=environment, text=True,
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
        pid = _libraries().fork(theirs, {"env": environment, "errors": str(errors)})
        self._process = os.pidfd_open(pid)
        super().__init__(pid, self._socket.makefile("w"), self._socket.makefile("r"))

    def close(self, timeout: float = 20) -> None:
        self._socket.shutdown(socket.SHUT_WR)
        ended = select.select([self._process], [], [], timeout)[0]  # readable once the process is gone
        os.close(self._process)
        self._socket.close()
        if not ended:
            raise TimeoutError(f"the warm server {self.pid} does not end")


class Libraries:
    """The process that has loaded what every source tree imports, and none of them."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen([sys.executable, str(SERVER), "--libraries"], stdin=theirs,
                                             start_new_session=True)
        atexit.register(self.close)

    def fork(self, theirs: socket.socket, task: dict[str, object]) -> int:
        """The process id of a new server that has this socket as its standard input and output."""
        with theirs:
            socket.send_fds(self._socket, [json.dumps(task).encode()], [theirs.fileno()])
        return int(self._socket.recv(64))

    def close(self) -> None:
        self._socket.close()
        self._process.wait(20)


_made: list[Libraries] = []


def _libraries() -> Libraries:
    if not _made:
        _made.append(Libraries())
    return _made[0]
