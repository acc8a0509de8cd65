"""A study on the terminal and as study.csv."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from llmtrain.evaluation.verdict import p_value

if TYPE_CHECKING:
    from rich.console import Console

FACTS = ("steps", "skipped_steps", "lam", "steps_to_target", "time.seconds", "time.tokens_per_second",
         "time.to_target", "memory.peak_bytes")
HEADINGS = {"lam": "measured_lam"}  # lam itself is an axis


def csv_of(study: dict[str, Any]) -> str:
    """One line a run: its cell, the value of each axis, its seed, its scores and what was measured."""
    axes = list(study["axes"])
    metrics = list(dict.fromkeys(name for cell in study["cells"] for name in cell["metrics"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["cell", "base", *axes, "seed", "state", "requested", "effective",
                     *(HEADINGS.get(fact, fact) for fact in FACTS), *metrics, "problem"])
    for cell in study["cells"]:
        for run in cell["runs"]:
            effective = (run["precision"] or {}).get("effective")
            row = [cell["name"], cell["base"], *(cell["axes"].get(axis) for axis in axes), run["seed"], run["state"],
                   cell["requested"], effective, *(run[fact] for fact in FACTS),
                   *(run["metrics"].get(name) for name in metrics), run["problem"]]
            writer.writerow(["" if value is None else value for value in row])
    return text.getvalue()


def print_study(console: Console, study: dict[str, Any]) -> None:
    """The table, then the verdict in words."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    seeds, rows = len(study["seeds"]), study["rows"]
    title = f"{study['name']}: {study['metric']}" + (f" on {rows:,} {study['split']} rows" if rows else "")
    table = Table(title=f"{title}, {seeds} seed{'s' if seeds > 1 else ''} a cell, 95 % intervals, p by Holm",
                  box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    axes, timed = list(study["axes"]), any(cell["time.seconds"] is not None for cell in study["cells"])
    for axis in axes:
        table.add_column(escape(axis))
    target = (f"s to {study['target_score']:g}",) if study["target_score"] is not None and timed else ()
    headings = (study["metric"].rpartition(".")[2], "sd", "less the base cell", "p", f"=fp32 ±{study['margin']:g}",
                *(("tokens/s", "s") if timed else ()), *target, "MiB", "skipped", "ran in")
    for heading in headings:
        table.add_column(heading, justify="right")
    for cell in study["cells"]:
        table.add_row(*(escape(_axis(cell, axis)) for axis in axes), *_row(study, cell, timed, len(headings)),
                      style="bold" if cell["base"] else None)
    console.print(table)
    for line in (*study["verdicts"], *study["time.verdicts"]):
        console.print(f"- {line}", markup=False, highlight=False)
    for one in study["left_out"]:
        console.print(f"- left out: {one['cell']}: {one['problem']}", markup=False, highlight=False)


def _axis(cell: dict[str, Any], axis: str) -> str:
    value = cell["axes"].get(axis)
    if value is None:
        return "" if not cell["base"] else "(base)"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _row(study: dict[str, Any], cell: dict[str, Any], timed: bool, columns: int) -> list[str]:
    digits, metric = study["digits"], study["metric"]
    found = cell["metrics"].get(metric)
    if found is None:
        return [cell["state"], *[""] * (columns - 1)]
    spread = "" if found["spread"] is None else f"{found['spread']:.{digits}f}"
    against, twin = cell["against_base"] or {}, (cell["against_fp32"] or {}).get("metrics", {})
    difference, low = against.get(metric), twin.get(metric)
    shown = [f"{found['mean']:.{digits}f}", spread, _difference(difference, digits, cell["base"]),
             "" if difference is None else p_value(difference["p_holm"]).removeprefix("p ").removeprefix("= "),
             _equivalence(low)]
    if timed:
        shown += [_number(cell["time.tokens_per_second"]), _number(cell["time.seconds"])]
        shown += [] if study["target_score"] is None else [_number(cell["time.to_target"]) or "-"]
    peak = cell["memory.peak_bytes"]
    shown += ["" if peak is None else _number(peak / 2**20), f"{cell['skipped_steps']:.3g}",
              "/".join(cell["effective"])]
    return shown


def _difference(difference: dict[str, Any] | None, digits: int, base: bool) -> str:
    if difference is None:
        return "base" if base else ""
    value, low, high = (f"{difference[name]:+.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _equivalence(difference: dict[str, Any] | None) -> str:
    if difference is None or difference["equivalence"] is None:
        return ""
    return "yes" if difference["equivalence"]["equivalent"] else "not shown"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if value < 10 else f"{value:,.0f}"
