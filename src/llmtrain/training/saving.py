"""Saving a run's whole state and going on from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmtrain import __version__, checkpoint
from llmtrain.atomic import write_json
from llmtrain.config.load import to_dict
from llmtrain.config.schema import Resume
from llmtrain.errors import CheckpointError, ConfigError
from llmtrain.log import say, warn
from llmtrain.training.setup import Training, load_weights


@contextmanager
def averaged_weights(run: Training) -> Iterator[None]:
    """The weights that are evaluated and published: the moving average where there is one."""
    if run.average is None:
        yield
        return
    run.average.swap()
    try:
        yield
    finally:
        run.average.swap()


def meta_of(run: Training) -> dict[str, Any]:
    """What a checkpoint says of itself: enough to refuse to go on with other data or another layout."""
    return {"llmtrain": __version__, "step": run.progress.step, "data_hash": run.splits.content_hash,
            "world_size": run.accelerator.num_processes, "steps_per_epoch": run.loader.steps_per_epoch,
            "precision": {"requested": run.precision.requested, "running": run.precision.running,
                          "effective": run.precision.effective},
            "config": to_dict(run.config)}


def save(run: Training) -> None:
    """Write step-N, point ``last`` (and ``best``) at it, prune. Collective: every process must call it."""
    run.metrics.sync()
    run.progress.log_size = run.metrics.size
    parts = {part.name: part.save() for part in run.parts}
    if run.accelerator.is_main_process:
        checkpoints = run.folder.path / "checkpoints"

        def write_model(folder: Path) -> None:
            with averaged_weights(run):
                run.model.save_pretrained(folder)
            run.tokenizer.save_pretrained(folder)
            write_json(folder / "llmtrain.json", meta_of(run))

        if not (checkpoints / f"step-{run.progress.step}").exists():
            checkpoint.save(checkpoints, run.progress.step, write_model=write_model, parts=parts, meta=meta_of(run))
        if run.progress.best_step == run.progress.step:
            checkpoint.point(checkpoints, "best", run.progress.step, {"value": run.progress.best})
        protect = set() if run.progress.best_step is None else {run.progress.best_step}
        checkpoint.prune(checkpoints, run.config.trainer.keep_last, protect)
    run.accelerator.wait_for_everyone()


def note_best(run: Training, metrics: dict[str, float]) -> bool:
    """Compare ``trainer.best_metric`` with the best so far; returns whether this step is the new best."""
    name = run.config.trainer.best_metric
    if name not in metrics:
        known = ", ".join(sorted(metrics))
        raise ConfigError(f"trainer.best_metric={name} is not logged by the validation; choose from {known}")
    value, best = metrics[name], run.progress.best
    sign = 1 if run.config.trainer.more_is_better else -1
    if value == value and (best is None or sign * value > sign * best):  # never a NaN
        run.progress.best, run.progress.best_step = value, run.progress.step
        run.progress.evaluations_without_gain = 0
        return True
    run.progress.evaluations_without_gain += 1
    return False


def find_start(run_path: Path, config: Any) -> Path | None:
    """The step folder this run goes on from: its own last good one, else the one it extends."""
    own, warnings = checkpoint.latest_valid(run_path / "checkpoints")
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
        return folder
    found, warnings = checkpoint.latest_valid(folder)
    for line in warnings:
        warn(line)
    if found is None:
        raise CheckpointError(f"no checkpoint to extend at {source}; name a run folder or a step folder")
    return found


def restore(run: Training, start: Path) -> None:
    """Load everything a stopped run left, random state last.

    Raises:
        ConfigError: The data's content hash or the number of processes differs.
        CheckpointError: The state belongs to another model, objective or precision.
    """
    parts, meta = checkpoint.load_parts(start)
    own = start.parent.parent == run.folder.path
    if meta["data_hash"] != run.splits.content_hash:
        raise ConfigError(f"data changed since the checkpoint at {start}: its content hash was "
                          f"{meta['data_hash'][:12]}, now {run.splits.content_hash[:12]}; restore the data or choose "
                          "another run.name")
    processes = run.accelerator.num_processes
    if meta["world_size"] != processes and not run.config.run.allow_world_size_change:
        raise ConfigError(f"the checkpoint at {start} was trained by {meta['world_size']} processes, now {processes} "
                          "run; start as many, or set run.allow_world_size_change=true (not bitwise)")
    load_weights(run.model, start / "model")
    planned = run.progress.total
    schedule_total, cooldown = run.schedule.total, run.schedule.cooldown_start
    missing = [part.name for part in run.parts if part.name not in parts]
    if missing:
        raise CheckpointError(f"state {missing[0]!r} is missing at {start}; the checkpoint belongs to another "
                              "configuration")
    for part in run.parts:
        part.load(*parts[part.name])
    if not own:  # a longer run than the one it extends: its own length, its own log and best
        run.progress.total, run.progress.log_size = planned, 0
        run.progress.best = run.progress.best_step = None
        run.progress.quarter = 0
        run.schedule.total, run.schedule.cooldown_start = schedule_total, cooldown
    run.metrics.cut(run.progress.log_size)
    say(f"going on from step {run.progress.step} ({start.name})")
