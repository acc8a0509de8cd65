"""After the last step: score the best checkpoint on validation and test, once, and write results.json.

A base that was trained alone predicts nothing; its held-out losses are told instead.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from llmtrain import checkpoint
from llmtrain.config.convert import to_dict
from llmtrain.config.sentence_input import SentenceInput
from llmtrain.core.logging import say
from llmtrain.core.memory import peak_memory_bytes
from llmtrain.data.features import Features, tokenize
from llmtrain.data.row_labels import with_labels
from llmtrain.evaluation.evaluate import SplitScores, predict_and_score
from llmtrain.evaluation.report import ScoredTask, results_of_tasks, rows_of_tasks, write_outputs
from llmtrain.inference.selector import as_read
from llmtrain.models.publish import load_weights
from llmtrain.training.build import Training
from llmtrain.training.checkpoint_averaging import publish_average
from llmtrain.training.spec import TaskSpec
from llmtrain.training.validate import held_out_losses

SPLITS = ("validation", "test")


def load_best(run: Training, averaged: list[int] | None) -> int:
    """Put the best checkpoint's published weights into the model; returns its step.

    Args:
        averaged: The steps of the mean that is published and in the module already.
    """
    folder = checkpoint.locate_model(run.folder.path)
    load_weights(run.model.task_model, folder)
    if not averaged and not run.spec.terms.trains_task:  # whose losses nobody tells
        load_objectives(run, folder.parent)
    return int(checkpoint.read_model_config(folder)["step"])


@torch.no_grad()
def load_objectives(run: Training, folder: Path) -> None:
    """Put what the objectives had learnt at a checkpoint beside its model: held-out losses of one step are told."""
    parts, _ = checkpoint.load_parts(folder, only="objectives")
    stored = {f"objectives.{name}": value for name, value in parts["objectives"][0].items()}
    if run.optimization.average is not None:
        stored |= checkpoint.load_parts(folder, only="average")[0]["average"][0]
    for name, parameter in run.model.module.objectives.named_parameters():
        parameter.copy_(stored[f"objectives.{name}"])


def finish(run: Training, show: Callable[[dict[str, Any], list[dict[str, Any]]], None]) -> dict[str, Any]:
    """Score, show, write results.json and predictions.jsonl, and return the results. Collective.

    Args:
        show: Called on the main process with the results and the scored rows, before anything is written.
    """
    train_peak = peak_memory_bytes(run.accelerator.device)
    averaged = publish_average(run) if run.config.optim.average_last else None
    best_step = load_best(run, averaged)
    run.model.module.eval()
    weights = f"average of {len(averaged)} checkpoints" if averaged else f"checkpoint of step {best_step}"
    scored = [_score(run, one, weights) for one in run.spec.tasks]
    losses = {} if run.spec.terms.trains_task else _losses(run, weights)
    progress = run.state.progress
    run.precision.observe(run.model.module.parameters(), run.optimization.optimizer)
    results = results_of_tasks(
        run.spec.task, scored, run.config.eval.bootstrap_samples,
        precision=run.precision.report(), steps=progress.step, skipped_steps=progress.skipped,
        seconds=progress.seconds, tokens_per_second=progress.tokens / max(progress.seconds, 1e-9),
        peak_memory_bytes=train_peak)
    results |= run.model.weighting.report()
    results |= {"losses": losses, "kept_in": run.precision.kept_in(), "best_step": best_step,
                "averaged_steps": averaged, "data_hash": run.data.content_hash,
                "world_size": run.accelerator.num_processes, "config": to_dict(run.config)}
    if run.accelerator.is_main_process:
        rows = rows_of_tasks(scored)
        try:
            show(results, rows)
        finally:  # also where nobody reads what is shown
            write_outputs(run.folder.path, results, rows)
    run.accelerator.wait_for_everyone()
    return results


def _score(run: Training, one: TaskSpec, weights: str) -> ScoredTask:
    """A task's scores of each split that has rows; none where the base alone was trained."""
    data = run.data.rows[one.name]
    scores: dict[str, SplitScores | None] = dict.fromkeys(SPLITS)
    for split in SPLITS if run.spec.terms.trains_task else ():
        examples = getattr(data.splits, split)
        if examples:
            model = run.model.task_model.of_task(one.name)
            features = _features(run, one, split, weights, model.sentence_input)
            scores[split] = predict_and_score(
                one.task, model, data.learnt.writes(run.spec.base.tokenizer), examples, features, one.config,
                run.precision,
                accelerator=run.accelerator, baselines=one.config.eval.baselines, validation=data.splits.validation)
    return ScoredTask(one.name, one.task, scores["validation"], scores["test"], data.splits.whole)


def _losses(run: Training, weights: str) -> dict[str, dict[str, float]]:
    """Held-out losses of each split, of the rows of all tasks that have it."""
    found: dict[str, dict[str, float]] = {}
    for split in SPLITS:
        # a loss may need sentences where the head needs none
        rows = {one.name: _features(run, one, split, weights, one.sentence_input) for one in run.spec.tasks
                if getattr(run.data.rows[one.name].splits, split)}
        if rows:
            found[split] = held_out_losses(run, rows)
    return found


def _features(run: Training, one: TaskSpec, split: str, weights: str, sentences: SentenceInput | None) -> Features:
    """A split's rows as the model reads them."""
    data, tokenizer = run.data.rows[one.name], run.spec.base.tokenizer
    examples = getattr(data.splits, split)
    of_task = f" of {one.name}" if one.name else ""
    say(f"scoring {len(examples)} {split} documents{of_task} with the {weights}")
    documents, _ = as_read(examples, data.selector, tokenizer, one.config.data)
    features = with_labels(tokenize(documents, tokenizer, one.config.data, sentences, one.task.encoder, data.learnt),
                           documents, data.learnt.row_labels)
    for note in features.stats.notes(split) if split == "test" else ():  # those of validation are told already
        say(f"data{of_task}: {note}")
    return features
