"""The rows that changed most between two models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmtrain.evaluation.outcome import Outcome, asked
from llmtrain.tasks.metric import Metric


def row_metric(metrics: Sequence[Metric], outcomes: Sequence[Outcome]) -> Metric | None:
    """The first metric that each row has a value of its own for; None where there is none."""
    return next((metric for metric in metrics if all(metric.name in row for one in outcomes for rows in one.rows
                                                     for row in rows)), None)


def changed_rows(first: Outcome, other: Outcome, metrics: Sequence[Metric], most: int) -> dict[str, Any]:
    """How many outputs differ, and the rows whose value changed most, seeds averaged, with both outputs.

    Args:
        first: Of the same rows in the same order as ``other``.
        most: Rows to tell.

    Returns:
        ``outputs`` that were compared, one for each row and seed, and how many of them ``differ``; the ``metric`` that
        orders the rows, None where only whether outputs differ does; ``rows``, each with its ``id``, ``asked`` (the
        task's columns), and ``first`` and ``other``: ``value`` and the ``prediction`` of the first seed in which both
        differ.
    """
    metric = row_metric(metrics, (first, other))
    seeds = max(len(first.rows), len(other.rows))
    pairs = [(first.rows[number % len(first.rows)], other.rows[number % len(other.rows)]) for number in range(seeds)]
    differ = [[one[row]["prediction"] != two[row]["prediction"] for one, two in pairs] for row in range(first.size)]
    found = []
    for row, changed in enumerate(differ):
        if not any(changed):
            continue
        seed = changed.index(True)
        sides = {name: {"value": _mean(side, row, metric), "prediction": pairs[seed][place][row]["prediction"]}
                 for place, (name, side) in enumerate((("first", first), ("other", other)))}
        change = sides["other"]["value"] - sides["first"]["value"] if metric else 0.0
        line = first.rows[0][row]
        found.append({"id": line["id"], "change": change,
                      "asked": {name: value for name, value in asked(line).items() if name != "id"}, **sides})
    found.sort(key=lambda row: (-abs(row["change"]), row["id"]))
    return {"outputs": first.size * seeds, "differ": sum(map(sum, differ)),
            "metric": metric.name if metric else None, "rows": found[:most]}


def _mean(side: Outcome, row: int, metric: Metric | None) -> float | None:
    return None if metric is None else sum(rows[row][metric.name] for rows in side.rows) / len(side.rows)
