"""What unfinished work left behind: saves that were stopped, runs that came to no checkpoint, half-written caches.

Only what this program made and nothing uses: a run's folder is looked into under its lock, a cache, which has none,
only after an hour of rest. Symbolic links are never followed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmtrain.atomic import LOCK_NAME, STAGED, FolderLock, folder_size, remove, writing
from llmtrain.checkpoint import has_checkpoint
from llmtrain.errors import ConfigError
from llmtrain.log import warn

RUN_FILES = {"config.yaml", "environment.json", "metrics.jsonl", LOCK_NAME}  # of a run that came to nothing
CACHES = ("features", "selected", "bases", "docstrings")  # folders of a cache
RESTED = 3600.0  # seconds
REMOVED = (f"{STAGED}pruned-", f"{STAGED}old-")


@dataclass(frozen=True, slots=True)
class Left:
    """One thing that was left: a file or folder, its bytes, and what it is. ``run`` is the folder whose lock guards
    it."""

    path: Path
    size: int
    what: str
    run: Path | None = None


def leftovers(root: Path) -> Iterator[Left]:
    """Everything below ``root``, in the order of the folders. A run that is in use is told and left alone."""
    for folder, inner, _ in os.walk(root):  # does not follow links
        here = Path(folder)
        inner.sort()
        if (here / LOCK_NAME).is_file() and not (here / LOCK_NAME).is_symlink():
            inner[:] = [name for name in inner if name != "checkpoints" and not name.startswith(STAGED)]
            yield from _of_run(here)
        elif set(CACHES) & set(inner):
            yield from _of_cache(here, (f"{STAGED}*",))
        elif here.name in CACHES:
            yield from _of_cache(here, ("tmp*", f"{STAGED}*"))  # datasets writes to tmp*
            inner.clear()


def _of_run(run: Path) -> list[Left]:
    try:
        lock = FolderLock(run)
    except ConfigError as error:
        warn(f"left alone: {error.problems[0]}")
        return []
    with lock:
        names = {entry.name for entry in run.iterdir()}
        if not has_checkpoint(run / "checkpoints") and names <= RUN_FILES | {"checkpoints"} | _staged(run):
            return [Left(run, folder_size(run), "a run that came to no checkpoint", run)]
        return [Left(path, _size(path), "an old checkpoint half removed" if path.name.startswith(REMOVED) else
                     "a write that was stopped", run)
                for folder in (run, run / "checkpoints") for path in sorted(folder.glob(f"{STAGED}*"))]


def _staged(run: Path) -> set[str]:
    return {path.name for path in run.glob(f"{STAGED}*")}


def _of_cache(folder: Path, patterns: tuple[str, ...]) -> Iterator[Left]:
    before = time.time() - RESTED
    for path in sorted(path for pattern in patterns for path in folder.glob(pattern)):
        if os.lstat(path).st_mtime < before:
            yield Left(path, _size(path), "a cache half written")


def _size(path: Path) -> int:
    return folder_size(path) if path.is_dir() and not path.is_symlink() else os.lstat(path).st_size


def take_away(left: Left) -> bool:
    """Remove it; False where its run came into use meanwhile.

    Raises:
        ResourceError, ConfigError: It cannot be removed.
    """
    if left.run is None:
        with writing(left.path, 0):
            remove(left.path)
        return True
    try:
        lock = FolderLock(left.run)
    except ConfigError as error:
        warn(f"left alone: {error.problems[0]}")
        return False
    with lock, writing(left.path, 0):
        if left.path == left.run and has_checkpoint(left.run / "checkpoints"):
            return False  # it came to one after all
        remove(left.path)
    return True
