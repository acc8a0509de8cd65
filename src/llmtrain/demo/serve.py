"""The server's life: a port of this machine, requests until a signal comes, and a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from llmtrain.core.errors import ConfigError, Stopped
from llmtrain.core.logging import say
from llmtrain.core.signals import give_back, handle, stops
from llmtrain.demo.app import Server

HOST = "127.0.0.1"  # this machine alone
SECONDS_TO_END = 5  # for answers on their way
CONNECTIONS = 1024
BACKLOG = 1024


def listen(port: int) -> socket.socket:
    """A socket of this machine alone at the port (0: one that is free), bound and not yet listening.

    Raises:
        ConfigError: Another program has the port, or this user may not take it.
    """
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((HOST, port))
    except OSError as error:
        taken.close()
        what = "is in use on this machine" if error.errno == errno.EADDRINUSE else f"cannot be taken ({error.strerror})"
        raise ConfigError(f"port {port} {what}; choose another one, --port N (demo.port=N; 0: one that is free)"
                          ) from None
    return taken


def serve(server: Server, at: socket.socket) -> None:
    """Answer requests until a signal stops it.

    Raises:
        Stopped: With that signal's exit code, once answers on their way were sent or given up.
    """
    life = _Life(uvicorn.Config(
        server.app, loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None, access_log=False,
        proxy_headers=False, server_header=False, limit_concurrency=CONNECTIONS, timeout_keep_alive=30,
        timeout_graceful_shutdown=SECONDS_TO_END, backlog=BACKLOG), lambda: _close(server))
    port = at.getsockname()[1]
    at.listen(BACKLOG)  # whoever reads the line may ask at once
    say(f"demo: http://localhost:{port}/ (POST /predict, described at /docs; Ctrl-C ends it)")
    life.run([at])
    number = life.stopped_by or signal.SIGINT
    line = f"stopped by {signal.Signals(number).name}; {server.answered} requests were answered"
    if not server.batcher.close(SECONDS_TO_END):  # a pass of the model that does not end: it must not keep the program
        print(f"llmtrain: {line}", file=sys.stderr, flush=True)
        os._exit(128 + number)
    raise Stopped(line, number)


def _close(server: Server) -> None:
    """Refuse what waits, at once."""
    server.batcher.close(0)


class _Life(uvicorn.Server):
    """uvicorn's server, ended by our signals and with our exit codes; ``closing`` is called when one comes."""

    def __init__(self, config: uvicorn.Config, closing: Callable[[], None]) -> None:
        super().__init__(config)
        self.stopped_by: int | None = None
        self._closing = closing

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        previous: dict[int, object] = {}
        for number in stops():
            handle(number, self.handle_exit, previous)  # type: ignore[arg-type]
        try:
            yield
        finally:
            give_back(previous)  # type: ignore[arg-type]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.stopped_by is not None:
            os._exit(128 + sig)  # the second one does not wait
        self.stopped_by = sig
        self.should_exit = True
        asyncio.get_running_loop().call_soon_threadsafe(self._closing)
