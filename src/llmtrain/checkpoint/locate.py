"""Which folder is meant: by a pointer, a step folder, a model folder, a run folder; or the newest whole one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmtrain.checkpoint.manifest import MANIFEST, Manifest, record_of
from llmtrain.checkpoint.verify import verify
from llmtrain.core.errors import CheckpointError, ConfigError
from llmtrain.core.files import read_json
from llmtrain.core.logging import warn

AVERAGE = "average-"
_STEP = re.compile(r"step-(0|[1-9][0-9]{0,17})")
_POINTER_LIMIT = 64 << 10


def step_folders(checkpoints: Path) -> list[tuple[int, Path]]:
    """(step, folder) of every committed ``step-N``, whole or not, the latest first."""
    if not checkpoints.is_dir():
        return []
    found = [(int(match[1]), path) for path in checkpoints.iterdir() if (match := _STEP.fullmatch(path.name))]
    return sorted(found, reverse=True)


def has_checkpoint(checkpoints: Path) -> bool:
    """Whether a checkpoint was ever committed there, whole or damaged by now."""
    return bool(step_folders(checkpoints)) or (checkpoints / "last").exists()


def read_pointer(path: Path) -> tuple[int, Path]:
    """(step, folder) that a pointer file names: a ``step-N`` or ``average-N``, which need not be whole.

    Raises:
        CheckpointError: It is not a pointer, or leads out of its own folder.
    """
    body = read_json(path, _POINTER_LIMIT)
    step = body.get("step") if isinstance(body, dict) else None
    if type(step) is not int or step < 0 or body.get("folder") not in (f"step-{step}", f"{AVERAGE}{step}"):
        raise CheckpointError(f"no checkpoint pointer at {path}; name a run folder, a step folder, its model folder, "
                              "or the files best or last")
    return step, path.parent / str(body["folder"])


def _verify_step(folder: Path, step: int) -> Manifest:
    if folder.is_symlink():
        raise CheckpointError(f"a symbolic link at {folder}; name the folder itself")
    manifest = verify(folder)
    if manifest.kind != "step" or manifest.step != step:
        raise CheckpointError(f"the checkpoint at {folder} was saved as step {manifest.step}; restore its name")
    return manifest


def latest_valid(checkpoints: Path, own: Callable[[dict[str, Any]], bool] | None = None
                 ) -> tuple[Path | None, list[str]]:
    """The newest whole step folder of this run, and a warning for each newer one that is damaged or not its own.

    What ``last`` names by its digest is the run's own.

    A folder of a later step than ``last`` is the run's own only when it was saved right after what ``last`` points at:
    a stop fell between its commit and the pointer. Any other was copied in, or is left of a history that is no more.

    Args:
        own: Whether what a checkpoint says of itself fits this run; asked of every other one.

    Raises:
        CheckpointError: There are checkpoints and none of them is whole and the run's own.
    """
    candidates = dict(step_folders(checkpoints))
    warnings: list[str] = []
    last: dict[str, Any] = {}
    if (checkpoints / "last").exists():
        try:
            step, folder = read_pointer(checkpoints / "last")
            candidates.setdefault(step, folder)
            last = identity(read_json(checkpoints / "last", _POINTER_LIMIT))
        except CheckpointError as error:
            warnings.append(f"ignored pointer: {error.problems[0]}")
    passed: list[tuple[Path, CheckpointError]] = []
    for step, folder in sorted(candidates.items(), reverse=True):
        try:
            manifest = _verify_step(folder, step)
            _check_own(folder, manifest, last, own)
        except CheckpointError as error:
            passed.append((folder, error))
            continue
        warnings += [f"checkpoint {bad} is passed over ({error.problems[0].partition(';')[0]}); going on from the "
                     f"previous good one, {folder}" if isinstance(error, _Foreign) else
                     f"checkpoint {bad} is damaged ({error.problems[0].partition(';')[0]}); going on from the "
                     f"previous good one, {folder}" for bad, error in passed]
        if last and step == last["step"] and digest_of(folder) != last.get("digest"):
            warnings.append(f"the pointer at {checkpoints / 'last'} was written for another content than {folder} has "
                            "now; going on from it, as it is whole")
        return folder, warnings
    if passed:
        end = f"no whole checkpoint at {checkpoints}; restore one, or move the folder away to start again"
        raise CheckpointError([*(problem for _, error in passed for problem in error.problems), end])
    if warnings:  # a pointer without a checkpoint: there was one
        raise CheckpointError(f"{warnings[0].removeprefix('ignored pointer: ').partition(';')[0]}, and no checkpoint "
                              f"beside it; restore {checkpoints}, or move it away to start again")
    return None, warnings


class _Foreign(CheckpointError):
    """A whole checkpoint that this run did not save, or gave up."""


def _check_own(folder: Path, manifest: Manifest, last: dict[str, Any],
               own: Callable[[dict[str, Any]], bool] | None) -> None:
    if last.get("digest"):  # a pointer from before there were digests has none
        if (manifest.step or 0) > last["step"] and manifest.meta.get("after") != last:
            raise _Foreign(f"the checkpoint at {folder} does not follow step {last['step']}, which "
                           f"{folder.parent / 'last'} names; remove it, or remove last to go on from it")
        if manifest.step == last["step"] and digest_of(folder) == last["digest"]:
            return
    if own is not None and not own(manifest.meta):
        raise _Foreign(f"the checkpoint at {folder} was saved under another configuration than this run's; "
                       "run.extend_from goes on from it under another run.name")


def digest_of(folder: Path) -> str:
    """What tells a committed folder from any other: its manifest's sha256."""
    return record_of(folder / MANIFEST).sha256


def identity(pointer: dict[str, Any]) -> dict[str, Any]:
    """The step and the digest that a pointer's body names."""
    return {name: pointer[name] for name in ("step", "digest") if name in pointer}


def locate_model(path: Path | str) -> Path:
    """The verified ``model/`` folder that ``path`` means.

    ``path`` is a pointer (best, last), a step folder, a model folder, or a run folder: its best checkpoint, or the
    last one of a run that was never validated.

    Raises:
        ConfigError: Nothing is there.
        CheckpointError: It is no checkpoint, or a damaged one.
    """
    path = Path(path)
    if not path.exists():
        raise ConfigError(f"no checkpoint at {path}; name a run folder, a step folder, its model folder, or a pointer")
    if path.is_file():
        step, folder = read_pointer(path)
        _verify_step(folder, step)
        return folder / "model"
    checkpoints = path / "checkpoints"
    if checkpoints.is_dir() and not (path / MANIFEST).exists():
        if (checkpoints / "best").exists():
            return locate_model(checkpoints / "best")
        if (checkpoints / "last").exists():
            warn(f"no best checkpoint at {path} yet; using the last one")
            return locate_model(checkpoints / "last")
        raise CheckpointError(f"no checkpoint in the run at {path} yet; train it first")
    manifest = verify(path)
    return path / "model" if manifest.kind == "step" else path
