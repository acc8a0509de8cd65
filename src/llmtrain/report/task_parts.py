"""What of the runs belongs together on the page: one part for each task that they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmtrain.report.run_record import RunRecord
from llmtrain.tasks.metric import Metric
from llmtrain.tasks.task import Task, task_named

SPLITS = ("test", "validation")  # the first that was scored is the one whose rows are kept


@dataclass(frozen=True, slots=True)
class ScoredRun:
    """What one run has of a part's task.

    Attributes:
        number: Its place among the report's runs.
        scores: What results.json says of this task.
        rows: Its lines of predictions.jsonl.
    """

    number: int
    name: str
    scores: dict[str, Any]
    rows: list[dict[str, Any]]

    @property
    def split(self) -> str | None:
        """The split whose rows are kept: test where it was scored, else validation."""
        return next((name for name in SPLITS if (self.scores.get("metrics") or {}).get(name)), None)

    def value(self, metric: str, split: str | None = None) -> dict[str, float] | None:
        """``value``, ``low`` and ``high`` of a metric on a split."""
        found: dict[str, dict[str, float]] = (self.scores.get("metrics") or {}).get(split or self.split or "") or {}
        return found.get(metric)


@dataclass(frozen=True, slots=True)
class TaskPart:
    """One task, and the runs that were scored on it."""

    title: str
    task: Task
    runs: list[ScoredRun]

    def baselines(self) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
        """The values of each baseline, of the first run that has them: they are of the rows, not of the run."""
        return next((run.scores["baselines"] for run in self.runs if run.scores.get("baselines")), {})

    def metrics(self) -> list[Metric]:
        """Those that any of the runs, or a baseline, has."""
        return [metric for metric in self.task.metrics if any(self.has(run, metric.name) for run in self.runs)]

    @staticmethod
    def has(run: ScoredRun, metric: str) -> bool:
        return any(run.value(metric, split) is not None for split in SPLITS)

    def of_rows(self) -> list[Metric]:
        """The metrics of which a row has a value of its own."""
        return [metric for metric in self.task.metrics
                if any(isinstance(row.get(metric.name), int | float) for run in self.runs for row in run.rows[:1])]


def parts_of(runs: Sequence[RunRecord]) -> list[TaskPart]:
    """The tasks of all runs, each with the runs that have it, in the order in which they come first.

    Raises:
        ConfigError: A task is not known; a plugin's must be named.
    """
    found: dict[tuple[str, str], list[ScoredRun]] = {}
    for number, run in enumerate(runs):
        for member, scores in run.members().items():
            task = str(scores.get("task") or run.task)
            found.setdefault((member, task), []).append(ScoredRun(number, run.name, scores, run.rows_of(member)))
    return [TaskPart(member or (task if len(found) > 1 else ""), task_named(task), scored)
            for (member, task), scored in found.items()]


def logged_metrics(runs: Sequence[RunRecord]) -> dict[str, Metric]:
    """The metrics of the runs' tasks by the names that they have in metrics.jsonl, an unfinished run's too."""
    found: dict[str, Metric] = {}
    for run in runs:
        found |= {metric.name: metric for metric in task_named(run.task).metrics}
        entries = (run.config.get("task") or {}).get("tasks") or ()
        members = {one["name"]: one["task"] for one in entries if isinstance(one, dict)
                   and isinstance(one.get("task"), dict) and one.get("name")}
        members = {name: options.get("name") for name, options in members.items()}
        members |= {name: scores.get("task") for name, scores in run.members().items() if name}
        for member, task in members.items():
            if isinstance(task, str):
                found |= {f"{member}.{metric.name}": metric for metric in task_named(task).metrics}
    return found
