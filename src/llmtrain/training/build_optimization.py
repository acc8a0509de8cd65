"""What moves a run's weights: optimizer, rates, what waits, the average, and the step that uses them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from llmtrain.core.logging import say
from llmtrain.data.batch import Batch
from llmtrain.nn.precision import Precision
from llmtrain.optim.average import WeightAverage
from llmtrain.optim.builders import build_optimizer
from llmtrain.optim.freezing import plan
from llmtrain.optim.groups import TRUNK
from llmtrain.optim.schedule import Schedule
from llmtrain.training.build_data import RunData
from llmtrain.training.build_model import RunModel
from llmtrain.training.diagnostics.nonfinite import Blame
from llmtrain.training.placement import moved
from llmtrain.training.run_length import TimeLimit, planned_steps
from llmtrain.training.spec import RunSpec
from llmtrain.training.step import TrainStep

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(slots=True, kw_only=True)
class RunOptimization:
    """How a run's weights are moved.

    Attributes:
        optimizer: Over the trained parameters.
        schedule: Their rates.
        limit: Settles the end of a run that is limited by time.
        average: The weights' moving average, where it is evaluated and published.
        step: One optimizer step.
    """

    optimizer: torch.optim.Optimizer
    schedule: Schedule
    limit: TimeLimit
    average: WeightAverage | None
    step: TrainStep


def build_optimization(spec: RunSpec, model: RunModel, data: RunData, accelerator: Accelerator,
                       precision: Precision) -> RunOptimization:
    """The optimizer that the configuration names, and the steps of the whole run."""
    config, module, trained = spec.config, model.module, model.trained
    optimizer = build_optimizer(module, module.model.trunk, config.optim)
    total = planned_steps(config.trainer, data.loader.steps_per_epoch)
    schedule = Schedule(config.schedule, total)
    average = WeightAverage(trained, config.optim.ema_decay) if config.optim.ema_decay > 0 else None
    module.weighting.total = total
    say(module.weighting.describe())
    head_first = any(not name.startswith(TRUNK) for name in trained)
    withheld, lines = plan(config.model, module.model.trunk, model.frozen, head_first, total)
    for line in [*lines, *schedule.notes()]:
        say(line)
    training = {name: rows.splits.training for name, rows in data.rows.items()}

    def named(row: int) -> str:
        task, number = data.loader.example_of(row)
        name = training[task][number].id
        return f"{task} {name}" if task else name

    def alone(step: int, row: int) -> Batch:
        return moved(data.loader.alone(step, row), accelerator.device)

    step = TrainStep(accelerator=accelerator, module=module, wrapped=model.wrapped, optimizer=optimizer,
                     schedule=schedule, precision=precision, clip_norm=config.optim.clip_norm,
                     on_nonfinite=config.trainer.on_nonfinite, average=average, withheld=withheld,
                     blame=Blame(accelerator, module, precision, alone, named))
    return RunOptimization(optimizer=optimizer, schedule=schedule,
                           limit=TimeLimit(config.trainer, config.schedule, schedule), average=average, step=step)
