"""Rows to try: test rows of the runs that are served, from the predictions.jsonl that lies beside their checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtrain.demo.served_model import ServedModel

LONGEST_LINE = 1 << 20  # bytes of a line that is looked at
MOST_LINES = 100_000
SOURCE = "source"  # of a task that names its source no other way in predictions.jsonl


@dataclass(frozen=True, slots=True)
class RowToTry:
    """A row to try.

    Attributes:
        inputs: The texts by the names of the form's fields.
        reference: What it may give; empty where nobody knows.
    """

    inputs: dict[str, str]
    reference: str


def rows_to_try(models: Sequence[ServedModel]) -> list[RowToTry]:
    """Test rows of the first of the models whose run has some; every one asks the same."""
    for model in models:
        if found := list(_of_run(model)):
            return found
    return []


def _of_run(model: ServedModel) -> Iterator[RowToTry]:
    """The first test rows that the run of a model has predicted."""
    rows, left = _predictions_of(model.folder), model.config.demo.examples
    while left and (row := next(rows, None)) is not None:
        if row.get("task", model.task_name) == model.task_name and (made := _example(model, row)) is not None:
            left -= 1
            yield made


def _predictions_of(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of predictions.jsonl beside a checkpoint in its run; none where it lies elsewhere, or cannot be read."""
    checkpoints = folder.resolve().parent.parent
    path = checkpoints.parent / "predictions.jsonl"
    if checkpoints.name != "checkpoints" or not path.is_file():
        return
    with path.open("rb") as file:
        for _ in range(MOST_LINES):
            line = file.readline(LONGEST_LINE)
            if not line:
                return
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):  # a longer line comes in pieces, none of which is one
                continue
            if isinstance(row, dict):
                yield row


def _example(model: ServedModel, row: dict[str, Any]) -> RowToTry | None:
    """A line as an example; None where it does not hold every text that is asked for."""
    try:
        shown = model.predictor.task.evidence(row)
    except (KeyError, TypeError, IndexError):  # of another version, or changed by hand
        return None
    inputs = {}
    for number, field in enumerate(model.fields):
        named = (field.name, field.column, *(() if number else (SOURCE,)))
        text = next((shown.inputs[name] for name in named if name in shown.inputs), None)
        if text is None:
            return None
        inputs[field.name] = text
    if sum(map(len, inputs.values())) > model.config.demo.max_characters:
        return None
    return RowToTry(inputs, shown.references[0] if shown.references else "")
