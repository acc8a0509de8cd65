"""Where a run stands, and what a checkpoint holds of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmtrain.config.choices import TuningName
from llmtrain.core.logging import MetricsLog
from llmtrain.models.backbone import lora
from llmtrain.nn.precision import Precision
from llmtrain.training.build_model import RunModel
from llmtrain.training.build_optimization import RunOptimization
from llmtrain.training.optimizer_state import OptimizerPart
from llmtrain.training.run_folder.built_on import origin_of
from llmtrain.training.spec import RunSpec
from llmtrain.training.state import (
    AveragePart,
    ModulePart,
    Part,
    PrecisionPart,
    ProgressPart,
    RandomPart,
    SchedulePart,
    WeightingPart,
)

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(slots=True, kw_only=True)
class RunState:
    """Where a run stands.

    Attributes:
        progress: Steps, time, best checkpoint.
        parts: What a checkpoint holds, in restoring order.
        metrics: metrics.jsonl.
        origin: What no weight tells of the base and its tokenizer.
    """

    progress: ProgressPart
    parts: list[Part]
    metrics: MetricsLog
    origin: dict[str, Any]


def build_state(spec: RunSpec, model: RunModel, optimization: RunOptimization, accelerator: Accelerator,
                precision: Precision, log: Path) -> RunState:
    """The state of a run that stands before its first step.

    Args:
        log: metrics.jsonl, which the first process writes.
    """
    module, optimizer, schedule = model.module, optimization.optimizer, optimization.schedule
    average, progress = optimization.average, ProgressPart(total=schedule.total)
    parts: list[Part] = [progress, SchedulePart(schedule), OptimizerPart(optimizer), PrecisionPart(precision),
                         ModulePart("objectives", dict(module.objectives.named_parameters()))]
    if spec.config.tuning.name is TuningName.lora:
        parts.append(ModulePart("adapters", lora.own_parameters(module.model)))
    if module.weighting.stateful:
        parts.append(WeightingPart(module.weighting))
    if average is not None:
        parts += [ModulePart("weights", model.trained), AveragePart(average)]
    parts.append(RandomPart(accelerator))
    return RunState(progress=progress, parts=parts, metrics=MetricsLog(log, accelerator.is_main_process),
                    origin=origin_of(module, spec.base.tokenizer))
