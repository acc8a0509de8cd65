"""Several tasks learnt together: each is read, predicted and scored by itself, and the mean of them chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from llmtrain.config.sections.eval import EvalConfig
from llmtrain.core.errors import ConfigError
from llmtrain.data.examples import Example
from llmtrain.data.features import Features
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.tasks.metric import Metric
from llmtrain.tasks.task import Prediction, Scorer, Share, Task, at_once

if TYPE_CHECKING:
    from llmtrain.models.task_model import TaskModel


class Multi(Task):
    """Stands for all tasks of a run at once: it has the mean of their first metrics, and leaves the rest to them."""

    name: ClassVar[str] = "multi"
    title: ClassVar[str] = "several tasks"
    intended_use: ClassVar[str] = "Each of its tasks, on rows like those that the task was trained on."
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("mean", "mean", "of each task's first metric; one of which less is better counts below 0"),)

    def scorer(self, config: EvalConfig, examples: Sequence[Example]) -> Scorer:
        _refuse()

    def predict(self, model: TaskModel, tokenizer: Tokenizer, examples: Sequence[Example], features: Features,
                rows: Sequence[int], config: Any, precision: Any, *, progress: Callable[[int], None],
                share: Share = at_once, evidence: bool = True) -> list[Prediction]:
        _refuse()


def _refuse() -> NoReturn:
    raise ConfigError("several tasks are predicted and scored one at a time; name the one that is meant, task=NAME")
