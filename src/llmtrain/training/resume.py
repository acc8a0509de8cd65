"""Going on from a checkpoint: which one, whether it is this run's, and everything it holds put back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmtrain import checkpoint
from llmtrain.config.choices import Resume
from llmtrain.config.convert import from_dict
from llmtrain.config.run_id import other_run
from llmtrain.config.schema import TrainConfig
from llmtrain.core.errors import CheckpointError, ConfigError, LlmtrainError, shorten
from llmtrain.core.logging import say, warn
from llmtrain.models.backbone.load_errors import refusing
from llmtrain.models.publish import load_weights
from llmtrain.training.build import Training
from llmtrain.training.run_folder.built_on import check_origin
from llmtrain.training.run_length import planned_steps
from llmtrain.training.save import point_best, prune
from llmtrain.training.state import ModulePart, Part, ProgressPart

SAID = {"data_hash": str, "world_size": int, "steps_per_epoch": int, "config.trainer.accumulate": int,
        "config.optim.name": str}  # by every checkpoint of a run
AVERAGED = {"weights", "average"}  # the parts of a run with optim.ema_decay


def find_start(run_path: Path, config: TrainConfig) -> Path | None:
    """The step folder this run goes on from: its own last good one, else the one it extends."""
    own, warnings = checkpoint.latest_valid(run_path / "checkpoints", lambda meta: may_be_by(meta, config))
    for line in warnings:
        warn(line)
    if own is not None or config.run.extend_from is None:
        if own is None and config.run.resume is Resume.must:
            raise ConfigError(f"run.resume=must but there is no checkpoint at {run_path}; start with run.resume=auto")
        return own
    source = Path(config.run.extend_from)
    folder = source / "checkpoints" if (source / "checkpoints").is_dir() else source
    if (folder / "state").is_dir():
        checkpoint.verify(folder)
        found: Path | None = folder
    else:
        found, warnings = checkpoint.latest_valid(folder)
        for line in warnings:
            warn(line)
    if found is None:
        raise CheckpointError(f"no checkpoint to extend at {source}; name a run folder or a step folder")
    check_extended(config, found)
    return found


def may_be_by(meta: dict[str, Any], config: TrainConfig) -> bool:
    """Whether the run that saved a checkpoint may be the one of ``config``; another version's says nothing here."""
    try:
        return not other_run(from_dict(meta["config"]), config, finished=False)
    except (KeyError, TypeError, ValueError, LlmtrainError):
        return True


def load_state(start: Path, only: str | None = None) -> tuple[checkpoint.Parts, dict[str, Any]]:
    """``checkpoint.load_parts`` of a run's own kind of checkpoint: whoever signed it may have left out what is needed.

    Raises:
        CheckpointError: As ``load_parts``, and where the manifest does not say of the run what it must.
    """
    parts, meta = checkpoint.load_parts(start, only)
    strange = [name for name, kind in SAID.items() if type(_said(meta, name)) is not kind]
    if strange:
        raise CheckpointError(f"the manifest at {start} does not say the {strange[0]} of its run; use another "
                              "checkpoint")
    return parts, meta


def _said(meta: Any, name: str) -> Any:
    """What stands in a manifest under a name with dots; None where nothing does."""
    for key in name.split("."):
        meta = meta.get(key) if isinstance(meta, dict) else None
    return meta


def check_extended(config: TrainConfig, found: Path) -> None:
    """Raise ConfigError when a run cannot go on from the checkpoint that it extends.

    That has moments of another optimizer, or has come as far as this run shall: lengths count from its first step.
    """
    parts, meta = load_state(found, only="progress")
    before = meta["config"]["optim"]["name"]
    if before != config.optim.name:
        raise ConfigError(f"the checkpoint to extend at {found} was trained with optim.name={shorten(before, 40)} and "
                          f"this run has {config.optim.name}, which cannot use its state; keep the optimizer, or take "
                          "the weights alone by model.init_from instead of run.extend_from")
    progress, trainer = ProgressPart(), config.trainer
    progress.load(*parts["progress"])
    total = planned_steps(trainer, meta["steps_per_epoch"])
    if total is not None and total <= progress.step:
        name = "max_steps" if trainer.max_steps is not None else "max_epochs"
        raise ConfigError(f"trainer.{name} ends this run at step {total} and the checkpoint to extend at {found} "
                          f"stands at step {progress.step}; raise trainer.{name}, which counts the steps of both")
    if trainer.max_minutes is not None and 60 * trainer.max_minutes <= progress.seconds:
        raise ConfigError(f"trainer.max_minutes={trainer.max_minutes:g} is over for the checkpoint to extend at "
                          f"{found}, which trained {progress.seconds / 60:.1f} minutes; raise it, it counts the "
                          "time of both")


def is_own(run_path: Path, start: Path) -> bool:
    """Whether a run goes on from its own checkpoint, and not from one that it extends."""
    return start.parent.parent == run_path


