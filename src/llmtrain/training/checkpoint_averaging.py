"""At the end of a run: the mean of its last validated checkpoints' weights, where validation finds it better.

Averaging the last checkpoints of one run (Vaswani et al. 2017, section 6.1; Izmailov et al. 2018, "Averaging Weights
Leads to Wider Optima and Better Generalization") costs one more validation. Only files of the run are read, so a start
that was killed while scoring finds the same mean again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from llmtrain import checkpoint
from llmtrain.core.errors import CheckpointError
from llmtrain.core.logging import say, warn
from llmtrain.models.publish import load_weights
from llmtrain.training.build import Training
from llmtrain.training.save import better, meta_of, write_model
from llmtrain.training.trainer import write_row
from llmtrain.training.validate import score

Tensors = dict[str, Tensor]


def publish_average(run: Training) -> list[int] | None:
    """Publish the mean as ``average-N`` and let ``best`` point at it, if it beats the best on validation. Collective.

    The model holds the mean afterwards, or its last weights where there is none. Returns the steps averaged, or None
    when nothing was published.
    """
    steps = whole(run.folder.path / "checkpoints", run.state.progress.validated)
    if len(steps) < 2:
        say(f"average of the last checkpoints: {len(steps)} of optim.average_last={run.config.optim.average_last} were "
            "validated and are whole; nothing to average")
        return None
    load_mean(run, steps)
    started = time.perf_counter()
    scores = score(run)
    row = {"step": run.state.progress.step, "split": "average", **scores}
    write_row(run, row | {"time.evaluation": time.perf_counter() - started})
    name, progress = run.config.trainer.best_metric, run.state.progress
    published = better(run, scores[name], progress.best)
    best = "none" if progress.best is None else f"{progress.best:.4g} (step {progress.best_step})"
    say(f"average of the checkpoints of steps {', '.join(map(str, steps))}: validation {name} {scores[name]:.4g}, the "
        f"best checkpoint's {best}; " + ("the average is published" if published else "that one stays the best"))
    if published and run.accelerator.is_main_process:
        checkpoints, meta = run.folder.path / "checkpoints", meta_of(run) | {"averaged_steps": steps}
        checkpoint.save_average(checkpoints, progress.step, meta=meta,
                                write_model=lambda folder: write_model(run, folder, meta))
        checkpoint.point(checkpoints, "best", progress.step, {"value": scores[name], "averaged_steps": steps},
                         checkpoint.AVERAGE)
    run.accelerator.wait_for_everyone()
    return steps if published else None


def whole(checkpoints: Path, steps: list[int]) -> list[int]:
    """The steps whose checkpoints are whole; each other one is told."""
    found = []
    for step in steps:
        try:
            checkpoint.verify(checkpoints / f"step-{step}")
        except CheckpointError as error:
            warn(f"left out of the average: {error.problems[0].partition(';')[0]}")
            continue
        found.append(step)
    return found


def load_mean(run: Training, steps: list[int]) -> None:
    """Put the mean of these checkpoints' weights, the objectives' included, into the module."""
    fill(run.model.module.state_dict(), mean(weights_of(run, step) for step in steps))


def weights_of(run: Training, step: int) -> Tensors:
    """A copy of everything in the module, as the checkpoint of a step has it."""
    folder = run.folder.path / f"checkpoints/step-{step}"
    load_weights(run.model.task_model, folder / "model")
    parts, _ = checkpoint.load_parts(folder, only="objectives")
    fill(dict(run.model.module.objectives.named_parameters()), parts["objectives"][0])
    return {name: value.clone() for name, value in run.model.module.state_dict().items()}


def mean(several: Iterable[Tensors]) -> Tensors:
    """Element-wise mean of floating-point tensors, summed in fp64 in the given order; others are the last one's."""
    total: Tensors = {}
    last: Tensors = {}
    count = 0
    for tensors in several:
        count += 1
        last = tensors
        for name, value in tensors.items():
            if value.is_floating_point():
                total[name] = total[name] + value.double() if name in total else value.double()
    return last | {name: (value / count).to(last[name].dtype) for name, value in total.items()}


@torch.no_grad()
def fill(live: Tensors, values: Tensors) -> None:
    for name, value in values.items():
        live[name].copy_(value)
