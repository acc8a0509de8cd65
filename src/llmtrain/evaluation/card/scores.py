"""The scores on a model card: a table for a reader, and the entries that the hub's leaderboards read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmtrain.config.members import Member
from llmtrain.config.schema import TrainConfig
from llmtrain.tasks.metric import Metric
from llmtrain.tasks.task import Task

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

SPLITS = ("validation", "test")


def card_scores(task: Task, results: Mapping[str, Any]) -> Iterator[str]:
    """Markdown lines: each split's metrics with their 95 % intervals, trivial baselines below, and the signature.

    Args:
        results: results.json, or its part of one of several tasks.
    """
    splits = [split for split in SPLITS if results["metrics"].get(split)]
    shown = [metric for metric in task.metrics if any(metric.name in results["metrics"][split] for split in splits)]
    units = {metric.unit for metric in shown}
    yield f"{task.title}{f' ({units.pop()})' if len(units) == 1 else ''}, with 95 % bootstrap intervals over the rows:"
    yield ""
    yield from _table(["", *(f"{metric.heading} ({metric.unit})" if units else metric.heading for metric in shown)], [
        *([_of_split(results, split), *_cells(shown, results["metrics"][split])] for split in splits),
        *([task.baseline_labels.get(name, name), *_cells(shown, values)]
          for name, values in results.get("baselines", {}).items())])
    if results.get("baselines"):
        yield ""
        yield f"The baselines are scored on the {splits[-1]} rows, by the same rules."
    if results.get("extras"):
        yield ""
        yield f"Output: {task.describe_extras(results['extras'])}."
    if results.get("signature"):
        yield ""
        yield f"Signature: `{results['signature'].replace('`', '')}`"


def card_losses(losses: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Markdown lines: the held-out losses of a base that was trained alone."""
    names = dict.fromkeys(name for values in losses.values() for name in values if not name.endswith(".weighted"))
    yield from _table(["held-out loss", *(name.removeprefix("loss.") for name in names)],
                      [[split, *(f"{values[name]:.4f}" if name in values else "none" for name in names)]
                       for split, values in losses.items()])


def card_validation(tasks: Sequence[tuple[str, Task]], row: Mapping[str, Any]) -> Iterator[str]:
    """Markdown lines: what a validation during training gave, by a row of metrics.jsonl."""
    found = [[f"{name} {metric.heading}".strip(), f"{row[key]:.{metric.digits}f}"] for name, task in tasks
             for metric in task.metrics if (key := f"{name}.{metric.name}" if name else metric.name) in row]
    losses = [[name.removeprefix("loss.") + " loss", f"{row[name]:.4f}"] for name in row
              if name.startswith("loss.") and not name.endswith(".weighted")]
    yield from _table(["held-out", "value"], [*found, *losses])


def eval_results(task: Task, member: Member | None, config: TrainConfig, results: Mapping[str, Any],
                 ) -> list[EvalResult]:
    """An entry of the card's model-index for each metric of each split.

    The hub takes entries of one kind of task, data set and split as one: tasks of a run are told apart by the
    configuration of the data set.
    """
    from huggingface_hub import EvalResult

    data = (member.config if member else config).data
    name: str = data.name
    if data.name == "hub" and data.hub.name and not Path(data.hub.name).exists():  # else it is a folder here
        name = data.hub.name
    return [EvalResult(
        task_type=task.pipeline_tag or task.name, task_name=(member.name if member else "") or task.name,
        dataset_type=name, dataset_name=name, dataset_config=(member.name if member else "") or None,
        dataset_split=split, metric_type=metric.name,
        metric_name=f"{metric.heading} ({split})", metric_value=round(found["value"], 4),
        metric_args={"low": round(found["low"], 4), "high": round(found["high"], 4), "level": 0.95})
        for split in SPLITS for metric in task.metrics
        if (found := (results["metrics"].get(split) or {}).get(metric.name)) is not None]


def _of_split(results: Mapping[str, Any], split: str) -> str:
    scored = results["rows"][split]
    whole = (results["rows"].get("whole") or {}).get(split, scored)
    return f"{split} ({scored} rows)" if whole <= scored else f"{split} ({scored} of {whole} rows)"


def _cells(shown: Sequence[Metric], values: Mapping[str, Mapping[str, float]]) -> list[str]:
    return ["" if (found := values.get(metric.name)) is None else
            f"{found['value']:.{metric.digits}f} [{found['low']:.{metric.digits}f}, {found['high']:.{metric.digits}f}]"
            for metric in shown]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(map(cell, head))} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(map(cell, row))} |"


def cell(text: str) -> str:
    """A text as it can stand in a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
