"""Which checkpoint is the best."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llmtrain.config.sections.trainer import TrainerConfig
from llmtrain.training.save import note_best
from llmtrain.training.state import ProgressPart


@pytest.mark.parametrize(("metric", "values", "best_step"), [
    ("loss.total", [3.0, 2.0, 2.5, float("nan")], 2), ("rouge1", [10.0, 12.0, 11.0, float("nan")], 2)])
def test_the_least_loss_or_the_highest_score_is_the_best(metric: str, values: list[float], best_step: int) -> None:
    run: Any = SimpleNamespace(config=SimpleNamespace(trainer=TrainerConfig(best_metric=metric)),
                               state=SimpleNamespace(progress=ProgressPart()))
    for step, value in enumerate(values, start=1):
        run.state.progress.step = step
        note_best(run, {metric: value})
    assert run.state.progress.best_step == best_step
    assert run.state.progress.evaluations_without_gain == 2
