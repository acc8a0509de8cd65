"""Programs that a command starts, and signals handed on to them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from types import FrameType, TracebackType
from typing import IO, Self

from llmtrain.core.signals import Handler, give_back, handle, stops


class Forwarding:
    """Runs children and hands on what asks to stop: each saves, and is waited for.

    The signals in ``also`` are handed on too and stop nothing; between two children they are lost.

    A child has a process group of its own, else a terminal's Ctrl-C would reach it twice, which means `at once`. It and
    what it starts import nothing from the current folder, which `python -m` alone would put first.

    Attributes:
        signals: What asked to stop, in order.
    """

    def __init__(self, also: tuple[int, ...] = ()) -> None:
        self.signals: list[int] = []
        self._also = also
        self._children: list[subprocess.Popen[bytes]] = []
        self._previous: dict[int, Handler] = {}

    def run(self, command: Sequence[str], output: IO[bytes] | None = None) -> int:
        """The exit code; what it prints goes to ``output``, where one is given."""
        if self.signals:
            return 128 + self.signals[0]
        return self.start(command, output).wait()

    def start(self, command: Sequence[str], output: IO[bytes] | None = None,
              environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A child, started and not waited for.

        Args:
            environment: Variables that it has beside this process's own.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._also)  # a child inherits it and lifts it once it is up
        try:
            child = subprocess.Popen(command, process_group=0, stdout=output, stderr=output,
                                     env={**os.environ, **(environment or {}), "PYTHONSAFEPATH": "1"})
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._children = [*(one for one in self._children if one.poll() is None), child]
        if self.signals:  # it came while the child was being made
            child.send_signal(self.signals[0])
        return child

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        if number not in self._also:
            self.signals.append(number)
        for child in self._children:
            child.send_signal(number)  # does nothing to one that has ended

    def __enter__(self) -> Self:
        for number in (*stops(), *self._also):
            handle(number, self._forward, self._previous)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        give_back(self._previous)
