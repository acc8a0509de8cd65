"""Requests are answered together, in order, within bounds, and a bad one takes no other with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import pytest

from llmtrain.demo.batching import Batcher, ClosingError, GivenUpError, Job, QueueFullError

Calls = list[tuple[Hashable, list[Any]]]


class Desk:
    """Answers rows by themselves once it is let, and remembers what it was asked together."""

    def __init__(self) -> None:
        self.calls: Calls = []
        self.free = threading.Event()
        self.busy = threading.Event()

    def __call__(self, kind: Hashable, rows: Sequence[Any], check: Callable[[], None]) -> list[Any]:
        self.calls.append((kind, list(rows)))
        self.busy.set()
        while not self.free.wait(0.005):
            check()
        if "bad" in rows:
            raise ValueError("a bad row")
        return [f"{kind}:{row}" for row in rows]


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.free.set()


def job(*rows: Any, kind: str = "a", seconds: float = 20, alone: bool = False) -> Job:
    return Job(kind, rows, time.monotonic() + seconds, alone)


def busy(desk: Desk, batcher: Batcher) -> Job:
    """Have something answered, so that what comes now waits."""
    first = job("first", kind="other")
    batcher.submit([first])
    assert desk.busy.wait(10)
    return first


def test_what_waits_is_answered_together_by_its_kind_in_the_order_it_came(desk: Desk) -> None:
    batcher = Batcher(desk, most_rows=4, most_waiting=100, wait=0.0)
    first = busy(desk, batcher)
    jobs = [job(1), job(2, 3), job(4, kind="b"), job(5, alone=True), job(6, 7), job(8), job(*range(10, 16)), job(9)]
    batcher.submit(jobs)
    assert batcher.waiting() == 15
    desk.free.set()
    assert first.answers.result(10) == ["other:first"]
    assert [one.answers.result(10) for one in jobs] == [[f"{one.kind}:{row}" for row in one.rows] for one in jobs]
    assert desk.calls[1:] == [("a", [1, 2, 3, 8]), ("b", [4]), ("a", [5]), ("a", [6, 7, 9]), ("a", list(range(10, 16)))]
    assert batcher.close(10) and batcher.waiting() == 0


def test_one_that_comes_within_the_wait_is_answered_with_the_first(desk: Desk) -> None:
    desk.free.set()
    batcher = Batcher(desk, most_rows=2, most_waiting=100, wait=5.0)
    jobs = [job(1), job(2)]
    begun = time.monotonic()
    for one in jobs:
        batcher.submit([one])
        time.sleep(0.02)
    assert [one.answers.result(10) for one in jobs] == [["a:1"], ["a:2"]]
    assert desk.calls == [("a", [1, 2])] and time.monotonic() - begun < 4, "a full batch does not wait on"


def test_the_queue_is_bounded_and_takes_all_of_a_request_or_nothing(desk: Desk) -> None:
    batcher = Batcher(desk, most_rows=4, most_waiting=3, wait=0.0)
    busy(desk, batcher)
    batcher.submit([job(1), job(2)])
    with pytest.raises(QueueFullError):
        batcher.submit([job(3), job(4, kind="b")])
    assert batcher.waiting() == 2
    batcher.submit([job(3)])


def test_what_nobody_waits_for_is_not_answered_and_keeps_nobody_out(desk: Desk) -> None:
    batcher = Batcher(desk, most_rows=4, most_waiting=2, wait=0.0)
    first = busy(desk, batcher)
    late, left = job(1, seconds=0.01), job(2)
    batcher.submit([late, left])
    left.given_up = True
    time.sleep(0.02)
    kept = job(3, 4)
    batcher.submit([kept])
    first.given_up = True  # the call that runs ends by its check
    for one in (first, late, left):
        with pytest.raises(GivenUpError):
            one.answers.result(10)
    desk.free.set()
    assert kept.answers.result(10) == ["a:3", "a:4"] and len(desk.calls) == 2


def test_a_bad_row_takes_no_other_request_with_it(desk: Desk) -> None:
    batcher = Batcher(desk, most_rows=8, most_waiting=8, wait=0.0)
    busy(desk, batcher)
    jobs = [job(1), job("bad"), job(2)]
    batcher.submit(jobs)
    desk.free.set()
    with pytest.raises(ValueError, match="a bad row"):
        jobs[1].answers.result(10)
    assert jobs[0].answers.result(10) == ["a:1"] and jobs[2].answers.result(10) == ["a:2"]


def test_once_closed_it_refuses_what_waits_and_ends_what_runs(desk: Desk) -> None:
    batcher = Batcher(desk, most_rows=4, most_waiting=4, wait=0.0)
    first, waits = busy(desk, batcher), job(1)
    batcher.submit([waits])
    assert batcher.close(10)
    with pytest.raises(GivenUpError):
        first.answers.result(10)
    with pytest.raises(ClosingError):
        waits.answers.result(10)
    with pytest.raises(ClosingError):
        batcher.submit([job(2)])
