"""Requests of many clients, answered a few together by one thread; bounded in number and in time.

Knows nothing of models: :class:`Batcher` is given a function that answers rows.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any


class QueueFullError(Exception):
    """So many rows wait already that no more are taken on."""


class ClosingError(Exception):
    """The server stops, and what waits is not answered any more."""


class GivenUpError(Exception):
    """Nobody waits for the answers that were being made."""


@dataclass(eq=False, slots=True)
class Job:
    """Rows of one request for one model.

    Attributes:
        kind: Jobs of one kind may be answered together.
        rows: What is asked.
        deadline: When nobody waits any more, on the clock of ``time.monotonic``.
        alone: It must not be answered with others.
        answers: Gets an answer for each row.
        given_up: Set by whoever asked, when it does not wait any more.
    """

    kind: Hashable
    rows: Sequence[Any]
    deadline: float
    alone: bool = False
    answers: Future[list[Any]] = field(default_factory=Future)
    given_up: bool = False
    arrived: float = field(default_factory=time.monotonic)

    def wanted(self) -> bool:
        """Whether somebody waits for it still."""
        return not self.given_up and time.monotonic() < self.deadline


Answer = Callable[[Hashable, Sequence[Any], Callable[[], None]], Sequence[Any]]


class Batcher:
    """Answers jobs in the order they came, each with later ones of its kind that fit beside it.

    Args:
        answer: Called with a kind, the rows of one or more jobs of it, and a function to be called now and then on the
            way: it raises :class:`GivenUpError` once nobody waits for any of them.
        most_rows: Rows answered together; a job of more is answered by itself.
        most_waiting: Rows that may wait.
        wait: Seconds that a job waits for others of its kind.

    Attributes:
        closing: Nothing is taken on or answered any more.
    """

    def __init__(self, answer: Answer, *, most_rows: int, most_waiting: int, wait: float) -> None:
        self._answer, self._most_rows, self._most_waiting, self._wait = answer, most_rows, most_waiting, wait
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self.closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="llmtrain demo", daemon=True)
        self._thread.start()

    def waiting(self) -> int:
        """Rows that wait."""
        with self._changed:
            return self._count()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs on, all of them or none.

        Raises:
            QueueFullError: They do not fit beside those that wait.
            ClosingError: After :meth:`close`.
        """
        with self._changed:
            if self.closing:
                raise ClosingError
            self._forget_given_up()
            if self._count() + sum(len(job.rows) for job in jobs) > self._most_waiting:
                raise QueueFullError
            self._waiting.extend(jobs)
            self._changed.notify_all()

    def close(self, seconds: float) -> bool:
        """Refuse what waits, give up what is being answered, and say whether its thread has ended in that time."""
        with self._changed:
            self.closing = True
            for job in self._waiting:
                _fail(job, ClosingError())
            self._waiting.clear()
            for job in self._running:
                job.given_up = True
            self._changed.notify_all()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _count(self) -> int:
        return sum(len(job.rows) for job in self._waiting)

    def _forget_given_up(self) -> None:
        """Drop jobs that nobody waits for: they must not keep others out."""
        for job in [job for job in self._waiting if not job.wanted()]:
            self._waiting.remove(job)
            _fail(job, GivenUpError())

    def _work(self) -> None:
        while (jobs := self._next()) is not None:
            self._run(jobs)
            with self._changed:
                self._running = []

    def _next(self) -> list[Job] | None:
        """The jobs to be answered together now; waits for some, None once closed."""
        with self._changed:
            while True:
                self._forget_given_up()
                if self.closing:
                    return None
                if not self._waiting:
                    self._changed.wait()
                    continue
                together = self._together()
                left = together[0].arrived + self._wait - time.monotonic()
                full = together[0].alone or sum(len(job.rows) for job in together) >= self._most_rows
                if full or left <= 0:
                    break
                self._changed.wait(left)
            for job in together:
                self._waiting.remove(job)
            self._running = together
            return together

    def _together(self) -> list[Job]:
        """The oldest job, and others of its kind as far as there is room."""
        first, *others = self._waiting
        chosen, room = [first], self._most_rows - len(first.rows)
        for job in others:
            if job.kind == first.kind and not job.alone and not first.alone and len(job.rows) <= room:
                chosen.append(job)
                room -= len(job.rows)
        return chosen

    def _run(self, jobs: list[Job]) -> None:
        def check() -> None:
            if not any(job.wanted() for job in jobs):
                raise GivenUpError

        try:
            found = list(self._answer(jobs[0].kind, [row for job in jobs for row in job.rows], check))
        except Exception as error:
            if len(jobs) == 1 or isinstance(error, GivenUpError):
                for job in jobs:
                    _fail(job, error)
                return
            for job in jobs:  # a row that cannot be answered must not take the others with it
                self._run([job])
            return
        for job in jobs:
            mine, found = found[:len(job.rows)], found[len(job.rows):]
            job.answers.set_result(mine)


def _fail(job: Job, error: Exception) -> None:
    if not job.answers.done():
        job.answers.set_exception(error)
