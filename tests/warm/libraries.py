"""The process that has the libraries, and the interpreter that forks from it.

Loading torch and transformers takes most of a short run's CPU time. So one process of each test run loads them once
(process.py) and forks: servers for the torture table (torture/servers.py), and whatever is started with :func:`python`.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Libraries:
    """The process that has loaded what every source tree imports, and none of them."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="warm-", dir="/tmp"))  # a socket's path must be short
        self.python = self._folder / "python"
        self.python.write_text(f"#!{sys.executable} -IS\n" + (HERE / "interpreter.py").read_text(encoding="utf-8"),
                               encoding="utf-8")
        self.python.chmod(0o755)
        self._socket, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(self._folder / "socket"))
            listener.listen(64)
            self._process = subprocess.Popen([sys.executable, str(HERE / "process.py"), str(listener.fileno())],
                                             stdin=theirs, env=environment, pass_fds=[listener.fileno()],
                                             start_new_session=True)
        atexit.register(self.close)

    def fork(self, theirs: socket.socket, task: dict[str, object]) -> int:
        """The process id of a new torture server that has this socket as its standard input and output."""
        with theirs:
            socket.send_fds(self._socket, [json.dumps(task).encode()], [theirs.fileno()])
        return int(self._socket.recv(64))

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # it has ended
            self._socket.shutdown(socket.SHUT_RDWR)  # closed alone it would stay open in what this process has forked
        self._socket.close()
        self._process.wait(20)


_made: list[Libraries] = []


def libraries() -> Libraries:
    """This process's own, started when it is first asked for."""
    if not _made:
        _made.append(Libraries())
    return _made[0]


def python() -> str:
    """A Python to start programs with, as ``sys.executable``, that has the libraries already; see interpreter.py."""
    return str(libraries().python)
