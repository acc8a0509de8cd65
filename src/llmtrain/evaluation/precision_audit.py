"""One checkpoint decoded in several precisions: which outputs change, where first, and what that does to the scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmtrain.data.tokenizer import Tokenizer
from llmtrain.evaluation.checkpoint_scoring import Decoded
from llmtrain.evaluation.comparison_report import comparison, print_verdicts
from llmtrain.evaluation.outcome import Outcome
from llmtrain.tasks.task import Task, task_named

if TYPE_CHECKING:
    from rich.console import Console

LEAST_SAMPLES = 1000


def audit(task: Task, split: str, decoded: dict[str, Decoded], samples: int) -> dict[str, Any]:
    """What results.json holds under ``precisions``.

    Args:
        decoded: By the precision's name; the first is what the others are compared with.
        samples: Resamples of the comparison.

    Returns:
        ``first``: its name. ``decoded``, by name: ``effective`` (observed), ``seconds``, ``rows_per_second``, and of
        all but the first ``changed`` (how many outputs differ), ``first_change`` (the first such row, None where there
        is none) and ``changes`` (all of them), each with ``id``, ``character`` and ``token`` (the places, from 0, of
        the first that differ), and the two ``tokens`` there. ``comparison``: as ``llmtrain compare --json`` prints it,
        without the rows.
    """
    (first, base), *others = decoded.items()
    made: dict[str, Any] = {}
    for name, one in decoded.items():
        seconds = one.scores.seconds or 0.0
        made[name] = {"effective": one.precision["effective"], "seconds": seconds,
                      "rows_per_second": len(one.scores.rows) / max(seconds, 1e-9)}
    for name, one in others:
        found = changes(base.scores.rows, one.scores.rows, base.writes)
        made[name] |= {"changed": len(found), "first_change": found[0] if found else None, "changes": found}
    outcomes = [Outcome(name, task.name, split, one.scores.scorer, (one.scores.decoding,), (None,), (one.scores.rows,),
                        (name,)) for name, one in decoded.items()]
    compared = comparison(outcomes, samples=max(samples, LEAST_SAMPLES), rows=0)
    del compared["changed"]
    return {"first": first, "decoded": made, "comparison": compared}


def changes(first: list[dict[str, Any]], other: list[dict[str, Any]], tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Where each output that changed does so first, row by row."""
    return [{"id": one["id"], **_where(one["prediction"], two["prediction"], tokenizer)}
            for one, two in zip(first, other, strict=True) if one["prediction"] != two["prediction"]]


def _where(first: str, other: str, tokenizer: Tokenizer) -> dict[str, Any]:
    """The first character and the first token at which two texts part; an empty token: one ends there."""
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (first, other)]
    token = _parting(*ids)
    return {"character": _parting(first, other), "token": token,
            "tokens": [tokenizer.decode(one[token:token + 1]) for one in ids]}


def _parting(first: Sequence[Any], other: Sequence[Any]) -> int:
    """The place of the first entry that differs; the length of the shorter one where it begins the other."""
    shorter = min(len(first), len(other))
    return next((place for place in range(shorter) if first[place] != other[place]), shorter)


def print_audit(console: Console, found: dict[str, Any]) -> None:
    """The table of precisions, then of each but the first where its outputs part and what the metrics show."""
    from rich.table import Table

    first, compared = found["first"], found["comparison"]
    digits = {metric.name: metric.digits for metric in task_named(compared["task"]).metrics}
    table = Table(title=f"decoded in each precision, {compared['rows']} rows; scores as differences from {first}")
    for heading in ("", "effective", "rows/s", "outputs changed", *(one["heading"] for one in
                                                                     compared["metrics"].values())):
        table.add_column(heading, justify="right" if heading else "left")
    for name, one in found["decoded"].items():
        if name == first:
            cells = [f"{metric['sides'][name]['value']:.{digits[key]}f}" for key, metric in compared["metrics"].items()]
        else:
            cells = [f"{metric['differences'][name]['value']:+.{digits[key]}f}" for key, metric in
                     compared["metrics"].items()]
        table.add_row(name, str(one["effective"]), f"{one['rows_per_second']:.3g}", str(one.get("changed", "")), *cells)
    console.print()
    console.print(table)
    for name in [name for name in found["decoded"] if name != first]:
        console.print(f"{name} against {first}: {_told(found['decoded'][name], compared['rows'])}", markup=False,
                      highlight=False, soft_wrap=True)
        print_verdicts(console, compared, name)


def _told(one: dict[str, Any], rows: int) -> str:
    if not one["changed"]:
        return f"all {rows} outputs are the same"
    where, (was, now) = one["first_change"], map(repr, one["first_change"]["tokens"])
    return (f"{one['changed']} of {rows} outputs differ, the first in row {where['id']} at character "
            f"{where['character'] + 1}, token {where['token'] + 1}: {now} where it was {was}")
