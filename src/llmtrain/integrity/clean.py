"""What unfinished work left behind: saves that were stopped, runs that came to no checkpoint, half-written caches.

Only what this program made and nothing uses. A run's folder is known by the configuration in it and is looked into
under its lock; what lies in a cache is known by its name, and goes after an hour of rest. Symbolic links are never
followed.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from llmtrain.checkpoint import has_checkpoint
from llmtrain.core.errors import ConfigError, ResourceError
from llmtrain.core.files import IN_USE, STAGED, folder_size, remove, writing
from llmtrain.core.lock import LOCK_NAME, FolderLock
from llmtrain.core.logging import warn
from llmtrain.fetch.packaged_bases import PACKAGED_BASES

CONFIG, CHECKPOINTS = "config.yaml", "checkpoints"
# of a run that came to nothing
RUN_FILES = {CONFIG, "environment.json", "metrics.jsonl", "trackers.json", LOCK_NAME, CHECKPOINTS}
SECTIONS = (b"\nrun:", b"\ntrainer:", b"\nobjective:")  # of a configuration that train wrote
PAIRS = re.compile(r"\.tmp-docstrings-[0-9a-f]{16}\.jsonl-\d+")  # in a cache itself
CHOICE = re.compile(r"\.tmp-[0-9a-f]{24}\.json-\d+")  # in selected/
BASE = re.compile(r"\.tmp-(?:old-)?(?P<name>" + "|".join(map(re.escape, PACKAGED_BASES)) + ")")  # in bases/
ROWS = re.compile(r"tmp[a-z0-9_]{8}")  # in features/, as datasets calls them: 0600, an Arrow stream
COMPARED = re.compile(r"llmtrain-(verify-resume|doctor)-[a-z0-9_]{8}")  # in the system's folder for temporary files
TRIALS = re.compile(r"(straight|stopped|again|strict)(\.jsonl\d*|\.log)?|run|cache")  # what lies in it
ARROW = b"\xff\xff\xff\xff"
RESTED = 3600.0  # seconds
REMOVED = (f"{STAGED}pruned-", f"{STAGED}old-")


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that was left: a file or folder, its bytes, and what it is. ``run`` is the folder whose lock guards
    it."""

    path: Path
    size: int
    what: str
    run: Path | None = None


def leftovers(root: Path) -> Iterator[Leftover]:
    """Everything below ``root``, in the order of the folders.

    A run that is in use, and what may not be read, are told and left alone. What another ``clean`` takes away meanwhile
    is gone.
    """
    for folder, inner, names in os.walk(root, onerror=_left_alone):  # does not follow links
        here = Path(folder)
        inner.sort()
        with _passing_over():
            if _is_comparison(here):
                inner.clear()
                yield from _of_comparison(here)
            elif LOCK_NAME in names and not (here / LOCK_NAME).is_symlink() and _is_run(here):
                inner[:] = [name for name in inner if name != CHECKPOINTS and not name.startswith(STAGED)]
                yield from _of_run(here)
            else:
                yield from _of_cache(here, sorted([*names, *inner]))


def _left_alone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        warn(f"left alone: {error.filename} may not be read ({error.strerror})")


@contextmanager
def _passing_over() -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, PermissionError) as error:
        _left_alone(error)


@contextmanager
def _held(run: Path) -> Iterator[bool]:
    """Hold a run's lock; False for a run that is in use, which is told, or that is gone by now."""
    try:
        lock = FolderLock(run)
    except (ConfigError, ResourceError) as error:
        warn(f"left alone: {error.problems[0]}")
        lock = None
    with lock or nullcontext():
        if lock is not None and not lock.stood:
            (run / LOCK_NAME).unlink(missing_ok=True)
            for made in (run, *lock.made):
                with suppress(OSError):
                    made.rmdir()  # only when empty
        yield lock is not None and lock.stood


def _is_run(folder: Path) -> bool:
    """Whether ``train`` made it: its configuration lies there, or nothing yet but the lock of a claim."""
    config = folder / CONFIG
    if config.is_file() and not config.is_symlink():
        with config.open("rb") as file:
            text = b"\n" + file.read(1 << 20)
        return all(section in text for section in SECTIONS)
    return all(name == LOCK_NAME or name.startswith(f"{STAGED}{CONFIG}-") for name in _names(folder)) and (
        (folder / LOCK_NAME).stat().st_size == 0)


