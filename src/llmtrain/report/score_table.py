"""The report's tables of scores: one metric as points with intervals, all metrics as numbers, tables of the task's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmtrain.report.excerpt import harmless
from llmtrain.report.headline import best_run, figures
from llmtrain.report.task_parts import SPLITS, ScoredRun, TaskPart
from llmtrain.tasks.metric import Metric

MOST_ROWS, MOST_COLUMNS = 60, 60  # of a table of the task's own
MARGIN = 4.0  # percent of the scale that is left free on each side


def score_table(part: TaskPart, compared: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """A part's scores as the template shows them; None where nothing was scored.

    Args:
        compared: What a comparison tells, whose sides of several seeds are shown too.
    """
    metrics = part.metrics()
    if not metrics:
        return None
    return {"title": part.title, "task": part.task.title, "forest": _forest(part, metrics[0], compared),
            "metrics": metrics,
            "rows": [_row(name, values, metrics, _bests(part, metrics) if kept else {}, not kept)
                     for name, values, kept in _lines(part)],
            "tables": [table for run in part.runs for table in _tables(run, len(part.runs) > 1)]}


Values = Mapping[str, Mapping[str, float]]


def _lines(part: TaskPart) -> Iterator[tuple[str, Values, bool]]:
    """Name, values, and whether they are of a run on the rows that are kept."""
    for run in part.runs:
        for split in SPLITS:
            if values := (run.scores.get("metrics") or {}).get(split):
                yield f"{run.name}, {_rows(run, split)}", values, split == run.split
    for name, values in part.baselines().items():
        yield part.task.baseline_labels.get(name, name), values, False


def _rows(run: ScoredRun, split: str) -> str:
    rows = run.scores.get("rows") or {}
    whole = (rows.get("whole") or {}).get(split, rows.get(split, 0))
    return f"{split} ({rows.get(split, 0):,}{f' of {whole:,}' if whole > rows.get(split, 0) else ''} rows)"


def _bests(part: TaskPart, metrics: Sequence[Metric]) -> dict[str, Any]:
    """The best value of each metric, where there are several runs."""
    if len(part.runs) < 2:
        return {}
    return {metric.name: best.value(metric.name) for metric in metrics if (best := best_run(part, metric)) is not None}


def _row(name: str, values: Values, metrics: Sequence[Metric], bests: Mapping[str, Any], quiet: bool) -> dict[str, Any]:
    cells = []
    for metric in metrics:
        value = values.get(metric.name)
        if value is None:
            cells.append({"value": "", "between": "", "best": False})
            continue
        point, _, between = figures(value, metric).partition(" ")
        cells.append({"value": point, "between": between, "best": bests.get(metric.name) == value})
    return {"name": name, "cells": cells, "quiet": quiet}


def _forest(part: TaskPart, metric: Metric, compared: Mapping[str, Any] | None) -> dict[str, Any]:
    """A metric of every run and baseline on one scale, and of every side of several seeds."""
    sides = ((compared or {}).get("metrics") or {}).get(metric.name, {}).get("sides", {})
    several = [(f"{label}, {len(value['by_seed'])} seeds", None, value) for label, value in sides.items()
               if len(value["by_seed"]) > 1]
    found = [(run.name, run.number, value) for run in part.runs if (value := run.value(metric.name)) is not None]
    lines: list[tuple[str, int | None, Mapping[str, float]]] = [*several, *found]
    lines += [(part.task.baseline_labels.get(name, name), None, values[metric.name])
              for name, values in part.baselines().items() if metric.name in values]
    least, most = min(value["low"] for *_, value in lines), max(value["high"] for *_, value in lines)
    scale = (100 - 2 * MARGIN) / ((most - least) or 1.0)

    def place(value: float) -> float:
        return round(MARGIN + (value - least) * scale, 2)

    rows = [{"name": name, "run": number, "text": figures(value, metric), "low": place(value["low"]),
             "at": place(value["value"]), "width": round(place(value["high"]) - place(value["low"]), 2)}
            for name, number, value in lines]
    return {"heading": metric.heading, "more": metric.more_is_better, "rows": rows, "seeds": bool(several),
            "least": f"{least:.{metric.digits}f}", "most": f"{most:.{metric.digits}f}"}


def _tables(run: ScoredRun, several: bool) -> Iterator[dict[str, Any]]:
    """The task's own tables. One of whole numbers alone, as counts of one thing by another, is shaded."""
    for name, rows in (run.scores.get("tables") or {}).items():
        if not rows:
            continue
        columns = list(rows[0])[:MOST_COLUMNS]
        shown = [[row.get(column) for column in columns] for row in rows[:MOST_ROWS]]
        numbers = [cell for row in shown for cell in row[1:] if cell is not None]
        heat = len(columns) > 2 and all(isinstance(cell, int) for cell in numbers)
        yield {"title": name.replace("_", " ") + (f", {run.name}" if several else ""), "heat": heat,
               "columns": [harmless(str(column)) for column in columns], "left": max(0, len(rows) - MOST_ROWS),
               "rows": [[{"text": _cell(cell), "heat": _heat(cell, row) if heat else None} for cell in row]
                        for row in shown]}


def _heat(cell: Any, row: Sequence[Any]) -> float:
    """The cell's share of its row, 0 to 1."""
    whole = sum(value for value in row[1:] if isinstance(value, int))
    return round(cell / whole, 3) if whole and isinstance(cell, int) else 0.0


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else harmless(str(value))
