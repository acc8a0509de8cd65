"""Saving a run's whole state, and what is remembered of its validations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from llmtrain import __version__, checkpoint, plugins
from llmtrain.config.choices import BestMode
from llmtrain.config.convert import to_dict
from llmtrain.config.overrides import config_files
from llmtrain.config.sections.trainer import TrainerConfig
from llmtrain.core.errors import ConfigError, NumericsError
from llmtrain.core.files import write_json, write_text
from llmtrain.data.text.language import SAMPLE, language_code
from llmtrain.evaluation.card.model_card import README, CardSubject, card_of
from llmtrain.models.backbone.lora import merged_state
from llmtrain.models.publish import publish_base, publish_generation
from llmtrain.models.target_vocabulary import target_folder
from llmtrain.objectives.mlm import MaskedLm
from llmtrain.training.build import Training

VOCABULARY_ENTRY = 40  # bytes of a token in a tokenizer's file, about
TEXTS = 24 << 10  # bytes of configurations, manifests and the card, about


@contextmanager
def averaged_weights(run: Training) -> Iterator[None]:
    """The weights that are evaluated and published: the moving average where there is one."""
    average = run.optimization.average
    if average is None:
        yield
        return
    average.swap()
    try:
        yield
    finally:
        average.swap()


def meta_of(run: Training) -> dict[str, Any]:
    """What a checkpoint says of itself: enough to refuse to go on with other data or another layout."""
    return {"llmtrain": __version__, "step": run.state.progress.step, "data_hash": run.data.content_hash,
            "world_size": run.accelerator.num_processes, "steps_per_epoch": run.data.loader.steps_per_epoch,
            "precision": {"requested": run.precision.requested, "running": run.precision.running,
                          "effective": run.precision.effective},
            "plugins": plugins.records(), "origin": run.state.origin, "config": to_dict(run.config)} | (
                {"own_configs": config_files.records()} if config_files.records() else {})


def publish(run: Training, folder: Path) -> None:
    """Write the model; the base alone where no head was trained."""
    model = run.model.task_model
    if run.spec.terms.trains_task:
        model.publish(folder, merged_state(model))
        publish_generation(model, run.config.generation, folder)
        return
    heads = [objective.head for objective in run.model.module.objectives.values() if isinstance(objective, MaskedLm)]
    publish_base(model.trunk, folder, heads[-1].state_dict() if heads else None)


def save(run: Training, again: bool = False) -> None:
    """Write step-N, point ``last`` (and ``best``) at it, prune. Collective: every process must call it.

    Args:
        again: The step is saved already, and what is published of it has changed.
    """
    run.state.metrics.sync()
    run.state.progress.log_size = run.state.metrics.size
    parts = {part.name: part.save() for part in run.state.parts}
    check_finite(run, parts)
    if run.accelerator.is_main_process:
        checkpoints = run.folder.path / "checkpoints"

        def write(folder: Path) -> None:
            with averaged_weights(run):
                write_model(run, folder, meta_of(run))

        checkpoint.save(checkpoints, run.state.progress.step, write_model=write, parts=parts, meta=meta_of(run),
                        model_bytes=model_bytes(run), again=again)
        point_best(run)
        prune(run)
    run.accelerator.wait_for_everyone()


def model_bytes(run: Training) -> int:
    """About what a published model takes on disk."""
    weights = sum(weight.numel() * weight.element_size() for weight in run.model.task_model.parameters())
    return weights + VOCABULARY_ENTRY * len(run.spec.base.tokenizer) + TEXTS


@torch.no_grad()
def check_finite(run: Training, parts: checkpoint.Parts) -> None:
    """Refuse to save what an update has spoilt: the loss tells it only a step later.

    Raises:
        NumericsError: A weight or a number of the state is not finite.
    """
    model: dict[str, torch.Tensor] = dict(run.model.module.named_parameters())
    for part, tensors in [("model", model), *((name, saved[0]) for name, saved in parts.items())]:
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise NumericsError(f"step {run.state.progress.step} left {name} ({part}) not finite and was not "
                                    "saved; lower optim.base_lr / optim.head_lr, under another run.name")


def prune(run: Training, later: bool = True) -> None:
    """Remove the checkpoints that ``trainer.keep_last`` lets go."""
    progress = run.state.progress
    best = set() if progress.best_step is None else {progress.best_step}
    averaged = set(progress.validated) - best  # some of those that keep_last counts
    checkpoint.prune(run.folder.path / "checkpoints", run.config.trainer.keep_last - len(averaged), best | averaged,
                     later)


def write_model(run: Training, folder: Path, meta: dict[str, Any]) -> None:
    """The model as it is now, whole, into an empty folder."""
    publish(run, folder)
    run.spec.base.tokenizer.save_pretrained(folder)
    for name, rows in run.data.rows.items() if run.spec.terms.trains_task else ():
        if rows.learnt.tokenizer is not None:
            rows.learnt.tokenizer.save_pretrained(target_folder(folder, name))
        if rows.selector is not None:
            rows.selector.copy_to(folder / checkpoint.SELECTOR)
    write_json(folder / "llmtrain.json", meta)
    write_text(folder / README, card_of(described(run, folder, meta), run.state.metrics.last("validation", "average")))


def described(run: Training, folder: Path, record: dict[str, Any]) -> CardSubject:
    """What the card of a published model is about.

    Args:
        folder: The model's.
        record: Its ``llmtrain.json``.
    """
    languages: dict[str, None] = {}
    licenses: dict[str, None] = {}
    for one in run.spec.tasks:
        data, splits = one.config.data, run.data.rows[one.name].splits
        targets = [example.target for example in splits.train[:SAMPLE]] if one.has_text_targets else []
        found = [language_code(example.source for example in splits.train), language_code(targets)]
        languages |= dict.fromkeys(data.languages or [code for code in found if code is not None])
        licenses |= dict.fromkeys(filter(None, [data.license or splits.license]))
    return CardSubject(run=run.folder.path.name, folder=folder, config=run.config, record=record,
                     languages=list(languages), data_license=", ".join(licenses) or None)


def point_best(run: Training) -> None:
    """Let ``best`` say what the progress says, whatever an earlier, interrupted start left there."""
    checkpoints, progress = run.folder.path / "checkpoints", run.state.progress
    best = progress.best_step
    if best is None:
        (checkpoints / "best").unlink(missing_ok=True)
    elif (checkpoints / f"step-{best}").is_dir():
        checkpoint.point(checkpoints, "best", best, {"value": progress.best})


def note_best(run: Training, metrics: dict[str, float]) -> bool:
    """Compare ``trainer.best_metric`` with the best so far; returns whether this step is the new best."""
    name = run.config.trainer.best_metric
    if name not in metrics:
        known = ", ".join(sorted(metrics))
        raise ConfigError(f"trainer.best_metric={name} is not logged by the validation; choose from {known}")
    value, progress = metrics[name], run.state.progress
    if better(run, value, progress.best):
        progress.best, progress.best_step = value, progress.step
        progress.evaluations_without_gain = 0
        return True
    progress.evaluations_without_gain += 1
    return False


def note_validated(run: Training) -> None:
    """Remember this step among the last that ``optim.average_last`` takes: those a stop saved in between are none."""
    count, progress = run.config.optim.average_last, run.state.progress
    progress.validated = [*progress.validated, progress.step][-count:] if count else []


def better(run: Training, value: float, best: float | None) -> bool:
    """Whether a value of ``trainer.best_metric`` beats the best so far; one that is not finite never does."""
    sign = 1 if more_is_better(run.config.trainer, run.spec.directions) else -1
    return math.isfinite(value) and (best is None or sign * value > sign * best)


def more_is_better(trainer: TrainerConfig, directions: Mapping[str, bool]) -> bool:
    """Whether a checkpoint with more of ``trainer.best_metric`` is the better one: of a loss it is not, of a metric as
    the tasks say (``directions``), and ``trainer.best_mode`` has the last word."""
    if trainer.best_mode is not None:
        return trainer.best_mode is BestMode.max
    return directions.get(trainer.best_metric, False)
