"""What becomes of a run's trackers when one of them fails, with one that keeps its rows in memory."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from llmtrain.config.choices import Tracker
from llmtrain.core.errors import ConfigError
from llmtrain.training.trackers import trackers as module
from llmtrain.training.trackers.services import Place, Service, Steps
from llmtrain.training.trackers.trackers import Trackers

RESULTS = {"steps": 4, "seconds": 2.0, "metrics": {"test": {"rouge1": {"value": 1.0, "low": 0.5, "high": 2.0}}}}


class InMemory(Service):
    """Keeps what it is told; ``down``: at which of its methods it fails."""

    records: ClassVar[dict[str, list[tuple[int, dict[str, float]]]]] = {}
    closed: ClassVar[list[bool]] = []
    down: ClassVar[set[str]] = set()

    def open(self, record: str | None) -> str:
        self._fail("open")
        self._name = record or f"r{len(self.records)}"
        self._rows = self.records.setdefault(self._name, [])
        self.tracker = self
        return self._name

    def where(self) -> str:
        return "in memory"

    def store(self) -> None:
        self._rows.append((0, {}))

    def log(self, values: dict[str, float], step: int) -> None:
        random.random(), np.random.random(), torch.rand(1)  # as libraries do
        self._fail("log")
        self._rows.append((step, values))

    def close(self, ended: bool) -> None:
        self.closed.append(ended)

    def _fail(self, what: str) -> None:
        if what in self.down:
            raise OSError(f"no {what} today")


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trackers]:
    for kept in (InMemory.records, InMemory.closed, InMemory.down):
        kept.clear()  # type: ignore[attr-defined]
    monkeypatch.setitem(module.SERVICES, Tracker.aim, InMemory)

    def start(seen: Steps | None = None, resumed: bool = False) -> Trackers:
        return Trackers.start([Tracker.aim], Place(tmp_path, tmp_path, 0, {}), seen or {}, resumed)
    return start


def log(trackers: Trackers, folder: Path, step: int, split: str = "train") -> None:
    """As the loop logs: metrics.jsonl first."""
    row = {"step": step, "split": split, "loss.total": step / 2, "epoch": 0}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    trackers.log(row)


def steps(record: str = "r0") -> list[int]:
    return [step for step, values in InMemory.records[record] if "train/loss.total" in values]


def test_a_tracker_that_fails_is_told_once_and_brought_up_to_date_at_the_end(
        start: Callable[..., Trackers], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trackers = start()
    for step in (1, 2, 3, 4):
        if step == 2:
            InMemory.down.add("log")
        log(trackers, tmp_path, step)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == ("llmtrain: aim failed at step 2 (OSError: no log today); training goes on without it, and the end "
                    "of the run logs what it lacks")
    assert steps() == [1]
    InMemory.down.clear()
    trackers.results(RESULTS)
    trackers.close(ended=True)
    assert steps() == [1, 2, 3, 4]
    assert InMemory.records["r0"][-1] == (4, {"results/steps": 4, "results/seconds": 2.0,
                                              "results/metrics.test.rouge1.value": 1.0,
                                              "results/metrics.test.rouge1.low": 0.5,
                                              "results/metrics.test.rouge1.high": 2.0})
    assert InMemory.closed == [False, True]
    assert capsys.readouterr().err == ""


def test_one_that_stays_down_is_told_where_its_rows_are(start: Callable[..., Trackers], tmp_path: Path,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    trackers = start()
    InMemory.down |= {"log", "open"}
    log(trackers, tmp_path, 1)
    trackers.results(RESULTS)
    trackers.close(ended=True)
    assert capsys.readouterr().err.splitlines()[1:] == [
        f"llmtrain: aim lacks rows of this run (OSError: no open today); all of them are in {tmp_path}/metrics.jsonl"]


def test_the_next_start_goes_on_in_the_same_record_with_what_it_lacks(start: Callable[..., Trackers],
                                                                      tmp_path: Path) -> None:
    trackers = start()
    for step in (1, 2, 3):
        log(trackers, tmp_path, step)
    # killed: nothing is closed, and the log is cut back to a checkpoint at step 2
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_text("".join(lines[:2]))
    trackers = start({"train": 3}, resumed=True)
    for step in (3, 4):
        log(trackers, tmp_path, step)
    assert steps() == [1, 2, 3, 4]
    assert list(InMemory.records) == ["r0"]
    InMemory.down.add("log")
    for step in (5, 6):
        log(trackers, tmp_path, step)
    InMemory.down.clear()
    log(start({"train": 6}, resumed=True), tmp_path, 7)  # what was lost is known to be
    assert steps() == [1, 2, 3, 4, 5, 6, 7]


def test_one_that_cannot_be_started_refuses_a_new_run_and_not_one_that_goes_on(
        start: Callable[..., Trackers], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    InMemory.down.add("open")
    with pytest.raises(ConfigError, match=r"trainer.tracker=aim cannot be started \(OSError: no open today\)"):
        start()
    assert not (tmp_path / "trackers.json").exists()
    start(resumed=True)
    assert "training goes on without it" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", "{", '{"aim": 3}', '{"aim": {"id": "../x"}}',
                                  '{"aim": {"id": "a", "logged": 7}}',
                                  '{"aim": {"id": "r9", "logged": {"train": "x"}, "lost": 1}}'])
def test_a_strange_file_of_records_stops_nothing(text: str, start: Callable[..., Trackers], tmp_path: Path) -> None:
    (tmp_path / "trackers.json").write_text(text)
    log(start(resumed=True), tmp_path, 1)
    assert any(steps(record) == [1] for record in InMemory.records)


def test_a_trackers_own_draws_change_nothing(start: Callable[..., Trackers], tmp_path: Path) -> None:
    trackers = start()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    wanted = random.random(), np.random.random(), torch.rand(1)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    log(trackers, tmp_path, 1)
    assert (random.random(), np.random.random(), torch.rand(1)) == wanted