def restore(run: Training, start: Path) -> None:
    """Load everything a stopped run left, random state last.

    Raises:
        ConfigError: The data's content hash, the base, its tokenizer or the number of processes differs.
        CheckpointError: The state belongs to another model, objective, weighting or precision.
    """
    parts, meta = load_state(start)
    _check_meta(run, start, meta)
    check_origin(run.state.origin, meta.get("origin"), start, run.config.model)
    load_weights(run.model.task_model, start / "model")
    _check_parts(run, start, set(parts))
    if is_own(run.folder.path, start):
        for part in run.state.parts:
            _put_back(part, parts, start)
        settle_pointers(run, start)
    else:
        _extend(run, parts, start)
    run.state.metrics.cut(run.state.progress.log_size)
    say(f"going on from step {run.state.progress.step} ({start.name})")


def settle_pointers(run: Training, start: Path) -> None:
    """Make both pointers agree with the state just restored; a stop can fall between a commit and its pointer.

    A best checkpoint that is damaged or gone is given up for ``start``. Collective.
    """
    progress = run.state.progress
    best = start if progress.best_step is None else start.parent / f"step-{progress.best_step}"
    if best != start:
        try:
            checkpoint.verify(best)
        except CheckpointError as error:
            reason = error.problems[0].partition(";")[0]
            warn(f"the best checkpoint {best} is damaged or gone ({reason}); taking {start} as the best so far")
            progress.best, progress.best_step = None, progress.step
    run.accelerator.wait_for_everyone()  # every process has looked before the first one writes
    if run.accelerator.is_main_process:
        checkpoint.point(start.parent, "last", progress.step, {})
        point_best(run)
        prune(run, later=False)  # a stop can fall between a commit and this, and no other commit may follow
    run.accelerator.wait_for_everyone()


def _check_meta(run: Training, start: Path, meta: dict[str, Any]) -> None:
    content, steps = run.data.content_hash, run.data.loader.steps_per_epoch
    if meta["data_hash"] != content:
        raise ConfigError(f"data changed since the checkpoint at {start}: its content hash was "
                          f"{meta['data_hash'][:12]}, now {content[:12]}; restore the data or choose another run.name")
    if meta["steps_per_epoch"] != steps and is_own(run.folder.path, start):
        raise ConfigError(f"an epoch has {steps} steps and had {meta['steps_per_epoch']} at "
                          f"{start}: another version ordered its rows otherwise; choose another run.name")
    processes = run.accelerator.num_processes
    if meta["world_size"] != processes and not run.config.run.allow_world_size_change:
        raise ConfigError(f"the checkpoint at {start} was trained by {meta['world_size']} processes, now {processes} "
                          "run; start as many, or set run.allow_world_size_change=true (not bitwise)")
    before, now = meta["config"]["trainer"]["accumulate"], run.config.trainer.accumulate
    if before != now:
        warn(f"trainer.accumulate was {before} and is {now} now: the gradients are the same, dropout draws are not, so "
             "the run does not repeat bitwise")


def _check_parts(run: Training, start: Path, saved: set[str]) -> None:
    """A run takes every part of a state. One that extends another may begin an average of its own, or end it."""
    own, mine = is_own(run.folder.path, start), {part.name for part in run.state.parts}
    missing = mine - saved - (set() if own or AVERAGED & saved else AVERAGED)
    if strange := missing or (set() if own else saved - mine - AVERAGED):
        name = min(strange)
        raise CheckpointError(f"state {name!r} {'is missing' if name in mine else 'has no place in this run, but is'} "
                              f"at {start}; the checkpoint belongs to another configuration: go on under that one, or "
                              "take its weights alone by model.init_from")


def _put_back(part: Part, parts: checkpoint.Parts, start: Path) -> None:
    """Whoever signed a checkpoint may have put anything into a state."""
    with refusing(CheckpointError, f"state {part.name!r} at {start} is none of this run's", "; use another checkpoint"):
        part.load(*parts[part.name])


def _extend(run: Training, parts: checkpoint.Parts, start: Path) -> None:
    """Take over step, weights, moments and random state; length, schedule, log, best and precision are its own."""
    progress, schedule, average = run.state.progress, run.optimization.schedule, run.optimization.average
    total, settled = progress.total, (schedule.total, schedule.cooldown_start)
    kept = parts["precision"][1].get("running") == run.precision.running
    for part in run.state.parts:
        if part.name in parts and (kept or part.name != "precision"):
            _put_back(part, parts, start)
    if average is None and "weights" in parts:  # what was published, and is loaded already, is their average
        names = parts["weights"][0]
        raw = {name: weight for name, weight in run.model.module.named_parameters() if name in names}
        _put_back(ModulePart("weights", raw), parts, start)
    elif average is not None and "average" not in parts:
        average.restart()
        say(f"optim.ema_decay: the average begins at step {progress.step}")
    progress.total, progress.log_size, progress.window = total, 0, {}
    progress.best, progress.best_step, progress.evaluations_without_gain = None, None, 0
    progress.validated, progress.recent, progress.owed = [], [], None
    progress.quarter = run.optimization.limit.quarter(progress.seconds)
    schedule.total, schedule.cooldown_start = settled
