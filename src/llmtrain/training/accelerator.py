"""The processes of a run and where they compute."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from llmtrain.config.choices import Device
from llmtrain.config.packages import missing_packages
from llmtrain.config.schema import TrainConfig
from llmtrain.core.errors import ConfigError

if TYPE_CHECKING:
    from accelerate import Accelerator


def start_accelerator(config: TrainConfig, project_dir: Path | None) -> Accelerator:
    """Start placement and processes; precision and accumulation are ours, so both are switched off here.

    Raises:
        ConfigError: With one line for each package that is missing, and for each thing that is asked of this machine
            and is not so.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    started = int(os.environ.get("WORLD_SIZE", "1"))
    if problems := [*missing_packages(config), *_problems_here(config, started)]:
        raise ConfigError(problems)
    cpu = config.trainer.device is Device.cpu or not torch.cuda.is_available()
    accelerator = Accelerator(
        mixed_precision="no", gradient_accumulation_steps=1, cpu=cpu, project_dir=project_dir,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(seconds=config.trainer.timeout_seconds)),
                         DistributedDataParallelKwargs(broadcast_buffers=False)])
    if accelerator.num_processes != started:
        raise ConfigError(_other_number(started, accelerator.num_processes))
    return accelerator


def _problems_here(config: TrainConfig, processes: int) -> Iterator[str]:
    if config.trainer.device is Device.cuda and not torch.cuda.is_available():
        yield "trainer.device=cuda but torch sees no CUDA device; use trainer.device=cpu"
    if (wanted := config.trainer.processes or processes) != processes:
        yield _other_number(wanted, processes)
    rows = config.trainer.batch_size
    if rows < processes * config.trainer.accumulate:
        yield (f"trainer.batch_size={rows} is less than {processes} processes x trainer.accumulate="
               f"{config.trainer.accumulate}; raise it")


def _other_number(wanted: int, running: int) -> str:
    return (f"{wanted} processes were asked for and {running} run; start them with torchrun --nproc-per-node {wanted} "
            "-m llmtrain train ...")
