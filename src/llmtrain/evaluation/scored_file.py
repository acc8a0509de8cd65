"""Somebody's predictions as an outcome that runs can be compared with: read, and scored by the task's scorer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmtrain.core.logging import warn
from llmtrain.data.examples import Example
from llmtrain.data.sources.cells import Reading
from llmtrain.evaluation.evaluate import scored_lines
from llmtrain.evaluation.outcome import Outcome
from llmtrain.evaluation.predictions import read_predictions
from llmtrain.tasks.task import task_named


def scored_file(label: str, paths: Sequence[Path], examples: list[Example], config: Any) -> Outcome:
    """Files of predictions, one for each seed, for the same examples.

    Args:
        config: Holds ``task``, ``data`` and ``eval``.

    Raises:
        DataError: A file is not what it must be, or does not fit the examples.
    """
    task = task_named(config.task.name)
    scorer = task.scorer(config.eval, examples)
    found = []
    for path in paths:
        how = Reading(empty_cells=frozenset(config.data.empty_cells))
        made = read_predictions(path, examples, config.eval.prediction, config.data.columns().source, how, task,
                                config.data)
        for note in how.notes:
            warn(note)
        found.append(scored_lines(task, scorer, examples, [one.text for one in made], [one.detail for one in made]))
    return Outcome(label, task.name, config.eval.split.value, scorer.signature,
                   tuple(f"predictions from {path.name}" for path in paths), (None,) * len(paths), tuple(found),
                   tuple(map(str, paths)))
