"""Is a checkpoint folder whole, and nothing but what was saved?"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from llmtrain.checkpoint.manifest import MANIFEST, FileRecord, Manifest, list_files, read, record_of
from llmtrain.checkpoint.untrusted import large_header
from llmtrain.core.errors import CheckpointError
from llmtrain.core.git_lfs import is_lfs_pointer, pointer_problem

_ADVICE = "use another checkpoint or restore this one"


def verify(folder: Path | str) -> Manifest:
    """Check every file of a step folder, or of a ``model/`` folder by its own manifest; returns the manifest.

    Raises:
        CheckpointError: One line for each missing, changed, unknown, linked or unsafe file.
    """
    folder = Path(folder)
    manifest = read(folder)
    try:
        names, problems = list_files(folder)
    except OSError as error:
        raise CheckpointError(f"unreadable folder at {error.filename} ({error.strerror}); {_ADVICE}") from error
    found = {name for name in names if not (manifest.kind == "model" and _of_download(name))} - {MANIFEST}
    problems += [f"unknown file at {folder / name}; remove it, the checkpoint does not have it"
                 for name in sorted(found - set(manifest.files))]
    problems += check_files(folder, manifest.files, manifest.files)
    if manifest.kind == "step" and f"model/{MANIFEST}" not in manifest.files:
        problems.append(f"no model in the checkpoint at {folder}; {_ADVICE}")
    if problems:
        raise CheckpointError(problems)
    return manifest


def _of_download(name: str) -> bool:
    """Whether the hub's own tools put it beside the files of a repository that they bring; nothing here opens it."""
    return name == ".gitattributes" or name.startswith(".cache/huggingface/")


def check_files(folder: Path, records: dict[str, FileRecord], names: Iterable[str]) -> list[str]:
    """One line for each of the named files that is not what its record says."""
    return [problem for name in names if (problem := _check(folder, name, records[name])) is not None]


def _check(folder: Path, name: str, record: FileRecord) -> str | None:
    path = folder / name
    if path.is_symlink() or any((folder / parent).is_symlink() for parent in Path(name).parents):
        return f"a symbolic link on the way to {path}; {_ADVICE}"
    if not path.is_file():
        return f"missing file at {path}; {_ADVICE}"
    size = path.stat().st_size
    if size != record.size and is_lfs_pointer(path):
        return pointer_problem(path)
    if size != record.size:
        return f"damaged file at {path}: {size} bytes instead of {record.size}; {_ADVICE}"
    try:
        if record_of(path) != record:
            return f"damaged file at {path}: its sha256 is not the one saved; {_ADVICE}"
        large = large_header(path, size) if name.endswith(".safetensors") else None
        return None if large is None else f"{large}; {_ADVICE}"
    except OSError as error:
        return f"unreadable file at {path} ({error.strerror}); {_ADVICE}"
