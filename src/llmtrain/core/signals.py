"""Stopping and saving on request: SIGINT, SIGTERM and SIGHUP end training after the current step, SIGUSR1 saves.

A request to save that comes before the first step waits for it; after the last one there is nothing to save.

Python lets the main thread alone set handlers. A run in another one (a notebook's, a server's) goes without.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, Self

from llmtrain.core.logging import is_main, warn

# a system without them is refused by the command line, in one line (llmtrain.core.system)
_STOP = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_AGAIN_AFTER = 0.25
_AGAIN_AFTER_LAUNCHED = 2.0

_early: list[int] = []  # requests to save that came outside the loop

Handler = Callable[[int, FrameType | None], Any] | int | None


def stops() -> list[signal.Signals]:
    """What asks to stop. A terminal that is closed does, unless the run was started under ``nohup``."""
    return [number for number in _STOP
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]


def may_handle() -> bool:
    """Whether this thread may set signal handlers."""
    return threading.current_thread() is threading.main_thread()


def handle(number: int, handler: Handler, previous: dict[int, Handler] | None = None) -> None:
    """Set a handler where this thread may; what was there before goes into ``previous``."""
    if may_handle():
        before = signal.signal(number, handler)
        if previous is not None:
            previous[number] = before


def give_back(previous: dict[int, Handler]) -> None:
    """Set the handlers that :func:`handle` found, and forget them."""
    for number, handler in previous.items():
        # None: the handler was not set from Python and cannot be put back from it
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
    previous.clear()


@contextmanager
def left_as_found() -> Iterator[None]:
    """Whatever is done to the handlers inside, they are afterwards what they were."""
    if not may_handle():
        yield
        return
    before = {number: signal.getsignal(number) for number in (*_STOP, signal.SIGUSR1)}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        give_back({number: handler for number, handler in before.items() if signal.getsignal(number) is not handler})


def tell_unhandled() -> None:
    """Say what a run in another thread goes without."""
    if not may_handle():
        warn("this is not the main thread, where alone Python handles signals; a stop (Ctrl-C, SIGTERM) and SIGUSR1 do "
             "not save this run: let trainer.save_every save it")


def await_save_requests() -> None:
    """From now on SIGUSR1 does not end the process, as it else would: a run also starts and scores."""
    _early.clear()  # of an earlier run of this process
    if may_handle():
        handle(signal.SIGUSR1, lambda number, _frame: _early.append(number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})  # a multirun blocks it while its job starts


def ignore_in_worker(_worker: int) -> None:
    """A data worker leaves when its run does: a signal to the whole group must not take it away before."""
    for number in (*_STOP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


class StopInterrupt(BaseException):
    """A stop in the middle of what may be left at any moment (:meth:`StopSignals.leaving`). No Exception: whoever
    turns failures into other ones must not turn this."""


class StopSignals:
    """Catches signals while it is entered (main thread only; elsewhere it does nothing).

    The first of :func:`stops` is remembered in ``requested``; the loop finishes its step, saves and leaves with
    128 + its number. A second one ends the process at once: every file is committed by a rename, so what was being
    written is lost and nothing is damaged. SIGUSR1 asks for a checkpoint, after which training goes on.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self._save = bool(_early)
        _early.clear()
        self._first_at = 0.0
        self._leaving = False
        self._previous: dict[int, Handler] = {}
        # One request can arrive twice: `timeout` signals the process and then its group, and a terminal's Ctrl-C
        # reaches a worker directly and once more through torchrun.
        launched = "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("WORLD_SIZE", "1")) > 1
        self._again_after = _AGAIN_AFTER_LAUNCHED if launched else _AGAIN_AFTER

    def take_save_request(self) -> bool:
        """Whether SIGUSR1 came since the last call."""
        taken, self._save = self._save, False
        return taken

    @contextmanager
    def leaving(self, allowed: bool) -> Iterator[None]:
        """Inside, a request to stop raises :class:`StopInterrupt` at once, where that is allowed. Nothing there may
        change what is saved."""
        try:
            self._leaving = allowed
            if allowed and self.requested is not None:
                raise StopInterrupt
            yield
        finally:
            self._leaving = False

    def __enter__(self) -> Self:
        for number in stops():
            handle(number, self._stop, self._previous)
        handle(signal.SIGUSR1, self._request_save, self._previous)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        give_back(self._previous)

    def _request_save(self, _number: int, _frame: FrameType | None) -> None:
        self._save = True

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.requested is None:
            self.requested, self._first_at = number, now
            if is_main():
                with suppress(OSError):  # a reader that has left must not end the step with an error
                    # not print: the handler may have interrupted one
                    os.write(2, b"llmtrain: stopping after this step; a second signal ends at once, without saving\n")
            if self._leaving:
                raise StopInterrupt
        elif now - self._first_at >= self._again_after:
            os._exit(128 + number)
