"""Which checkpoint is the best."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llmtrain.config.choices import BestMode
from llmtrain.config.sections.trainer import TrainerConfig
from llmtrain.training.save import more_is_better, note_best
from llmtrain.training.state import ProgressPart

DIRECTIONS = {"rouge1": True, "cer": False}  # whether more of it is better


@pytest.mark.parametrize(("metric", "values", "best_step"), [
    ("loss.total", [3.0, 2.0, 2.5, float("nan")], 2), ("rouge1", [10.0, 12.0, 11.0, float("nan")], 2),
    ("cer", [30.0, 20.0, 25.0, float("nan")], 2)])
def test_the_least_loss_or_the_best_score_is_the_best(metric: str, values: list[float], best_step: int) -> None:
    run: Any = SimpleNamespace(config=SimpleNamespace(trainer=TrainerConfig(best_metric=metric)),
                               spec=SimpleNamespace(directions=DIRECTIONS),
                               state=SimpleNamespace(progress=ProgressPart()))
    for step, value in enumerate(values, start=1):
        run.state.progress.step = step
        note_best(run, {metric: value})
    assert run.state.progress.best_step == best_step
    assert run.state.progress.evaluations_without_gain == 2


@pytest.mark.parametrize(("metric", "more"), [("rouge1", True), ("cer", False), ("loss.total", False),
                                              ("loss.cer", False)])
def test_the_mode_that_is_asked_for_has_the_last_word(metric: str, more: bool) -> None:
    assert more_is_better(TrainerConfig(best_metric=metric), DIRECTIONS) is more
    for mode in BestMode:
        assert more_is_better(TrainerConfig(best_metric=metric, best_mode=mode), DIRECTIONS) is (mode is BestMode.max)
