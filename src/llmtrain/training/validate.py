"""Scoring a run while it trains: every loss term and the task's metrics on the same held-out rows each time.

Nothing here draws random numbers: masks are functions of the row, decoding is as configured (greedy by default).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.core.signals import StopInterrupt, StopSignals
from llmtrain.data.features import Features
from llmtrain.data.loader import eval_batches
from llmtrain.evaluation.evaluate import predict_and_score, shared_out
from llmtrain.tasks.task import Share, at_once
from llmtrain.training.build import Training
from llmtrain.training.save import averaged_weights


@torch.no_grad()
def held_out_losses(run: Training, rows: Features, share: Share = at_once) -> dict[str, float]:
    """Mean of every term per item, and their weighted total, over the rows and all processes."""
    terms = run.model.module.terms
    totals = share(lambda: _own_sums(run, rows))
    if run.accelerator.num_processes > 1:
        totals = run.accelerator.reduce(totals.to(run.accelerator.device), reduction="sum").cpu()
    losses = (totals[0] / totals[1].clamp(min=1)).tolist()
    weights = run.model.weighting.weights(run.state.progress.step)
    row = {f"loss.{name}": value for name, value in zip(terms, losses, strict=True)}
    row |= {f"loss.{name}.weighted": weights[name] * row[f"loss.{name}"] for name in weights}
    return row | {"loss.total": sum(row[f"loss.{name}.weighted"] for name in weights)}


def _own_sums(run: Training, rows: Features) -> torch.Tensor:
    """Every term's sum over this process's rows, and its count."""
    terms = run.model.module.terms
    totals = torch.zeros(2, len(terms), dtype=torch.float64)
    rank, world = run.accelerator.process_index, run.accelerator.num_processes
    batches = eval_batches(rows, batch_size=32, pad_id=run.data.loader.pad_id, transforms=run.data.transforms)
    for index, batch in enumerate(batches):
        if index % world != rank:
            continue
        batch = run.to_device(batch)
        counts = run.model.module.counts(batch)
        with run.precision.autocast():
            sums = run.model.module(batch, step=run.state.progress.step)
        totals += torch.stack([torch.stack([sums[name].double().cpu() for name in terms]),
                               torch.stack([counts[name].double().cpu() for name in terms])])
    return totals


def validate(run: Training, signals: StopSignals) -> dict[str, Any]:
    """:func:`score` of the weights that are published at this step.

    Raises:
        StopInterrupt: A stop ended it, on every process: never while anything is exchanged.
    """
    alone = run.accelerator.num_processes == 1
    with averaged_weights(run), signals.leaving(alone):
        return score(run, at_once if alone else lambda work: leave_together(run, signals, work))


def leave_together(run: Training, signals: StopSignals, work: Callable[[], Any]) -> Any:
    """What ``work`` gives, this process's own share of something. A stop that any process saw ends all of them here,
    before they exchange what they have. Collective."""
    made = None
    with suppress(StopInterrupt), signals.leaving(True):
        made = work()
    if run.optimization.step.agree_stop(signals.requested or 0):
        raise StopInterrupt
    return made


def while_training(config: TrainConfig) -> GenerationConfig:
    """How held-out rows are decoded before the run ends: with ``trainer.eval_num_beams`` where it is set."""
    beams = config.trainer.eval_num_beams or config.generation.num_beams
    most = beams if beams > 1 or not config.generation.do_sample else config.generation.num_return_sequences
    return replace(config.generation, num_beams=beams,
                   num_return_sequences=min(config.generation.num_return_sequences, most))


def score(run: Training, share: Share = at_once) -> dict[str, Any]:
    """Held-out losses of the weights as they are, and the task's metrics where it is trained; the model is back in
    training mode afterwards."""
    rows = run.data.splits.validation[:run.config.trainer.eval_rows]
    run.model.module.eval()
    try:
        losses = held_out_losses(run, run.data.validation, share)
        if not run.spec.terms.trains_task:
            return losses
        task, made_of = run.spec.task, (run.model.task_model, run.data.learnt.writes(run.spec.base.tokenizer), rows,
                               run.data.validation)
        task.tune(*made_of, run.config, run.precision, shared_out(len(rows), run.accelerator, share))
        config = replace(run.config, generation=while_training(run.config))
        scores = predict_and_score(task, *made_of, config, run.precision, accelerator=run.accelerator,
                                   baselines=False, evidence=False, share=share)
    finally:
        run.model.module.train()
    return losses | {name: interval.value for name, interval in scores.metrics.items()}
