"""The model of a run and its loss terms, on their device, with what of them is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from torch import nn

from llmtrain.config.choices import TuningName
from llmtrain.config.decode_checks import idle_settings
from llmtrain.core.logging import say, warn
from llmtrain.data.learnt import Learnt
from llmtrain.models.backbone import lora
from llmtrain.models.backbone.families import freeze, observed_layer
from llmtrain.models.backbone.long_context import read_long
from llmtrain.models.backbone.pretrained import with_weights
from llmtrain.models.heads.base import Head
from llmtrain.models.publish import load_weights
from llmtrain.models.task_model import TaskModel
from llmtrain.nn.precision import Precision
from llmtrain.objectives.base import Transform
from llmtrain.objectives.build import build_objectives, build_weighting, transforms_of
from llmtrain.objectives.joint_module import JointModule
from llmtrain.objectives.weighting.base import Weighting
from llmtrain.training.seeds import seed_everything, seed_process
from llmtrain.training.spec import RunSpec, StartingPoint

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(slots=True, kw_only=True)
class RunModel:
    """What a run trains.

    Attributes:
        module: The model and its loss terms; the only module that is prepared.
        wrapped: The same for several processes: its backward pass reduces gradients.
        frozen: Parameters of the base that ``model.freeze`` holds still, for good or for a time.
        transforms: What the terms and the head add to each task's rows where they are collated, by its name in the run.
    """

    module: JointModule
    wrapped: nn.Module
    frozen: list[nn.Parameter]
    transforms: dict[str, list[Transform]]

    @property
    def task_model(self) -> TaskModel:
        """The model that is published."""
        return self.module.model

    @property
    def weighting(self) -> Weighting:
        """How the terms are combined in a step."""
        return self.module.weighting

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that a gradient reaches, by name."""
        return {name: p for name, p in self.module.named_parameters() if p.requires_grad}


def build_model(spec: RunSpec, learnt: Learnt, accelerator: Accelerator, precision: Precision) -> RunModel:
    """Read the base's weights, put head and loss terms on them, and say what of the base is trained.

    Args:
        learnt: What the tasks took from the training rows: a head may be shaped by it.

    Raises:
        ConfigError: The head's options do not fit the base, or the weights of ``model.init_from`` do not fit both.
        CheckpointError: Weights are damaged.
    """
    config = spec.config
    seed_everything(config.run.seed)
    if spec.start.base is not spec.base:
        say(f"base: {spec.start.base.path}, trained alone in an earlier run")
    base = with_weights(spec.start.base)
    model = spec.architecture.from_base(base, config.head, learnt)
    if config.model.gradient_checkpointing:
        model.trunk.gradient_checkpointing_enable({"use_reentrant": False})
    _start_from(model, spec.start, spec)
    if config.tuning.name is TuningName.lora:
        say(lora.add_adapters(model.trunk, config.tuning))
    frozen = _hold_still(model, spec)
    _tell_of_writing(model, spec)
    module = JointModule(model, build_objectives(spec.terms.base, config.objective, model, base,
                                                 len(learnt.row_labels)),
                         build_weighting(config.objective, spec.terms, config.run.seed))
    module.to(accelerator.device)
    seed_process(config.run.seed, accelerator.process_index)
    wrapped = accelerator.prepare_model(module)
    precision.watch(observed_layer(model.trunk))
    return RunModel(module=module, wrapped=wrapped, frozen=frozen,
                    transforms={one.name: transforms_of(spec.terms, module, cast(Head, model.of_task(one.name).head))
                                for one in spec.tasks})


def _start_from(model: TaskModel, start: StartingPoint, spec: RunSpec) -> None:
    """Let the model read documents as long as they may be, and put an earlier one's weights into it."""
    if start.model is not None and not start.stretched:
        load_weights(model, start.model)
    read_long(model, spec.tasks[0].config.data, spec.positions_needed)  # several tasks read alike
    if start.model is not None and start.stretched:
        load_weights(model, start.model)


def _hold_still(model: TaskModel, spec: RunSpec) -> list[nn.Parameter]:
    """The parameters that ``model.freeze`` names; those that are so for good need no gradient."""
    until, choice = spec.config.model.freeze_until_step, spec.config.model.freeze
    frozen = freeze(model.trunk, "all" if until and choice == "none" else choice)
    for parameter in [] if until else frozen:
        parameter.requires_grad_(False)
    return frozen


def _tell_of_writing(model: TaskModel, spec: RunSpec) -> None:
    for one in spec.tasks:
        own = model.of_task(one.name)
        if spec.terms.trains_task and (beyond := own.beyond_positions(one.target_lengths)):
            warn(one.member.told(beyond))
        if not own.can_generate():
            head = one.config.head.name
            say(one.member.told(f"head: {head} {own.instead_of_writing} and writes nothing; generation.* is not used"))
        for line in idle_settings(one.config.generation) if own.can_generate() else ():
            say(one.member.told(line))
