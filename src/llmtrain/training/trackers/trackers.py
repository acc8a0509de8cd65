"""The trackers of a run: begun or gone on with, told every row of metrics.jsonl once, and closed.

metrics.jsonl is the truth. A start that goes on compares it with each record: rows that the record has are not logged
again, rows that it lacks are. So a tracker that fails costs nothing: training goes on without it, and the end of the
run, or its next start, brings what is missing. ``trackers.json`` in the run folder keeps the records' ids.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmtrain.config.choices import Tracker
from llmtrain.core.errors import CheckpointError, ConfigError, shorten
from llmtrain.core.files import read_json, write_json
from llmtrain.core.logging import say, warn
from llmtrain.training.run_folder.claim import RECORDS
from llmtrain.training.trackers.flat import RESULTS, rows_of, values_of_results, values_of_row
from llmtrain.training.trackers.services import SERVICES, Place, Service, Steps

LIMIT = 1 << 16  # bytes
ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")


@dataclass
class Record:
    """A tracker's record of the run.

    Attributes:
        id: What the tracker knows it by; None before it was ever begun.
        logged: The last step that was logged, of each split.
        lost: Whether it failed: what came after ``logged`` is missing.
        service: The tracker, while it is open.
    """

    tracker: Tracker
    id: str | None = None
    logged: Steps = field(default_factory=dict)
    lost: bool = False
    service: Service | None = None


class Trackers:
    """All trackers of a run, on the process that logs; the others have none.

    Args:
        place: Where the run and its records are.
        records: One for each tracker.
    """

    def __init__(self, place: Place | None = None, records: Sequence[Record] = ()) -> None:
        self._place, self._records = place, list(records)
        self._variables = contextlib.ExitStack()

    @classmethod
    def start(cls, wanted: Sequence[Tracker], place: Place, seen: Steps, resumed: bool) -> Trackers:
        """Open each tracker on its record and log what that lacks.

        Args:
            seen: The last step of each split that metrics.jsonl held before it was cut back to the checkpoint.
            resumed: Whether the run goes on from a checkpoint of its own.

        Raises:
            ConfigError: A tracker cannot be started, and the run is a new one: one that goes on warns.
        """
        kept = read_records(place.folder) if resumed else {}
        trackers = cls(place, [_found(one, kept.get(one.value), seen) for one in wanted])
        problems = []
        for record in trackers._records:
            if (problem := trackers._attempt(record, trackers._open)) is None:
                assert record.service is not None
                say(f"tracker: {record.tracker.value}, {record.service.where()}")
            elif resumed:
                warn(f"{record.tracker.value} cannot be reached ({problem}); training goes on without it, and the end "
                     "of the run tries again")
            else:
                problems.append(f"trainer.tracker={record.tracker.value} cannot be started ({problem}); mend that, or "
                                "leave it out")
        if problems:
            trackers.close(ended=False)
            raise ConfigError(problems)
        trackers._keep()
        return trackers

    def log(self, row: Mapping[str, Any]) -> None:
        """Give a row of metrics.jsonl to each tracker that does not have it."""
        for record in self._records:
            if record.service is None:
                continue
            if problem := self._attempt(record, lambda one: _log(one, row)):
                warn(f"{record.tracker.value} failed at step {row['step']} ({problem}); training goes on without it, "
                     "and the end of the run logs what it lacks")
                self._keep()

    def results(self, results: Mapping[str, Any]) -> None:
        """Give the run's results to each tracker; one that failed is tried once more."""
        for record in self._records:
            problem = self._attempt(record, self._open) if record.service is None else None
            if problem is None:
                problem = self._attempt(record, lambda one: _log_results(one, results))
            if problem:
                warn(f"{record.tracker.value} lacks rows of this run ({problem}); all of them are in "
                     f"{self._place.folder / 'metrics.jsonl' if self._place else 'metrics.jsonl'}")
        if self._records:
            self._keep()

    def close(self, ended: bool) -> None:
        """Close every record; fine when that is done. ``ended``: the run came to its end."""
        for record in self._records:
            service, record.service = record.service, None
            if service is not None:
                with _quiet(), contextlib.suppress(Exception):
                    service.close(ended)
        self._variables.close()

    def _open(self, record: Record) -> None:
        """Begin a record or go on with it, and log the rows of metrics.jsonl that it lacks."""
        assert self._place is not None
        service = SERVICES[record.tracker](self._place)
        self._variables.enter_context(_set(service.variables()))
        known = record.id is not None
        record.id = service.open(record.id)
        record.service = service
        if known:
            record.logged = service.steps(record.logged)
        else:
            service.store()
        for row in rows_of(self._place.folder / "metrics.jsonl"):
            _log(record, row)
        record.lost = False

    def _attempt(self, record: Record, what: Any) -> str | None:
        """Do something with a tracker; a failure gives it up and is told."""
        try:
            with _quiet():
                what(record)
        except Exception as error:  # whatever it is, it is no reason to end hours of training
            service, record.service, record.lost = record.service, None, True
            if service is not None:
                with _quiet(), contextlib.suppress(Exception):
                    service.close(ended=False)
            return f"{type(error).__name__}: {shorten(str(error), 150)}"
        return None

    def _keep(self) -> None:
        assert self._place is not None
        write_json(self._place.folder / RECORDS, {
            record.tracker.value: {"id": record.id, "logged": record.logged, "lost": record.lost}
            for record in self._records if record.id is not None})


def _log(record: Record, row: Mapping[str, Any]) -> None:
    split, step = row["split"], row["step"]
    if step <= record.logged.get(split, -1):
        return  # what a resumed run computes again is the same, and stands there
    assert record.service is not None
    if values := values_of_row(row):
        record.service.tracker.log(values, step=step)
    record.logged[split] = step


def _log_results(record: Record, results: Mapping[str, Any]) -> None:
    step = int(results["steps"])
    if step > record.logged.get(RESULTS, -1):
        assert record.service is not None
        record.service.tracker.log(values_of_results(results), step=step)
        record.logged[RESULTS] = step


def read_records(folder: Path) -> dict[str, Any]:
    """The content of trackers.json; nothing where there is none that can be used, which is told."""
    path = folder / RECORDS
    if not path.exists():
        return {}
    try:
        found = read_json(path, LIMIT)
    except CheckpointError as error:
        warn(f"the trackers begin new records: {error.problems[0]}")
        return {}
    return found if isinstance(found, dict) else {}


def _found(tracker: Tracker, kept: Any, seen: Steps) -> Record:
    """A record as trackers.json says; whoever can write the folder can write anything there."""
    kept = kept if isinstance(kept, dict) else {}
    record, logged = kept.get("id"), kept.get("logged")
    if not isinstance(record, str) or not ID.fullmatch(record):
        return Record(tracker)
    logged = {split: step for split, step in logged.items() if type(step) is int} if isinstance(logged, dict) else {}
    lost = kept.get("lost") is True
    if not lost:  # every row of metrics.jsonl was logged as it was written
        logged = {split: max(seen.get(split, -1), logged.get(split, -1)) for split in {*seen, *logged}}
    return Record(tracker, record, logged, lost)


@contextmanager
def _set(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables that are missing, for a time."""
    missing = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep a tracker's own lines off the terminal, and its draws off the generators that a run saves."""
    generators = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        random.setstate(generators[0])
        np.random.set_state(generators[1])
        torch.set_rng_state(generators[2])
