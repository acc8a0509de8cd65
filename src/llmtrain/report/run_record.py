"""What a run, or a scoring of predictions, left in its folder, as the report reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmtrain.config.convert import to_dict
from llmtrain.config.sections.task import DEFAULT
from llmtrain.config.stored import read_config
from llmtrain.core.errors import ConfigError, DataError, LlmtrainError
from llmtrain.core.files import read_json

CONFIG, ENVIRONMENT, METRICS, RESULTS, PREDICTIONS = (
    "config.yaml", "environment.json", "metrics.jsonl", "results.json", "predictions.jsonl")
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A folder's results and log.

    Attributes:
        name: What the report calls it; no two of a report are called alike.
        results: results.json; empty where the run has not ended.
        rows: The lines of predictions.jsonl.
        log: The lines of metrics.jsonl.
        config: The run's configuration as plain values; empty where there is none to read.
    """

    name: str
    path: Path
    results: dict[str, Any]
    rows: list[dict[str, Any]] = field(repr=False)
    log: list[dict[str, Any]] = field(repr=False)
    environment: dict[str, Any]
    config: dict[str, Any]

    @property
    def task(self) -> str:
        """The name of its task, of several the one that stands for them."""
        return str(self.results.get("task") or (self.config.get("task") or {}).get("name") or DEFAULT)

    def members(self) -> dict[str, dict[str, Any]]:
        """What each task of the run has in results.json, by its name in the run; the only one has no name."""
        return self.results.get("members") or ({"": self.results} if self.results else {})

    def rows_of(self, member: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row.get("task") == member] if member else self.rows

    @property
    def last_step(self) -> int | None:
        return next((row["step"] for row in reversed(self.log) if isinstance(row.get("step"), int)), None)


def is_record(path: Path) -> bool:
    """Whether a folder is one that a run or a scoring wrote."""
    return any((path / name).is_file() for name in (RESULTS, METRICS, CONFIG))


def folder_of(path: Path) -> Path:
    """The folder that is meant by a path: one of its own files or a checkpoint of it will do.

    Raises:
        ConfigError: There is none.
    """
    path = path.expanduser()
    if not path.exists():
        raise ConfigError(f"nothing at {path}; name a run's folder, as runs/NAME")
    for folder in (path, *path.absolute().parents[:4]):
        inside = folder == path or path.is_file() or CHECKPOINTS in path.absolute().parts
        if inside and folder.is_dir() and is_record(folder):
            return folder
    raise ConfigError(f"no run at {path} (no {RESULTS}, {METRICS} or {CONFIG} is there); name a run's folder, as "
                      "runs/NAME, or the folder that `llmtrain eval` wrote its scores to")


def read_record(folder: Path, name: str) -> RunRecord:
    """Read a folder's files, as far as they are there.

    Raises:
        CheckpointError: A JSON file cannot be read.
        DataError: A line is no JSON object.
    """
    results = _json(folder / RESULTS)
    config = results.get("config") or {}
    if not config and (folder / CONFIG).is_file():
        try:
            config = to_dict(read_config(folder / CONFIG))
        except LlmtrainError:  # of a plugin that was not named, of another version: the curves need none
            config = {}
    return RunRecord(name, folder, results, list(_lines(folder / PREDICTIONS)), list(_lines(folder / METRICS)),
                     _json(folder / ENVIRONMENT), config)


def names_of(folders: list[Path]) -> list[str]:
    """A name for each folder: its own, with as many parents as tell it from the others."""
    parts = [folder.absolute().parts[1:] or ("/",) for folder in folders]
    names = []
    for one in parts:
        others = [other for other in parts if other != one]
        size = next((size for size in range(1, len(one) + 1)
                     if all(other[-size:] != one[-size:] for other in others)), len(one))
        names.append("/".join(one[-size:]))
    return names


def _json(path: Path) -> dict[str, Any]:
    found = read_json(path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise DataError(f"no JSON object at {path}; restore the file")
    return found


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file, one a line; the last line of a run that goes on may be unfinished."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                if not line.endswith(b"\n"):
                    return
                raise DataError(f"no JSON object at {path}:{number} ({str(error)[:80]}); restore the file") from error
            if not isinstance(row, dict):
                raise DataError(f"no JSON object at {path}:{number}; restore the file")
            yield row
