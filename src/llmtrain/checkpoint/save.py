"""Committing a checkpoint: stage everything, hash it, rename, move the pointer; only then prune."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from llmtrain.checkpoint import manifest as manifests
from llmtrain.checkpoint.locate import AVERAGE, digest_of, identity, read_pointer, step_folders
from llmtrain.checkpoint.parts import STATE, Parts, parts_size, write_parts
from llmtrain.checkpoint.verify import verify
from llmtrain.core.errors import CheckpointError
from llmtrain.core.files import STAGED, folder_size, read_json, stage_folder, write_json, writing
from llmtrain.core.logging import warn

MODEL = "model"


def save(checkpoints: Path, step: int, *, write_model: Callable[[Path], None], parts: Parts,
         meta: dict[str, Any], model_bytes: int = 0, again: bool = False) -> Path:
    """Commit ``step-N`` and point ``last`` at it; returns the folder.

    A whole ``step-N`` that ``last`` points at already is kept, unless it is to be written ``again``; any other is
    replaced.

    Args:
        checkpoints: The folder of all step folders; created when missing.
        step: N.
        write_model: Writes a complete Hugging Face folder into the empty folder it is given.
        parts: Name to (tensors, JSON) of everything else that must survive a stop.
        meta: JSON kept in the manifest, given back by ``load_parts``.
        model_bytes: About what the model takes, to tell what a full disk is short of.
        again: What it holds has changed.

    Raises:
        ResourceError: The disk is full or broken; older checkpoints are untouched.
        CheckpointError: A part's name or a file of the model folder has no place in a checkpoint.
    """
    final = checkpoints / f"step-{step}"
    last = _last(checkpoints)
    its_own = last.get("step") == step and _is_whole(final) and last.get("digest", "") in ("", digest_of(final))
    if again or not its_own:
        # "after" tells a later start that this one is the run's own although ``last`` does not name it yet
        expected = _expected_size(checkpoints, model_bytes + parts_size(parts))
        _commit(final, step, write_model, parts, meta | ({"after": last} if last else {}), expected)
    point(checkpoints, "last", step, {})
    return final


def save_average(checkpoints: Path, step: int, *, write_model: Callable[[Path], None], meta: dict[str, Any]) -> Path:
    """Commit ``average-N``: a model made of several checkpoints up to step N, without a state to go on from.

    One that stands there already is replaced; no pointer moves. Raises as :func:`save`.
    """
    final = checkpoints / f"{AVERAGE}{step}"
    _commit(final, step, write_model, {}, meta, _expected_size(checkpoints, 0))
    return final


def replace_file(folder: Path, name: str, text: str) -> None:
    """Replace a file of a committed checkpoint's ``model/``, with the manifests that name it; all or nothing.

    Everything else is the same file as before, by a hard link where the disk has such. ``last`` follows.

    Raises:
        ResourceError: The disk is full or broken; the checkpoint is as it was.
        CheckpointError: The manifest of the checkpoint cannot be read.
    """
    before, inner = manifests.read(folder), manifests.read(folder / MODEL)
    was_last = _last(folder.parent).get("digest") == digest_of(folder)
    own = {f"{MODEL}/{name}", f"{MODEL}/{manifests.MANIFEST}"}
    with stage_folder(folder, len(text.encode())) as staged:
        (staged / MODEL).mkdir()
        for kept in before.files.keys() - own:
            (staged / kept).parent.mkdir(parents=True, exist_ok=True)
            _link(folder / kept, staged / kept)
        (staged / MODEL / name).write_text(text, encoding="utf-8")
        known = {kept: record for kept, record in inner.files.items() if kept != name}
        made = manifests.build(staged / MODEL, "model", None, inner.meta, known)
        _write(staged / MODEL, made)
        hashed = {kept: record for kept, record in before.files.items() if kept not in own}
        hashed[f"{MODEL}/{name}"] = made.files[name]
        _write(staged, manifests.build(staged, "step", before.step, before.meta, hashed))
    if was_last:
        point(folder.parent, "last", before.step or 0, {})


def _link(there: Path, here: Path) -> None:
    try:
        os.link(there, here)
    except OSError:  # a file system without hard links; what else it is the copy tells
        shutil.copy2(there, here)


def _commit(final: Path, step: int, write_model: Callable[[Path], None], parts: Parts, meta: dict[str, Any],
            expected: int) -> None:
    with stage_folder(final, expected) as staged:
        model = staged / MODEL
        model.mkdir()
        write_model(model)
        inner = manifests.build(model, "model", None, {})
        _write(model, inner)
        if parts:
            (staged / STATE).mkdir()
            write_parts(staged / STATE, parts)
        hashed = {f"{MODEL}/{name}": record for name, record in inner.files.items()}
        _write(staged, manifests.build(staged, "step", step, meta, hashed))


def _write(folder: Path, manifest: manifests.Manifest) -> None:
    (folder / manifests.MANIFEST).write_text(manifests.to_text(manifest), encoding="utf-8")


def _last(checkpoints: Path) -> dict[str, Any]:
    """What ``last`` points at; nothing where it is missing or damaged."""
    try:
        read_pointer(checkpoints / "last")
        return identity(read_json(checkpoints / "last"))
    except CheckpointError:
        return {}


def _is_whole(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        verify(folder)
    except CheckpointError:
        return False
    return True


def _expected_size(checkpoints: Path, least: int) -> int:
    """Bytes of the checkpoint about to be written: the newest one's size, where there is one and it is more."""
    return max([least, *(folder_size(folder) for _, folder in step_folders(checkpoints)[:1])])


def point(checkpoints: Path, name: str, step: int, meta: dict[str, Any], kind: str = "step-") -> None:
    """Replace the pointer ``name`` ("best", "last"): a JSON file with the step, its folder and ``meta``.

    ``kind`` is what the folder's name begins with. ``last`` also holds the digest of what it points at.

    Raises:
        CheckpointError: There is no such checkpoint.
    """
    folder = f"{kind}{step}"
    if not (checkpoints / folder / manifests.MANIFEST).is_file():
        raise CheckpointError(f"cannot point {name!r} at {checkpoints / folder}: no checkpoint there; save it first")
    told = {"digest": digest_of(checkpoints / folder)} if name == "last" else {}
    write_json(checkpoints / name, meta | {"step": step, "folder": folder} | told)


def prune(checkpoints: Path, keep_last: int, protect: AbstractSet[int], later: bool = True) -> None:
    """Remove step folders but the best and the newest ``keep_last`` others. Call it after a commit.

    What ``best`` and ``last`` point at and the steps in ``protect`` always stay. Folders of later steps than ``last``
    go, and those between it and the one it was saved after: the run went back before them, or never saved them.

    Args:
        later: Whether they go at once; else they stay until the next commit.
    """
    best = set(protect)
    try:
        last, newest = read_pointer(checkpoints / "last")
        before = manifests.read(newest).meta.get("after", {}).get("step", last)
        if (checkpoints / "best").exists():
            best.add(read_pointer(checkpoints / "best")[0])
    except CheckpointError as error:
        warn(f"old checkpoints stay: {error}")
        return
    others = [step for step, _ in step_folders(checkpoints) if not before < step < last
              and step <= last and step not in best]
    kept = best | {last} | set(others[:keep_last])
    for step, folder in step_folders(checkpoints):
        if step not in kept and (later or step < last):
            # renamed first: half a folder must never look like a checkpoint
            with writing(folder):
                doomed = folder.rename(folder.with_name(f"{STAGED}pruned-{folder.name}-{os.getpid()}"))
            shutil.rmtree(doomed, ignore_errors=True)
