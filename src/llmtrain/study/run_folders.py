"""What lies in the run folders of a study: whether a run is done, how far it is, what it gave."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmtrain.core.errors import ConfigError
from llmtrain.core.files import read_json
from llmtrain.study.plan import Plan, Run

RESULTS, METRICS = "results.json", "metrics.jsonl"


def is_finished(folder: Path) -> bool:
    """Whether a run has all its results."""
    path = folder / RESULTS
    if not path.exists():
        return False
    found = read_json(path)
    return isinstance(found, dict) and bool(found.get("complete", True))


def last_step(folder: Path) -> int:
    """The step of a run's last checkpoint; 0 where there is none."""
    pointer = folder / "checkpoints" / "last"
    try:
        return int(read_json(pointer)["step"]) if pointer.exists() else 0
    except (ValueError, KeyError, TypeError):
        return 0


def scores_of(results: dict[str, Any]) -> dict[str, float]:
    """The metrics of the rows that a run keeps: of each task those of test where there are any, else of validation."""
    metrics = (results["metrics"].get("validation") or {}) | (results["metrics"].get("test") or {})
    return {name: float(value["value"]) for name, value in metrics.items()}


def refuse_others(plan: Plan, runs: Sequence[Run]) -> None:
    """Raise ConfigError where a run of another configuration has the place of one of these."""
    from llmtrain.config.run_id import other_run
    from llmtrain.config.stored import read_config
    from llmtrain.training.run_folder.fingerprints import fingerprints_of

    problems, known = [], {}
    for run in runs:
        path = plan.folder / run.name / "config.yaml"
        if not is_finished(plan.folder / run.name) or not path.exists():
            continue
        if run.cell.name not in known:
            known[run.cell.name], _ = fingerprints_of(run.cell.config)
        config = replace(run.cell.config, fingerprints=known[run.cell.name],
                         run=replace(run.cell.config.run, seed=run.seed))
        if keys := other_run(read_config(path), config, finished=True):
            problems.append(f"another configuration's run is at {path.parent} ({', '.join(keys[:5])} differ); choose "
                            "another run.name")
    if problems:
        raise ConfigError(problems)


def metrics_rows(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; none where there is no such file."""
    path = folder / METRICS
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
