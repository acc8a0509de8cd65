"""Is what lies there whole, and what is it good for? A checkpoint, a run, a published model or a base, checked wholly.

Beyond the manifest's hashes, which say that files are as they were saved, this looks at what they hold: every tensor
finite and of the shape its configuration gives it, the tokenizer fitting the model, every line of a log readable.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from llmtrain.checkpoint import AVERAGE, verify
from llmtrain.checkpoint.locate import read_pointer, step_folders
from llmtrain.checkpoint.manifest import MANIFEST, Manifest
from llmtrain.checkpoint.parts import LIKE_THE_PARAMETER
from llmtrain.core.errors import CheckpointError, ConfigError, LlmtrainError
from llmtrain.core.files import STAGED
from llmtrain.integrity import model_folders, run_files
from llmtrain.integrity.finding import ADVICE, Finding

STATE_NEEDED = ("progress", "schedule", "optimizer", "precision", "objectives", "random")


def look(path: Path) -> Iterator[Finding]:
    """Everything at a path: a run folder's parts one by one, or the one checkpoint, model or base.

    Raises:
        ConfigError: Nothing is there, or nothing that this program knows.
    """
    if path.is_file():
        _, folder = read_pointer(path)
        yield _checked(folder, "a checkpoint", _step)
    elif (path / "checkpoints").is_dir() and not (path / MANIFEST).exists():
        yield from _run(path)
    elif (path / MANIFEST).exists() or (path / MANIFEST).is_symlink():
        inner = path.name != "model" and (path / "model").is_dir()
        kind = "a checkpoint" if inner else "a published model"
        yield _checked(path, kind, _step if inner else model_folders.model_folder)
    elif (path / "config.json").is_file():
        yield _checked(path, "a base", model_folders.base)
    elif not path.exists():
        raise ConfigError(f"nothing at {path}; name a run, a checkpoint, a model folder or a base")
    else:
        raise ConfigError(f"no run, checkpoint, model or base at {path}; name a folder with checkpoints/, a {MANIFEST} "
                          "or a config.json")


def _checked(path: Path, kind: str, check: Callable[[Finding], None]) -> Finding:
    """A finding of ``check``, which adds to it; what it raises is a problem too."""
    found = Finding(path, kind)
    try:
        check(found)
    except LlmtrainError as error:
        found.problems += error.problems
    return found


def _run(path: Path) -> Iterator[Finding]:
    """The run's files, then each checkpoint, then what the pointers say. The run may go on meanwhile."""
    yield _checked(path / "config.yaml", "the run's configuration", run_files.configuration)
    for name, kind in (("environment.json", "the environment"), ("results.json", "the results")):
        if (path / name).exists():
            yield _checked(path / name, kind, run_files.json_object)
    for name, kind in (("metrics.jsonl", "the log"), ("predictions.jsonl", "the predictions")):
        if (path / name).exists():
            yield _checked(path / name, kind, run_files.lines)
    checkpoints = path / "checkpoints"
    averages = sorted(folder for folder in checkpoints.glob(f"{AVERAGE}*") if folder.is_dir())
    whole: dict[str, bool] = {}

    def is_whole(folder: Path) -> bool:
        if folder.name not in whole:  # saved after the others were listed
            whole[folder.name] = not _checked(folder, "a checkpoint", _step).problems
        return whole[folder.name]

    for folder in [*(folder for _, folder in reversed(step_folders(checkpoints))), *averages]:
        found = _checked(folder, "a checkpoint", _step)
        if os.path.lexists(folder):  # else the run has pruned it meanwhile
            whole[folder.name] = not found.problems
            yield found
    if not whole:
        yield Finding(checkpoints, "no checkpoint yet")
    for name in ("last", "best"):
        if (checkpoints / name).exists():
            yield _pointer(checkpoints / name, is_whole)
    left = [one for folder in (path, checkpoints) for one in folder.glob(f"{STAGED}*")]
    if left:
        yield Finding(left[0], f"unfinished, as are {len(left) - 1} others" if len(left) > 1 else "unfinished",
                      (f"llmtrain clean {path}",))


def _pointer(path: Path, is_whole: Callable[[Path], bool]) -> Finding:
    before = path.stat().st_mtime_ns
    found = _checked(path, "a pointer", lambda found: run_files.pointer(found, is_whole))
    return found if path.stat().st_mtime_ns == before else Finding(path, "a pointer that moved meanwhile")


def _step(found: Finding) -> None:
    """A whole checkpoint: its hashes, its model, and a training state that is complete, finite and fits the model."""
    manifest = verify(found.path)
    if manifest.kind != "step":
        raise CheckpointError(f"no checkpoint at {found.path}, only a model; name that")
    inner = Finding(found.path / "model", "")
    model_folders.model_folder(inner)
    found.problems, found.good_for = inner.problems, inner.good_for
    tensors = 0
    stems = {Path(name).stem for name in manifest.files if name.startswith("state/")}
    if stems:
        found.problems += [f"state {name!r} is missing at {found.path}; {ADVICE}"
                           for name in STATE_NEEDED if name not in stems]
        tensors = _state(found, manifest)
        found.good_for = ("resume", "run.extend_from", *found.good_for)
    told = f", a training state of {tensors} tensors" if stems else ""
    found.what = f"step {manifest.step}, {len(manifest.files)} files{told}; {inner.what}"


def _state(found: Finding, manifest: Manifest) -> int:
    """Check the tensors of the training state; returns how many there are."""
    count = 0
    weights = model_folders.shapes_of(found.path / "model/model.safetensors")
    shapes = {f"model.{name}": shape for name, shape in weights.items()}
    for name in manifest.files:
        if not name.startswith("state/") or not name.endswith(".safetensors"):
            continue
        for key, tensor in model_folders.tensors_of(found.path / name):
            count += 1
            model_folders.finite(found, found.path / name, key, tensor)
            parameter, _, slot = key.rpartition("/")
            wanted = shapes.get(parameter)
            if slot in LIKE_THE_PARAMETER and wanted is not None and tuple(tensor.shape) != wanted:
                found.problems.append(f"{key} has shape {tuple(tensor.shape)} at {found.path / name} and the model's "
                                      f"parameter {wanted}; {ADVICE}")
    return count
