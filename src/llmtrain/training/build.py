"""Everything a run is made of, built once from the typed configuration, in the order of dependence."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llmtrain.checkpoint import locate_model, read_model_config
from llmtrain.config.choices import Device, Tracker, TuningName
from llmtrain.config.decode_checks import idle_settings
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.model import ModelConfig
from llmtrain.config.sections.objective import needs_summaries, trains_summary
from llmtrain.core.allocator import keep_freed_memory
from llmtrain.core.errors import ConfigError, LlmtrainError
from llmtrain.core.logging import MetricsLog, say, warn
from llmtrain.core.signals import ignore_in_worker
from llmtrain.data.batch import Batch
from llmtrain.data.examples import Splits
from llmtrain.data.features import Features
from llmtrain.data.loader import Collate, StepLoader
from llmtrain.data.order import Request
from llmtrain.data.special_tokens import special_ids
from llmtrain.data.workers import startable
from llmtrain.models.architectures import new_model
from llmtrain.models.backbone import lora
from llmtrain.models.backbone.families import freeze, observed_layer
from llmtrain.models.backbone.long_context import is_stretched, read_long
from llmtrain.models.backbone.pretrained import load_tokenizer
from llmtrain.models.publish import is_base, load_weights
from llmtrain.models.task_model import SummaryModel
from llmtrain.nn.precision import Precision, Speeds, measure_speeds
from llmtrain.objectives.base import Transform
from llmtrain.objectives.build import build_objectives, build_weighting, check_trained, transforms_of
from llmtrain.objectives.joint_module import JointModule
from llmtrain.objectives.weighting.base import Weighting
from llmtrain.optim.average import WeightAverage
from llmtrain.optim.builders import build_optimizer, check_installed
from llmtrain.optim.freezing import plan
from llmtrain.optim.groups import TRUNK
from llmtrain.optim.schedule import Schedule
from llmtrain.tasks.summarization.rouge import try_scoring
from llmtrain.tasks.summarization.selector import Selector, selector_of
from llmtrain.training.diagnostics.nonfinite import Blame
from llmtrain.training.optimizer_state import OptimizerPart
from llmtrain.training.read_data import behind_document, read_data
from llmtrain.training.run_folder.built_on import origin_of
from llmtrain.training.run_folder.claim import RunFolder
from llmtrain.training.run_length import TimeLimit, planned_steps
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
from llmtrain.training.step import TrainStep


@dataclass(slots=True)
class Training:
    """A run, ready to step. ``parts`` is what a checkpoint holds, in restoring order."""

    config: TrainConfig
    folder: RunFolder
    accelerator: Any
    precision: Precision
    splits: Splits
    selector: Selector | None
    tokenizer: Any
    module: JointModule
    loader: StepLoader
    validation: Features
    transforms: list[Transform]
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    limit: TimeLimit
    average: WeightAverage | None
    step: TrainStep
    progress: ProgressPart
    parts: list[Part]
    metrics: MetricsLog
    origin: dict[str, Any]

    @property
    def model(self) -> SummaryModel:
        return self.module.model

    @property
    def weighting(self) -> Weighting:
        return self.module.weighting

    def to_device(self, batch: Batch) -> Batch:
        return moved(batch, self.accelerator.device)


def moved(batch: Batch, device: torch.device) -> Batch:
    return {key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for key, value in batch.items()}


def start_accelerator(config: TrainConfig, project_dir: Path | None) -> Any:
    """Start placement and processes; precision and accumulation are ours, so both are switched off here."""
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    if config.trainer.tracker is Tracker.tensorboard and find_spec("tensorboard") is None:
        raise ConfigError("trainer.tracker=tensorboard needs a package that is not installed; run: pip install "
                          "tensorboard")
    check_installed(config.optim.name)
    lora.check_installed(config.tuning)
    if config.trainer.device is Device.cuda and not torch.cuda.is_available():
        raise ConfigError("trainer.device=cuda but torch sees no CUDA device; use trainer.device=cpu")
    cpu = config.trainer.device is Device.cpu or not torch.cuda.is_available()
    accelerator = Accelerator(
        mixed_precision="no", gradient_accumulation_steps=1, cpu=cpu, project_dir=project_dir,
        log_with="tensorboard" if config.trainer.tracker is Tracker.tensorboard else None,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(seconds=config.trainer.timeout_seconds)),
                         DistributedDataParallelKwargs(broadcast_buffers=False)])
    wanted = config.trainer.processes or int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != wanted:
        raise ConfigError(f"{wanted} processes were asked for and {accelerator.num_processes} run; start them with "
                          f"torchrun --nproc-per-node {wanted} -m llmtrain train ...")
    rows = config.trainer.batch_size
    if rows < accelerator.num_processes * config.trainer.accumulate:
        raise ConfigError(f"trainer.batch_size={rows} is less than {accelerator.num_processes} processes x "
                          f"trainer.accumulate={config.trainer.accumulate}; raise it")
    return accelerator


def make_deterministic(config: TrainConfig) -> None:
    """Seed every generator and ask torch for repeatable algorithms, on the CPU too."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    import_module("rich.console")  # draws from Python's generator the first time: now, before it is seeded
    keep_freed_memory()
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    torch.use_deterministic_algorithms(config.trainer.deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    seed_everything(config.run.seed)


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def starting_point(config: TrainConfig) -> tuple[ModelConfig, Path | None]:
    """The base that a run starts from, and the whole model whose weights follow; told by ``model.init_from``.

    A base that was trained alone takes the place of ``model.path``, with its masked-LM head.

    Raises:
        ConfigError: That run had another base.
        CheckpointError: It is damaged.
    """
    model = config.model
    if model.init_from is None:
        return model, None
    folder = locate_model(model.init_from)
    if not is_base(folder):
        return model, folder
    before = read_model_config(folder)["config"]
    there, here = (found.get("model.path") if isinstance(found, dict) else None
                   for found in (before.get("fingerprints"), config.fingerprints))
    if before["model"]["path"] != model.path and (there is None or there != here):
        raise ConfigError(f"model.init_from={model.init_from} went on from the base at {before['model']['path']} and "
                          f"model.path is {model.path}; use the same model")
    say(f"base: {folder}, trained alone in an earlier run")
    return replace(model, path=str(folder), revision=None), None


def _base_again(config: TrainConfig) -> ModelConfig:
    """The base that a run started from, for one that goes on; its weights do not count, what it is made of does.

    A source that is gone or damaged by now may not have been needed: ``check_origin`` tells when it was.
    """
    try:
        return starting_point(config)[0]
    except LlmtrainError:
        return config.model


def shared_speeds(accelerator: Any) -> Speeds:
    """Rank 0's measurement on every process: each by its own clock might settle on another format."""
    found = [measure_speeds(accelerator.device) if accelerator.is_main_process else None]
    if accelerator.num_processes > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(found)
    assert found[0] is not None
    return found[0]


def build(config: TrainConfig, folder: RunFolder, accelerator: Any, decided: str | None, fresh: bool = True,
          ) -> Training:
    """Build a run.

    Args:
        decided: The format an earlier start of it settled on.
        fresh: No checkpoint will be restored, so that the weights of ``model.init_from`` count.
    """
    make_deterministic(config)
    precision = Precision(config.precision, accelerator.device, decided, shared_speeds(accelerator))
    say(precision.describe())
    tokenizer = load_tokenizer(config.model.path, config.model.revision)
    selector = selector_of(config.data, accelerator.device, precision)
    splits, train, validation = read_data(config, accelerator, tokenizer, selector)
    if trains_summary(config.objective):
        try_scoring(config.eval, splits.validation)

    seed_everything(config.run.seed)
    base, start = starting_point(config) if fresh else (_base_again(config), None)
    model = new_model(base, config.head, special_ids(tokenizer))
    if start is not None and not is_stretched(start):
        load_weights(model, start)
    read_long(model, config.data, config.data.max_source_tokens + behind_document(config))
    if start is not None and is_stretched(start):
        load_weights(model, start)
    lengths = {"data.max_summary_tokens": config.data.max_summary_tokens,
               "generation.max_new_tokens": config.generation.max_new_tokens}
    if trains_summary(config.objective) and (beyond := model.beyond_positions(lengths)):
        warn(beyond)
    if config.tuning.name is TuningName.lora:
        say(lora.add_adapters(model.trunk, config.tuning))
    until = config.model.freeze_until_step
    choice = "all" if until and config.model.freeze == "none" else config.model.freeze
    frozen = freeze(model.trunk, choice)
    for parameter in [] if until else frozen:
        parameter.requires_grad_(False)
    check_trained(config, model.trunk)
    if not model.can_generate():
        say(f"head: {config.head.name} chooses sentences and writes nothing; generation.* is not used")
    for line in idle_settings(config.generation) if model.can_generate() else ():
        say(line)
    module = JointModule(model, build_objectives(config, model, tokenizer, base), build_weighting(config))
    module.to(accelerator.device)
    seed_everything(config.run.seed * 1_000_003 + accelerator.process_index)  # dropout differs between processes
    wrapped = accelerator.prepare_model(module)
    precision.watch(observed_layer(model.trunk))

    optimizer = build_optimizer(module, model.trunk, config.optim)
    transforms = transforms_of(config, module)
    padding = special_ids(tokenizer).pad
    loader = StepLoader(train, batch_size=config.trainer.batch_size, accumulate=config.trainer.accumulate,
                        rank=accelerator.process_index, world_size=accelerator.num_processes,
                        bucket=config.trainer.bucket, seed=config.run.seed, pad_id=padding, transforms=transforms,
                        alone=len(splits.unlabelled) if needs_summaries(config.objective) else 0,
                        share=config.data.unlabelled_share, workers=startable(config.data.workers),
                        timeout=config.trainer.timeout_seconds, worker_start=ignore_in_worker)
    if loader.alone_a_step:
        say(f"data: {loader.alone_a_step} of a step's {config.trainer.batch_size} rows are documents of "
            "data.unlabelled; an epoch is a pass over the pairs")
    collate = Collate(train, padding, config.run.seed, transforms)

    training = splits.training

    def alone(step: int, row: int) -> Batch:
        return moved(collate(Request(step, step // loader.steps_per_epoch, [row])), accelerator.device)

    progress = ProgressPart(total=planned_steps(config.trainer, loader.steps_per_epoch))
    schedule = Schedule(config.schedule, progress.total)
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    average = WeightAverage(trained, config.optim.ema_decay) if config.optim.ema_decay > 0 else None
    module.weighting.total = progress.total
    say(module.weighting.describe())
    head_first = any(not name.startswith(TRUNK) for name in trained)
    withheld, lines = plan(config.model, model.trunk, frozen, head_first, progress.total)
    for line in [*lines, *schedule.notes()]:
        say(line)
    step = TrainStep(accelerator=accelerator, module=module, wrapped=wrapped, optimizer=optimizer, schedule=schedule,
                     precision=precision, clip_norm=config.optim.clip_norm,
                     on_nonfinite=config.trainer.on_nonfinite, average=average,
                     withheld=withheld,
                     blame=Blame(accelerator, module, precision, alone, lambda row: training[row].id))
    parts: list[Part] = [progress, SchedulePart(schedule), OptimizerPart(optimizer), PrecisionPart(precision),
                         ModulePart("objectives", dict(module.objectives.named_parameters()))]
    if config.tuning.name is TuningName.lora:
        parts.append(ModulePart("adapters", lora.own_parameters(model)))
    if module.weighting.stateful:
        parts.append(WeightingPart(module.weighting))
    if average is not None:
        parts += [ModulePart("weights", trained), AveragePart(average)]
    parts.append(RandomPart(accelerator))
    return Training(config, folder, accelerator, precision, splits, selector, tokenizer, module, loader, validation,
                    transforms, optimizer, schedule, TimeLimit(config.trainer, config.schedule, schedule), average,
                    step, progress, parts, MetricsLog(folder.path / "metrics.jsonl", accelerator.is_main_process),
                    origin_of(module, tokenizer))
