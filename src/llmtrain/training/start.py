"""The start of a run: its processes, its facts, everything it is made of, and the step where it stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtrain.config.schema import TrainConfig
from llmtrain.core.logging import quiet_libraries, say
from llmtrain.training.accelerator import start_accelerator
from llmtrain.training.batch_size_finder import settle_accumulate
from llmtrain.training.build import Training, build
from llmtrain.training.distributed import others_met
from llmtrain.training.resolve import resolve
from llmtrain.training.resume import find_start, is_own, load_state, restore
from llmtrain.training.run_folder.claim import RunFolder

if TYPE_CHECKING:
    from accelerate import Accelerator


def start_processes(config: TrainConfig, folder: RunFolder) -> Accelerator:
    """The processes of a run and where they compute."""
    quiet_libraries()
    say(f"run: {folder.path}")
    with others_met():
        return start_accelerator(config, folder.path)


def start_training(config: TrainConfig, folder: RunFolder, accelerator: Accelerator) -> Training:
    """The run, at the step where it starts or goes on."""
    start = find_start(folder.path, config)
    decided = None
    own = start is not None and is_own(folder.path, start)  # one that extends another runs in what is asked for
    if start is not None and own:
        parts, meta = load_state(start, only="precision")
        decided = parts["precision"][1]["running"]
        if config.trainer.find_batch_size:
            config.trainer.accumulate = meta["config"]["trainer"]["accumulate"]
    spec = resolve(config, fresh=start is None)
    training = build(spec, folder, accelerator, decided, start)
    if config.trainer.find_batch_size and not own:
        settle_accumulate(training)
    if start is not None:
        restore(training, start)
    else:
        training.state.metrics.cut(0)
    return training
