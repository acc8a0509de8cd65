"""results.json, predictions.jsonl and the table on the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmtrain import registry
from llmtrain.config.sections.task import DEFAULT
from llmtrain.core.files import make_folder, write_json, write_text
from llmtrain.data.examples import digest
from llmtrain.evaluation.evaluate import Intervals, SplitScores
from llmtrain.evaluation.mean_of_tasks import mean_of_tasks
from llmtrain.tasks.metric import Metric
from llmtrain.tasks.task import Task, task_named

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA_VERSION = 1
PLAIN_WIDTH = 126  # of the report where stdout is no terminal
SHOWN_PERCENTILES = (25, 50, 75)  # of the first metric: the rows that are shown
SHOWN_CHARACTERS = 300
SHOWN_ROWS, SHOWN_COLUMNS = 20, 9  # of a task's own table


def build_results(task: Task, *, validation: SplitScores | None, test: SplitScores | None,
                  whole: dict[str, int] | None = None, precision: dict[str, str | None] | None = None,
                  steps: int | None = None, skipped_steps: int | None = None, seconds: float | None = None,
                  tokens_per_second: float | None = None, peak_memory_bytes: int | None = None) -> dict[str, Any]:
    """The content of results.json; null where no model was run. ``whole``: rows that each split has uncut."""
    scored = {"validation": validation, "test": test}
    main = test or validation
    cut = {name: s.truncation for name, s in scored.items() if s and s.truncation}
    return {
        "schema_version": SCHEMA_VERSION,
        "task": task.name,
        "precision": precision or {"requested": None, "effective": None},
        "metrics": {name: _plain(s.metrics) if s else None for name, s in scored.items()},
        "rows": {**{name: len(s.rows) if s else 0 for name, s in scored.items()}, "whole": whole},
        "baselines": {name: _plain(values) for name, values in main.baselines.items()} if main else {},
        "extras": main.extras if main else {},
        "signature": main.signature if main else None,
        "scorer": main.scorer if main else None,
        "decoding": main.decoding if main else None,
        "steps": steps, "skipped_steps": skipped_steps, "seconds": seconds,
        "tokens_per_second": tokens_per_second, "peak_memory_bytes": peak_memory_bytes,
        **({"tables": main.tables} if main and main.tables else {}),
        **({"truncation": cut} if cut else {}),
    }


@dataclass(frozen=True, slots=True)
class ScoredTask:
    """What scoring gave for a task of a run.

    Attributes:
        name: The task's in the run; empty for the only one.
        whole: Rows that each split has uncut.
    """

    name: str
    task: Task
    validation: SplitScores | None
    test: SplitScores | None
    whole: dict[str, int]

    @property
    def main(self) -> SplitScores | None:
        """The split whose rows are shown and kept."""
        return self.test or self.validation


def results_of_tasks(task: Task, scored: Sequence[ScoredTask], samples: int = 0, **facts: Any) -> dict[str, Any]:
    """The content of results.json for a run of one task, or of several.

    Of several, ``members`` has what each alone would have; metrics, baselines and extras of all stand at the top, each
    behind its task's name and a dot, and the mean of their first metrics.

    Args:
        task: The run's.
        samples: How often rows are drawn for the interval of that mean.
        facts: Of the training, as :func:`build_results` takes them.
    """
    if not scored[0].name:
        (one,) = scored
        return build_results(task, validation=one.validation, test=one.test, whole=one.whole, **facts)
    members = {one.name: build_results(one.task, validation=one.validation, test=one.test, whole=one.whole)
               for one in scored}
    results = build_results(task, validation=None, test=None, **facts)

    results["metrics"] = {split: _named({name: member["metrics"][split] for name, member in members.items()}) or None
                          for split in results["metrics"]}
    for split, metrics in results["metrics"].items():
        if metrics and (firsts := _first_metrics(scored, split)):
            metrics |= _plain({task.metrics[0].name: mean_of_tasks(firsts, samples)})
    results["rows"] = {split: sum(member["rows"][split] for member in members.values())
                       for split in results["metrics"]} | {
        "whole": {split: sum((member["rows"]["whole"] or {}).get(split, 0) for member in members.values())
                  for split in ("train", *results["metrics"])}}
    results |= {key: _named({name: member[key] for name, member in members.items()}) for key in ("baselines", "extras")}
    kept = ("task", "metrics", "rows", "baselines", "extras", "signature", "scorer", "decoding", "tables", "truncation")
    return results | {"members": {name: {key: member[key] for key in kept if key in member}
                                  for name, member in members.items()}}


def _first_metrics(scored: Sequence[ScoredTask], split: str) -> list[tuple[Metric, SplitScores]]:
    """Each task's first metric with the scores of a split; none where a task has no rows of it."""
    found = [(one.task.metrics[0], one.validation if split == "validation" else one.test) for one in scored]
    return [(metric, scores) for metric, scores in found if scores] if all(scores for _, scores in found) else []


