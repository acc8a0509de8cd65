"""Scoring a run while it trains: every loss term and the task's metrics on the same held-out rows each time.

Nothing here draws random numbers: masks are functions of the row, decoding is as configured (greedy by default).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.core.signals import StopInterrupt, StopSignals
from llmtrain.data.batch import PARTS, Batch
from llmtrain.data.features import Features
from llmtrain.data.loader import eval_batches
from llmtrain.evaluation.evaluate import SplitScores, predict_and_score, shared_out
from llmtrain.evaluation.mean_of_tasks import mean_of_tasks
from llmtrain.tasks.metric import Metric
from llmtrain.tasks.task import Share, at_once
from llmtrain.training.build import Training
from llmtrain.training.save import averaged_weights
from llmtrain.training.spec import RunSpec


@torch.no_grad()
def held_out_losses(run: Training, rows: Mapping[str, Features], share: Share = at_once) -> dict[str, float]:
    """Mean of every term per item, and their weighted total, over the rows and all processes. A term of which the rows
    hold no item has no mean and is left out.

    Args:
        rows: Of each task, by its name in the run.
    """
    terms = run.model.module.terms
    totals = share(lambda: _own_sums(run, rows))
    if run.accelerator.num_processes > 1:
        totals = run.accelerator.reduce(totals.to(run.accelerator.device), reduction="sum").cpu()
    means = {name: total / items for name, (total, items) in zip(terms, totals.T.tolist(), strict=True) if items}
    weighted = {name: weight * means[name] for name, weight in
                run.model.weighting.weights(run.state.progress.step).items() if name in means}
    return ({f"loss.{name}": value for name, value in means.items()}
            | {f"loss.{name}.weighted": value for name, value in weighted.items()}
            | ({"loss.total": sum(weighted.values())} if weighted else {}))


def _own_sums(run: Training, rows: Mapping[str, Features]) -> torch.Tensor:
    """Every term's sum over this process's rows, and its count."""
    terms = run.model.module.terms
    totals = torch.zeros(2, len(terms), dtype=torch.float64)
    rank, world = run.accelerator.process_index, run.accelerator.num_processes
    for index, batch in enumerate(_batches(run, rows)):
        if index % world != rank:
            continue
        batch = run.to_device(batch)
        counts = run.model.module.counts(batch)
        with run.precision.autocast():
            sums = run.model.module(batch, step=run.state.progress.step)
        for place, name in enumerate(terms):  # a task's own term is not among those of another's rows
            if name in sums:
                totals[:, place] += torch.stack([sums[name].double().cpu(), counts[name].double().cpu()])
    return totals


def _batches(run: Training, rows: Mapping[str, Features]) -> Iterator[Batch]:
    """The rows of one task after the other, each batch of one alone."""
    for name, features in rows.items():
        for batch in eval_batches(features, batch_size=32, pad_id=run.spec.base.special.pad,
                                  transforms=run.data.transforms[name]):
            yield {PARTS: {name: batch}} if name else batch


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
    """Held-out losses of the weights as they are, and each task's metrics where tasks are trained; the model is back in
    training mode afterwards."""
    run.model.module.eval()
    try:
        found: dict[str, Any] = held_out_losses(run, {name: rows.validation for name, rows in run.data.rows.items()},
                                                share)
        if not run.spec.terms.trains_task:
            return found
        firsts: list[tuple[Metric, SplitScores]] = []  # each task's first metric
        for one in run.spec.tasks:
            rows = run.data.rows[one.name]
            examples = rows.splits.validation[:run.config.trainer.eval_rows]
            made_of = (run.model.task_model.of_task(one.name), rows.learnt.writes(run.spec.base.tokenizer), examples,
                       rows.validation)
            one.task.tune(*made_of, one.config, run.precision, shared_out(len(examples), run.accelerator, share))
            config = replace(one.config, generation=while_training(one.config))
            scores = predict_and_score(one.task, *made_of, config, run.precision, accelerator=run.accelerator,
                                       baselines=False, evidence=False, share=share)
            firsts.append((one.task.metrics[0], scores))
            for name, interval in scores.metrics.items():
                named = one.member.named(name)
                found |= {named: interval.value, f"{named}.low": interval.low, f"{named}.high": interval.high}
    finally:
        run.model.module.train()
    if len(firsts) > 1:
        name = run.spec.task.metrics[0].name
        mean = mean_of_tasks(firsts, run.config.eval.bootstrap_samples)
        found |= {name: mean.value, f"{name}.low": mean.low, f"{name}.high": mean.high}
    return found


def describe(spec: RunSpec, scores: Mapping[str, float]) -> str:
    """The tasks' metrics in few words, for the line that tells of a validation."""
    if len(spec.tasks) == 1:
        return spec.task.describe_scores(scores)
    told = [f"{one.name}: " + one.task.describe_scores(
        {metric.name: scores[one.member.named(metric.name)] for metric in one.task.metrics
         if one.member.named(metric.name) in scores}) for one in spec.tasks]
    return "  ".join([*told, spec.task.describe_scores(scores)])
