"""What a report is of: runs, what ``llmtrain compare --json`` printed, or a study with its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtrain.core.errors import ConfigError
from llmtrain.core.files import read_json
from llmtrain.report.run_record import RunRecord, folder_of, is_record, names_of, read_record

STUDY = "study.json"
MOST_CELLS = 8  # of a study, whose predictions and curves are shown: the base cell and the best ones


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was read.

    Attributes:
        title: Of the page.
        comparison: What ``llmtrain compare --json`` printed, where the report is of that.
        study: The content of study.json, where it is of one.
        home: The folder that the report goes into where nobody says.
    """

    title: str
    runs: list[RunRecord]
    home: Path
    comparison: dict[str, Any] | None = None
    study: dict[str, Any] | None = None


def read_inputs(paths: Sequence[Path]) -> Inputs:
    """Read what lies at the paths.

    Raises:
        ConfigError: There is no run at a path, or a study or comparison is not the only one.
        CheckpointError, DataError: A file cannot be read.
    """
    paths = [path.expanduser() for path in paths]
    for path in paths:
        file = path / STUDY if (path / STUDY).is_file() else path
        if file.is_file() and file.suffix == ".json" and (found := read_json(file)) and isinstance(found, dict):
            kind = "study" if found.get("kind") == "study" else "comparison" if _compares(found) else ""
            if kind and len(paths) > 1:
                raise ConfigError(f"a {kind} at {path} beside others; report it alone: llmtrain report {path}")
            if kind == "study":
                return _study(file, found)
            if kind:
                return _comparison(file, found)
    folders = list(dict.fromkeys(folder_of(path) for path in paths))
    runs = [read_record(folder, name) for folder, name in zip(folders, names_of(folders), strict=True)]
    return Inputs(_listed([run.name for run in runs]), runs, _home(folders))


def _compares(found: Mapping[str, Any]) -> bool:
    return {"sides", "metrics", "task"} <= found.keys()


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _home(folders: Sequence[Path]) -> Path:
    """The run itself, or what the runs lie in."""
    if len(folders) == 1:
        return folders[0]
    parents = [set(folder.absolute().parents) for folder in folders]
    return max(set.intersection(*parents), key=lambda path: len(path.parts))


def _comparison(file: Path, found: dict[str, Any]) -> Inputs:
    """A comparison with the runs that it was made of; of files that are not scored runs, with the rows that it tells.
    """
    labels = [str(side["label"]) for side in found["sides"]]
    runs = []
    for number, side in enumerate(found["sides"]):
        folders = [folder for text in side["paths"] if (folder := _there(file, Path(text))) is not None]
        if len(folders) == len(side["paths"]):
            seeds = [f" (seed {seed})" if len(folders) > 1 else "" for seed in side["seeds"]]
            runs += [read_record(folder, f"{side['label']}{seed}") for folder, seed in zip(folders, seeds, strict=True)]
        else:
            runs.append(_told(file, found, number))
    return Inputs(" against ".join([_listed(labels[1:]), labels[0]]), runs, file.parent, comparison=found)


def _there(file: Path, path: Path) -> Path | None:
    """The folder of scores at a path that the comparison names, as it stands or from where its file lies."""
    for place in (path, file.parent / path):
        folder = place.parent if place.is_file() else place
        if folder.is_dir() and is_record(folder):
            return folder
    return None


def _told(file: Path, found: Mapping[str, Any], number: int) -> RunRecord:
    """A side as far as the comparison itself tells of it: its scores, and the rows that changed most."""
    label, split = str(found["sides"][number]["label"]), str(found.get("split") or "test")
    values = {name: metric["sides"][label] for name, metric in found["metrics"].items() if label in metric["sides"]}
    rows: dict[str, dict[str, Any]] = {}
    for other, changed in found.get("changed", {}).items():
        which = "first" if number == 0 else "other"
        for row in changed["rows"] if number == 0 or other == label else ():
            value = {changed["metric"]: row[which]["value"]} if changed["metric"] else {}
            rows[row["id"]] = {"id": row["id"], **row["asked"], "prediction": row[which]["prediction"], **value}
    results = {"task": found["task"], "metrics": {split: values}, "rows": {split: found["rows"]},
               "signature": found.get("scorer")}
    return RunRecord(label, file.parent, results, list(rows.values()), [], {}, {})


def _study(file: Path, found: dict[str, Any]) -> Inputs:
    """A study with the first finished seed of its cells, the base cell first and the best ones after it."""
    metric, more = found["metric"], found["more_is_better"]
    cells = [cell for cell in found["cells"] if cell["metrics"].get(metric)]
    cells.sort(key=lambda cell: (not cell["base"], -cell["metrics"][metric]["mean"] if more else
                                 cell["metrics"][metric]["mean"]))
    runs = []
    for cell in cells[:MOST_CELLS]:
        done = next((run for run in cell["runs"] if run["state"] == "done"), None)
        folder = None if done is None else file.parent / done["folder"]
        if done is not None and folder is not None and is_record(folder):
            runs.append(read_record(folder, str(cell["name"])))
    return Inputs(str(found["name"]), runs, file.parent, study=found)
