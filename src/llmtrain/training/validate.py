"""Scoring a run while it trains: every loss term and ROUGE on the same held-out rows each time.

Nothing here draws random numbers: masks are functions of the row, decoding is as configured (greedy by default).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

from llmtrain.config.schema import GenerationConfig, TrainConfig
from llmtrain.config.sections.objective import trains_summary
from llmtrain.core.signals import StopInterrupt, StopSignals
from llmtrain.data.examples import Example
from llmtrain.data.features import Features
from llmtrain.data.loader import eval_batches
from llmtrain.evaluation.evaluate import Share, at_once, generate_and_score
from llmtrain.inference.predict import documents_of, summarize_batches
from llmtrain.tasks.summarization.sentence_threshold import tune_selection
from llmtrain.training.build import Training
from llmtrain.training.save import averaged_weights


@torch.no_grad()
def held_out_losses(run: Training, rows: Features, share: Share = at_once) -> dict[str, float]:
    """Mean of every term per item, and their weighted total, over the rows and all processes."""
    terms = run.module.terms
    totals = share(lambda: _own_sums(run, rows))
    if run.accelerator.num_processes > 1:
        totals = run.accelerator.reduce(totals.to(run.accelerator.device), reduction="sum").cpu()
    losses = (totals[0] / totals[1].clamp(min=1)).tolist()
    weights = run.weighting.weights(run.progress.step)
    row = {f"loss.{name}": value for name, value in zip(terms, losses, strict=True)}
    row |= {f"loss.{name}.weighted": weights[name] * row[f"loss.{name}"] for name in weights}
    return row | {"loss.total": sum(row[f"loss.{name}.weighted"] for name in weights)}


def _own_sums(run: Training, rows: Features) -> torch.Tensor:
    """Every term's sum over this process's rows, and its count."""
    terms = run.module.terms
    totals = torch.zeros(2, len(terms), dtype=torch.float64)
    rank, world = run.accelerator.process_index, run.accelerator.num_processes
    batches = eval_batches(rows, batch_size=32, pad_id=run.loader.pad_id, transforms=run.transforms)
    for index, batch in enumerate(batches):
        if index % world != rank:
            continue
        batch = run.to_device(batch)
        counts = run.module.counts(batch)
        with run.precision.autocast():
            sums = run.module(batch, step=run.progress.step)
        totals += torch.stack([torch.stack([sums[name].double().cpu() for name in terms]),
                               torch.stack([counts[name].double().cpu() for name in terms])])
    return totals


def tune(run: Training, rows: list[Example], share: Share = at_once) -> None:
    """Let a head whose selection is tuned settle it on these rows, the same on every process."""
    if not getattr(run.model.head, "candidates", list)():
        return
    rank, world = run.accelerator.process_index, run.accelerator.num_processes
    mine = list(range(rank, len(rows), world))
    documents = documents_of(run.validation, [rows[i].document for i in mine], mine)
    made = share(lambda: summarize_batches(run.model, run.tokenizer, documents, run.config.generation, run.precision))
    found = [(i, one.probabilities) for i, one in zip(mine, made, strict=True)]
    if world > 1:
        from accelerate.utils import gather_object

        found = gather_object(found)
    found.sort(key=lambda row: row[0])
    tune_selection(run.model.head, rows, [probabilities or [] for _, probabilities in found], run.config.eval,
                   run.config.trainer.best_metric)


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
    if run.step.agree_stop(signals.requested or 0):
        raise StopInterrupt
    return made


def while_training(config: TrainConfig) -> GenerationConfig:
    """How held-out documents are summarized before the run ends: with ``trainer.eval_num_beams`` where it is set."""
    beams = config.trainer.eval_num_beams or config.generation.num_beams
    most = beams if beams > 1 or not config.generation.do_sample else config.generation.num_return_sequences
    return replace(config.generation, num_beams=beams,
                   num_return_sequences=min(config.generation.num_return_sequences, most))


def score(run: Training, share: Share = at_once) -> dict[str, Any]:
    """Held-out losses of the weights as they are, and ROUGE where a summary is trained; the model is back in training
    mode afterwards."""
    rows = run.splits.validation[:run.config.trainer.eval_rows]
    run.module.eval()
    try:
        losses = held_out_losses(run, run.validation, share)
        if not trains_summary(run.config.objective):
            return losses
        tune(run, rows, share)
        config = replace(run.config, generation=while_training(run.config))
        scores = generate_and_score(run.model, run.tokenizer, rows, run.validation, config,
                                    run.precision, accelerator=run.accelerator, baselines=False,
                                    citations=False, share=share)
    finally:
        run.module.train()
    return losses | {name: interval.value for name, interval in scores.metrics.items()}
