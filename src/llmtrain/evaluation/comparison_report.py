"""A comparison as JSON and as tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmtrain.evaluation.changed_rows import changed_rows
from llmtrain.evaluation.comparison import SAMPLES, ComparedMetric, compare
from llmtrain.evaluation.outcome import Outcome, alike
from llmtrain.evaluation.verdict import notes, verdict
from llmtrain.tasks.metric import Metric
from llmtrain.tasks.task import task_named

SCHEMA_VERSION = 1
SHOWN_CHARACTERS = 300


def comparison(outcomes: Sequence[Outcome], metrics: Sequence[Metric] | None = None, *, samples: int = SAMPLES,
               margin: float | None = None, rows: int = 20, seed: int = 0) -> dict[str, Any]:
    """All that ``llmtrain compare --json`` prints; docs/compare.md says what each part means.

    Args:
        metrics: Those to compare; None: all of the task's.
        rows: Changed rows that are told of each side.

    Raises:
        DataError: The outcomes are not of the same task, rules of scoring and rows.
    """
    outcomes = alike(outcomes)
    first = outcomes[0]
    metrics = task_named(first.task).metrics if metrics is None else metrics
    compared = compare(outcomes, metrics, samples=samples, margin=margin, seed=seed)
    return {
        "schema_version": SCHEMA_VERSION, "task": first.task, "split": first.split, "rows": first.size,
        "scorer": first.scorer, "samples": samples,
        "sides": [{"label": one.label, "paths": list(one.paths), "seeds": list(one.seeds),
                   "decoding": list(dict.fromkeys(one.decoding))} for one in outcomes],
        "metrics": {one.metric.name: _of_metric(one) for one in compared},
        "notes": {one.label: _notes(compared[0], first, one) for one in outcomes[1:]} if compared else {},
        "changed": {one.label: changed_rows(first, one, metrics, rows) for one in outcomes[1:]},
    }


def _of_metric(compared: ComparedMetric) -> dict[str, Any]:
    found = compared.as_dict()
    for label, difference in found["differences"].items():
        difference["verdict"] = verdict(compared, label)
    return found


def _notes(compared: ComparedMetric, first: Outcome, other: Outcome) -> list[str]:
    return notes(first.size, compared.differences[other.label].paired_seeds, (first.several, other.several))
