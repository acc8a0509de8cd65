"""A run, built once from its facts, in the order of dependence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from llmtrain.config.schema import TrainConfig
from llmtrain.core.logging import say
from llmtrain.data.batch import Batch
from llmtrain.data.learnt import Learnt
from llmtrain.nn.precision import Precision
from llmtrain.training.build_data import RunData, build_data
from llmtrain.training.build_model import RunModel, build_model
from llmtrain.training.build_optimization import RunOptimization, build_optimization
from llmtrain.training.build_state import RunState, build_state
from llmtrain.training.placement import moved
from llmtrain.training.read_data import Sample, read_data
from llmtrain.training.run_folder.claim import METRICS, RunFolder
from llmtrain.training.seeds import make_deterministic
from llmtrain.training.shared_speeds import shared_speeds
from llmtrain.training.spec import RunSpec
from llmtrain.training.trackers.trackers import Trackers

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(slots=True, kw_only=True)
class Training:
    """A run, ready to step.

    Attributes:
        spec: Its facts.
        folder: Where it writes.
        accelerator: Its processes and their device.
        precision: The number format it computes in.
        trackers: What it also logs to.
    """

    spec: RunSpec
    folder: RunFolder
    accelerator: Accelerator
    precision: Precision
    data: RunData
    model: RunModel
    optimization: RunOptimization
    state: RunState
    trackers: Trackers = field(default_factory=Trackers)

    @property
    def config(self) -> TrainConfig:
        """The typed configuration."""
        return self.spec.config

    def to_device(self, batch: Batch) -> Batch:
        """The batch where this process computes."""
        return moved(batch, self.accelerator.device)


def build(spec: RunSpec, folder: RunFolder, accelerator: Accelerator, decided: str | None = None,
          start: Path | None = None, sample: Sample | None = None) -> Training:
    """Build a run.

    Args:
        decided: The format an earlier start of it settled on.
        start: The step folder that it goes on from.
        sample: Build it on some of its rows; default: on all.
    """
    make_deterministic(spec.config)
    precision = Precision(spec.config.precision, accelerator.device, decided, shared_speeds(accelerator))
    say(precision.describe())
    rows = read_data(spec, accelerator, precision, start, sample)
    model = build_model(spec, Learnt.together({name: one.learnt for name, one in rows.items()}), accelerator, precision)
    data = build_data(spec, rows, model.transforms, accelerator)
    optimization = build_optimization(spec, model, data, accelerator, precision)
    state = build_state(spec, model, optimization, accelerator, precision, folder.path / METRICS)
    return Training(spec=spec, folder=folder, accelerator=accelerator, precision=precision, data=data, model=model,
                    optimization=optimization, state=state)
