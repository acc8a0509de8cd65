"""Work shared out to processes that never outlive the one that started them, however that one ends.

Neither ``concurrent.futures`` nor ``multiprocessing.Pool`` will do: forked workers keep the parent's signal handlers,
which raise; a worker that dies holding a queue's lock is waited for without end; and kill -9 of the parent leaves
orphans. Here each job has a process and a pipe of its own, and nothing to lock.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from llmtrain.core.errors import ResourceError

Job = TypeVar("Job")
Result = TypeVar("Result")
PR_SET_PDEATHSIG = 1  # of Linux' prctl
HELD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
# a server that forks, as later Pythons have it, would be the parent
CONTEXT: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
SETTLING_SECONDS = 0.2  # between a signal to a whole group taking a worker and the same one being told here


def spread(work: Callable[[Job], Result], jobs: Sequence[Job]) -> list[Result]:
    """``[work(job) for job in jobs]``, each in a process of its own and all at the same time; one after another here in
    a process that may start none (a daemon of ``multiprocessing``).

    Whatever ends the wait (a signal's exception as well) kills the processes at once. What ``work`` raises is raised
    here.

    Raises:
        ResourceError: A process was lost.
    """
    if multiprocessing.current_process().daemon:
        return [work(job) for job in jobs]
    results: list[Any] = [None] * len(jobs)
    workers: list[BaseProcess] = []
    left: dict[connection.Connection, int] = {}
    try:
        with _held():  # a worker that has the parent's handlers still must not run them
            for index, job in enumerate(jobs):
                reader, writer = CONTEXT.Pipe(duplex=False)
                left[reader] = index
                worker = CONTEXT.Process(target=_run, args=(work, job, writer, os.getpid()), daemon=True)
                worker.start()
                workers.append(worker)
                writer.close()  # else the end of the worker were not the end of its pipe
        while left:
            for ready in connection.wait(list(left)):
                assert isinstance(ready, connection.Connection)
                results[left.pop(ready)] = _received(ready)
    finally:
        for one in workers:
            one.kill()
        for one in workers:
            one.join()
        for unread in left:
            unread.close()
    return results


def _received(reader: connection.Connection) -> Any:
    try:
        done, value = reader.recv()
    except (EOFError, OSError) as error:
        time.sleep(SETTLING_SECONDS)  # a signal to the whole group is told as the signal, not as a worker lost
        raise ResourceError("a process that prepares data was lost (killed, or out of memory); run the same command "
                            "again, with data.processes=1 if it stays so") from error
    finally:
        reader.close()
    if not done:
        raise value
    return value


def _run(work: Callable[[Any], Any], job: Any, writer: connection.Connection, parent: int) -> None:
    _begin(parent)
    try:
        answer = (True, work(job))
    except Exception as error:
        answer = (False, error)
    with suppress(BrokenPipeError):  # nobody waits any more
        try:
            writer.send(answer)
        except BrokenPipeError:
            raise
        except Exception:  # what cannot be pickled
            writer.send((False, RuntimeError(f"{type(answer[1]).__name__}: {answer[1]}"[:300])))


def _begin(parent: int) -> None:
    """End with the parent, and leave Ctrl-C, a closed terminal and requests to save to it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    _end_with_parent(signal.SIGKILL)
    if os.getppid() != parent:  # it had ended before the system was asked
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def _end_with_parent(number: int) -> None:
    """Let the system send this process a signal when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def stop_with(starter: int) -> None:
    """Ask this process to stop, by SIGTERM, when the process that started it ends, however that ends."""
    _end_with_parent(signal.SIGTERM)
    try:
        os.kill(starter, 0)
    except ProcessLookupError:  # it had ended before the system was asked
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _held() -> Iterator[None]:
    """Signals that come meanwhile are handled at the end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