def _is_comparison(folder: Path) -> bool:
    """Whether ``verify-resume`` or ``doctor`` made it."""
    return bool(COMPARED.fullmatch(folder.name)) and LOCK_NAME in (names := _names(folder)) and all(
        name == LOCK_NAME or TRIALS.fullmatch(name) for name in names)


def _names(folder: Path) -> set[str]:
    """What lies in a folder; nothing where it is a link or none."""
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() and not folder.is_symlink() else set()


def _came_to_nothing(run: Path) -> bool:
    mine = {name for name in _names(run) if not name.startswith(STAGED)}
    saves = run / CHECKPOINTS
    return (mine <= RUN_FILES and not saves.is_symlink() and not has_checkpoint(saves)
            and all(name.startswith(STAGED) for name in _names(saves)))


def _of_run(run: Path) -> list[Leftover]:
    with _held(run) as held:
        if not held:
            return []
        if _came_to_nothing(run):
            what = "the lock of a fetch that was stopped" if run.name.startswith(".fetch-") else (
                "a run that came to no checkpoint")
            return [Leftover(run, folder_size(run), what, run)]
        return [Leftover(folder / name, _size(folder / name),
                         "an old checkpoint half removed" if name.startswith(REMOVED) else "a write that was stopped",
                         run)
                for folder in (run, run / CHECKPOINTS) for name in sorted(_names(folder)) if name.startswith(STAGED)]


def _of_comparison(folder: Path) -> list[Leftover]:
    with ExitStack() as locks:  # its runs' too: they outlive a command that was killed alone
        for guarded in (folder, *(path.parent for path in folder.glob(f"*/{LOCK_NAME}"))):
            if not locks.enter_context(_held(guarded)):
                return []
        command = folder.name.removeprefix("llmtrain-").rpartition("-")[0]
        return [Leftover(folder, folder_size(folder), f"the runs of a {command} that was killed", folder)]


def _of_cache(folder: Path, names: list[str]) -> Iterator[Leftover]:
    before = time.time() - RESTED
    for path in (folder / name for name in names):
        with _passing_over():
            if _is_half_written(path) and os.lstat(path).st_mtime < before:
                yield Leftover(path, _size(path), "a cache half written")


def _is_half_written(path: Path) -> bool:
    room, name = path.parent.name, path.name
    if room == "bases" and (base := BASE.fullmatch(name)):
        return not (path.parent / f".fetch-{base['name']}").exists()  # else it is being fetched, or that lock was left
    return bool(PAIRS.fullmatch(name) or (room == "selected" and CHOICE.fullmatch(name))
                or (room == "features" and ROWS.fullmatch(name) and _is_arrow(path)))


def _is_arrow(path: Path) -> bool:
    """Whether a file is what ``datasets`` has begun to write, or is still empty."""
    if not stat.S_ISREG(os.lstat(path).st_mode) or stat.S_IMODE(os.lstat(path).st_mode) != 0o600:
        return False
    with path.open("rb") as file:
        return file.read(len(ARROW)) in (b"", ARROW)


def _size(path: Path) -> int:
    return folder_size(path) if path.is_dir() and not path.is_symlink() else os.lstat(path).st_size


def take_away(left: Leftover) -> bool:
    """Remove it; False where its run came into use meanwhile, or is gone.

    Raises:
        ResourceError, ConfigError: It cannot be removed.
    """
    if left.run is None:
        with writing(left.path):
            remove(left.path)
        return True
    with _held(left.run) as held, writing(left.path):
        if not held or (left.path == left.run and not _is_comparison(left.run) and not _came_to_nothing(left.run)):
            return False  # or it came to one after all
        try:
            remove(left.path)
        except OSError as error:
            if error.errno not in IN_USE:
                raise
            warn(f"left alone: {error.filename} is in use ({error.strerror})")  # another clean's lock, or a file open
            return False
    return True
