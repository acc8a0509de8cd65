"""A comparison as JSON and as tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmtrain.evaluation.changed_rows import changed_rows
from llmtrain.evaluation.comparison import SAMPLES, ComparedMetric, compare
from llmtrain.evaluation.outcome import Outcome, alike
from llmtrain.evaluation.verdict import notes, verdict
from llmtrain.tasks.metric import Metric
from llmtrain.tasks.task import Task, task_named

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA_VERSION = 1
SHOWN_CHARACTERS = 300


def comparison(outcomes: Sequence[Outcome], metrics: Sequence[Metric] | None = None, *, samples: int = SAMPLES,
               margin: float | None = None, rows: int = 20, seed: int = 0,
               chosen: bool = False) -> dict[str, Any]:
    """All that ``llmtrain compare --json`` prints; docs/compare.md says what each part means.

    Args:
        metrics: Those to compare; None: all of the task's.
        rows: Changed rows that are told of each side.
        chosen: The first is the best of them by these very rows, which p-values then know.

    Raises:
        DataError: The outcomes are not of the same task, rules of scoring and rows.
    """
    outcomes = alike(outcomes)
    first = outcomes[0]
    metrics = task_named(first.task).metrics if metrics is None else metrics
    compared = compare(outcomes, metrics, samples=samples, margin=margin, seed=seed, chosen=chosen)
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


def print_comparison(console: Console, found: dict[str, Any]) -> None:
    """The values, then for each side its verdicts, what they rest on, and the rows that changed most."""
    task = task_named(found["task"])
    headings = {metric.name: metric for metric in task.metrics}
    _print_values(console, found, headings)
    _print_sides(console, found)
    first = found["sides"][0]["label"]
    for side in found["sides"][1:]:
        label = side["label"]
        console.print(f"\n{label} against {first}:", markup=False, highlight=False, style="bold")
        print_verdicts(console, found, label)
        for note in found["notes"].get(label, []):
            console.print(f"  {note}", markup=False, highlight=False, soft_wrap=True)
        _print_changed(console, task, found["changed"][label], (first, label), headings)


def print_verdicts(console: Console, found: dict[str, Any], label: str) -> None:
    """A line for each metric of a side: what its difference from the first shows."""
    width = max((len(one["heading"]) for one in found["metrics"].values()), default=0)
    for one in found["metrics"].values():
        console.print(f"  {one['heading']:<{width}}  {one['differences'][label]['verdict']}", markup=False,
                      highlight=False, soft_wrap=True)


def _print_values(console: Console, found: dict[str, Any], metrics: dict[str, Metric]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{found['rows']} {found['split']} rows, 95 % intervals".replace("  ", " "))
    table.add_column("")
    for one in found["metrics"].values():
        table.add_column(one["heading"] + ("" if one["more_is_better"] else " (less is better)"), justify="right")
    for side in found["sides"]:
        seeds = f" ({len(side['seeds'])} seeds)" if len(side["seeds"]) > 1 else ""
        table.add_row(Text(side["label"] + seeds), *(_cell(one["sides"][side["label"]], metrics[name])
                                                     for name, one in found["metrics"].items()))
    if found["metrics"]:
        console.print(table)
    else:
        console.print("no metric can be told of every row", markup=False)


def _cell(value: dict[str, Any], metric: Metric) -> str:
    point, low, high = (f"{value[name]:.{metric.digits}f}" for name in ("value", "low", "high"))
    return f"{point} [{low}, {high}]"


def _print_sides(console: Console, found: dict[str, Any]) -> None:
    """How the sides were decoded, where that differs, and how all were scored."""
    if len({tuple(side["decoding"]) for side in found["sides"]}) > 1:
        for side in found["sides"]:
            console.print(f"{side['label']}: {'; '.join(side['decoding'])}", markup=False, highlight=False,
                          soft_wrap=True)
    console.print(f"scored by: {found['scorer']}", markup=False, highlight=False, soft_wrap=True)


def _print_changed(console: Console, task: Task, changed: dict[str, Any], labels: tuple[str, str],
                   metrics: dict[str, Metric]) -> None:
    console.print(f"  {changed['differ']} of {changed['outputs']} outputs differ", markup=False, highlight=False)
    for row in changed["rows"]:
        sides = [task.shown({"id": row["id"], **row["asked"], "prediction": row[side]["prediction"]})
                 for side in ("first", "other")]
        console.print()
        told = ""
        if changed["metric"] is not None:
            metric = metrics[changed["metric"]]
            values = " -> ".join(f"{row[side]['value']:.{metric.digits}f}" for side in ("first", "other"))
            told = f", {metric.heading} {values}"
        _print_text(console, "row", f"{row['id']}{told}")
        for name, text in sides[0].items():
            if sides[1].get(name) == text:
                _print_text(console, name, text)
            else:  # what the models gave
                for label, shown in zip(labels, sides, strict=True):
                    _print_text(console, label, shown[name])


def _print_text(console: Console, label: str, text: str) -> None:
    console.print(f"    {label + ':':<12}{' '.join(text.split())[:SHOWN_CHARACTERS]}", markup=False, highlight=False)
