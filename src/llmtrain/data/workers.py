"""Data workers that cannot be started, are killed or stopped: told in one line, and never waited for without end."""

from __future__ import annotations

import multiprocessing
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from llmtrain.core.errors import ResourceError, shorten
from llmtrain.core.logging import warn

GRACE_SECONDS = 2  # what torch's own timeout gets before the workers are ended
LOST = re.compile(r"DataLoader (worker \(pid|timed out)")


def startable(workers: int) -> int:
    """As many workers as were asked for, or none where none can be started: the batches are the same, as is told."""
    if workers and (reason := _hindrance()) is not None:
        warn(f"data.workers={workers} cannot be started here ({reason}); the batches, which are the same, are made by "
             "the process that trains")
        return 0
    return workers


def _hindrance() -> str | None:
    if multiprocessing.current_process().daemon:
        return "a daemon of multiprocessing may start no process"
    try:  # what batches are handed over with; Python's own SharedMemory would start a process that watches over it
        multiprocessing.get_context().Lock()
        torch.empty(1).share_memory_()
    except (ImportError, OSError, RuntimeError) as error:
        return f"there is no shared memory: {shorten(str(error), 100)}"
    return None


def fetch(fetched: Iterator[Any], workers: list[Any], timeout: float, step: int) -> Any:
    """The next batch of a loader's iterator.

    torch's timeout covers the wait for a batch, not its transfer, in the middle of which a worker may stop.

    Raises:
        ResourceError: A worker was lost while it handed the batch over. Other losses are torch's (:func:`losses_told`).
    """
    if not workers:
        return next(fetched)
    timer = threading.Timer(timeout + GRACE_SECONDS, end, [workers]) if timeout else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        return next(fetched)
    except (OSError, EOFError) as error:
        if str(error).startswith("Caught "):  # by a worker that lives
            raise
        raise _told(error, step) from error
    finally:
        if timer is not None:
            timer.cancel()


def end(workers: list[Any]) -> None:
    """Kill what has not ended by itself: a stopped process hears nothing else, and Python would wait for it at exit."""
    for worker in workers:
        if worker.is_alive():
            worker.kill()
        worker.join()


@contextmanager
def losses_told(step: Callable[[], int]) -> Iterator[None]:
    """Tell a lost data worker in one line. torch raises it wherever the run happens to be when the worker ends.

    Raises:
        ResourceError: A worker was killed, or gave no batch in time; ``step()`` is the number of steps taken.
    """
    try:
        yield
    except RuntimeError as error:
        if not LOST.match(str(error)):
            raise
        raise _told(error, step()) from error


def _told(error: Exception, step: int) -> ResourceError:
    line = shorten(str(error), 150) or type(error).__name__
    return ResourceError(f"a data worker was lost at step {step + 1} ({line}); run the same command again, or set "
                         "data.workers=0")
