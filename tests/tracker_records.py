"""What each tracker recorded of a run, read back from its own files: the (step, value) pairs of each name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from llmtrain.training.trackers.wandb_log import history

Record = dict[str, list[tuple[int, float]]]


def from_tensorboard(run: Path, record: str = "") -> Record:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(run / "llmtrain"), {"scalars": 0})
    shown.Reload()
    return {tag: [(event.step, event.value) for event in shown.Scalars(tag)] for tag in shown.Tags()["scalars"]}


def from_wandb(run: Path, record: str) -> Record:
    """From every folder of the record: each offline start writes one."""
    found: Record = {}
    for log in sorted(run.glob(f"wandb/offline-run-*/run-{record}.wandb")):
        for step, values in history(log):
            for name, value in values.items():
                if "/" in name:
                    found.setdefault(name, []).append((step, json.loads(value)))
    return found


def from_mlflow(run: Path, record: str) -> Record:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run.parent.resolve() / '.mlflow/mlflow.db'}")
    return {name: sorted((entry.step, entry.value) for entry in client.get_metric_history(record, name))
            for name in client.get_run(record).data.metrics}


def from_trackio(run: Path, record: str) -> Record:
    from trackio.sqlite_storage import SQLiteStorage

    found: Record = {}
    for row in SQLiteStorage.get_logs("llmtrain", record):
        for name, value in row.items():
            if "/" in name:
                found.setdefault(name, []).append((row["step"], value))
    return found


def from_aim(run: Path, record: str) -> Record:
    from aim import Run

    opened = Run(record, repo=str(run.parent), force_resume=True, capture_terminal_logs=False,
                 system_tracking_interval=None)  # to read alone, Aim asks an index that its page makes
    try:
        tables = {metric.name: metric.dataframe() for metric in opened.metrics()}
        return {name: list(zip(map(int, table["step"]), map(float, table["value"]), strict=True))
                for name, table in tables.items()}
    finally:
        opened.close()


READERS: dict[str, Callable[[Path, str], Record]] = {
    "tensorboard": from_tensorboard, "wandb": from_wandb, "mlflow": from_mlflow, "trackio": from_trackio,
    "aim": from_aim}


def logged_by(run: Path) -> Record:
    """The same as it should be, by metrics.jsonl and results.json."""
    from llmtrain.training.trackers.flat import rows_of, values_of_results, values_of_row

    found: Record = {}
    for row in rows_of(run / "metrics.jsonl"):
        for name, value in values_of_row(row).items():
            found.setdefault(name, []).append((row["step"], value))
    results = json.loads((run / "results.json").read_text())
    return found | {name: [(results["steps"], value)] for name, value in values_of_results(results).items()}
