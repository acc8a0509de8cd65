"""The time that checks have, each its part."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

WHOLE = 60.0  # seconds that the parts of checks are written for


class Clock:
    """The time that all checks share; each of them takes its part and no more than what is left.

    Where other programs keep the processor busy, what it works for this one counts, not what passes meanwhile.

    Args:
        seconds: For all.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self._started, self._worked = seconds, time.perf_counter(), time.process_time()
        self._ends = [seconds]

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return min(time.perf_counter() - self._started, time.process_time() - self._worked)

    @property
    def left(self) -> float:
        """Seconds until the first end of the parts that are being taken."""
        return min(self._ends) - self.spent

    def share(self, parts: int) -> AbstractContextManager[None]:
        """Take one of so many equal parts of what is left."""
        return self.part(max(self.left, 0.0) / parts * WHOLE / self.seconds)

    @contextmanager
    def part(self, seconds: float) -> Iterator[None]:
        """Take so many seconds of a minute, in proportion to the time that there is."""
        self._ends.append(self.spent + seconds * self.seconds / WHOLE)
        try:
            yield
        finally:
            self._ends.pop()