def _named(by_task: dict[str, dict[str, Any] | None]) -> dict[str, Any]:
    """What each task has, in one dict, behind the task's name and a dot."""
    return {f"{task}.{key}": value for task, found in by_task.items() for key, value in (found or {}).items()}


def rows_of_tasks(scored: Sequence[ScoredTask]) -> list[dict[str, Any]]:
    """The lines of predictions.jsonl; of several tasks each begins with its task's name."""
    return [({"task": one.name} if one.name else {}) | row for one in scored if one.main for row in one.main.rows]


def _plain(metrics: Intervals) -> dict[str, dict[str, float]]:
    return {name: asdict(value) for name, value in metrics.items()}


def write_outputs(folder: Path, results: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """predictions.jsonl first, results.json last: a folder with results.json is complete."""
    make_folder(folder)
    write_text(folder / "predictions.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    write_json(folder / "results.json", results)


def stored_rows(predictions: Path) -> list[dict[str, Any]]:
    """The rows of a predictions.jsonl; none where there is no such file."""
    if not predictions.is_file():
        return []
    with predictions.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def print_report(console: Console, results: dict[str, Any], rows: Sequence[dict[str, Any]] = ()) -> None:
    """The table, the facts of the run, and a weak, a middling and a good example of ``rows``, predictions.jsonl's."""
    for name, member in results.get("members", {}).items():
        told = {"precision": {"requested": None}, "steps": None, "seconds": None} | member
        console.print(f"{name}:", markup=False, style="bold")
        _print_task(console, told, [row for row in rows if row["task"] == name])
        console.print()
    if "members" in results:
        metric = task_named(results["task"]).metrics[0]
        for split, metrics in results["metrics"].items():
            if metric.name in (metrics or {}):  # an older results.json has none
                console.print(f"{metric.heading}, {split}: {_cell(metrics[metric.name], metric)}", markup=False,
                              highlight=False)
        for line in _facts(task_named(results["task"]), results | {"extras": {}}):
            console.print(line, markup=False, highlight=False)
    else:
        _print_task(console, results, rows)
    if "precisions" in results:
        from llmtrain.evaluation.precision_audit import print_audit

        print_audit(console, results["precisions"])


def _print_task(console: Console, results: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """The same of one task."""
    from rich.table import Table

    task = task_named(results.get("task", DEFAULT))
    table = Table(title=f"{task.title}, 95 % bootstrap intervals")
    table.add_column("", no_wrap=True)
    scores = [*filter(None, results["metrics"].values()), *results["baselines"].values()]
    shown = [metric for metric in task.metrics if any(metric.name in values for values in scores)]
    for metric in shown:
        table.add_column(metric.heading, justify="right")  # a narrow terminal puts the interval on a line of its own
    for split, metrics in results["metrics"].items():
        if metrics is not None:
            table.add_row(f"{split} ({_rows(results, split)})", *(_cell(metrics.get(one.name), one) for one in shown))
    for name, metrics in results["baselines"].items():
        table.add_row(task.baseline_labels.get(name, name), *(_cell(metrics.get(one.name), one) for one in shown))
    if table.row_count:
        console.print(table)
    for title, listed in results.get("tables", {}).items():
        _print_table(console, title, listed)
    for line in _facts(task, results):
        console.print(line, markup=False, highlight=False)
    main = task.metrics[0]
    for place, row in typical_rows(rows, main.name):
        console.print()
        told = f"{row[main.name]:.2f}, the {place} percentile of these {len(rows)} rows"
        console.print(f"{main.heading + ': ':<12}{told}", markup=False, highlight=False)
        for label, text in task.shown(row).items():
            console.print(f"{label + ': ':<12}{' '.join(text.split())[:SHOWN_CHARACTERS]}", markup=False,
                          highlight=False)


def _print_table(console: Console, name: str, rows: list[dict[str, Any]]) -> None:
    """A table of the task's own, its first rows and columns where it is large: results.json has it whole."""
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    columns = list(rows[0])[:SHOWN_COLUMNS]
    hidden = len(rows) > SHOWN_ROWS or len(rows[0]) > SHOWN_COLUMNS
    table = Table(title=name.replace("_", " ") + (", its beginning (the whole is in results.json)" if hidden else ""))
    for number, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if number else "left")
    for row in rows[:SHOWN_ROWS]:
        table.add_row(*(Text(_shown(row[column])) for column in columns))
    console.print(table)


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def typical_rows(rows: Sequence[dict[str, Any]], metric: str) -> list[tuple[str, dict[str, Any]]]:
    """The rows at a few percentiles of a metric, each with the percentile's name, the lowest first.

    The order of the rows decides nothing: equal scores stand in the order of a hash of the source. Few rows have one
    for several percentiles.
    """
    order = sorted((row for row in rows if metric in row), key=lambda row: (
        row[metric], digest(row.get("document", row.get("source", ""))), str(row["id"])))
    places: dict[int, list[str]] = {}
    for percent in SHOWN_PERCENTILES if order else ():
        places.setdefault(math.ceil(percent * len(order) / 100) - 1, []).append(f"{percent}th")
    return [(" and ".join(names), order[index]) for index, names in places.items()]


def _rows(results: dict[str, Any], split: str) -> str:
    scored = results["rows"][split]
    whole = (results["rows"].get("whole") or {}).get(split, scored)  # an older results.json has none
    return f"{scored} rows" if whole <= scored else f"{scored} of {whole} rows"


def _cell(value: dict[str, float] | None, metric: Metric) -> str:
    if value is None:
        return ""
    point, low, high = (f"{value[name]:.{metric.digits}f}" for name in ("value", "low", "high"))
    return f"{point} [{low}, {high}]"


def _facts(task: Task, results: dict[str, Any]) -> list[str]:
    lines = []
    precision = results["precision"]
    if precision["requested"] is not None:
        lines.append(f"precision: {precision['requested']} requested, {precision['effective']} effective (observed in "
                     "the trunk)")
    if (kept := results.get("kept_in")) is not None:  # an older results.json has none
        state = f", optimizer state in {kept['optimizer']}" if kept["optimizer"] else ""
        lines[-1] += f"; weights are kept in {kept['weights']}{state}"
    if results["steps"] is not None:
        lines.append(f"training: {results['steps']} steps, {results['skipped_steps']} skipped, "
                     f"{results['seconds']:.0f} s, {results['tokens_per_second']:,.0f} tokens/s, peak memory "
                     f"{results['peak_memory_bytes'] / 2**20:,.0f} MiB")
    elif results["seconds"] is not None:
        lines.append(f"decoding: {results['seconds']:.1f} s, peak memory {results['peak_memory_bytes'] / 2**20:,.0f} "
                     "MiB")
    if results["extras"]:
        lines.append(f"output: {task.describe_extras(results['extras'])}")
    for split, losses in results.get("losses", {}).items():
        lines.append(f"{split} loss: " + ", ".join(_loss(name.removeprefix("loss."), value) for name, value in
                                                   losses.items() if name.count(".") == 1 and name != "loss.total"))
    if results["signature"]:
        lines.append(f"signature: {results['signature']}")
    return lines


def _loss(term: str, value: float) -> str:
    predicts = registry.get("objective", term).requires.get("predicts_tokens", False)
    return f"{term} {value:.3f}" + (f" (perplexity {math.exp(min(value, 50.0)):,.1f})" if predicts else "")
