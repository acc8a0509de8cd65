"""The manifest: what a checkpoint folder holds, down to each file's sha256, with a digest of its own.

The digest guards against damage, not against forgery: whoever can write the folder can write the manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmtrain.checkpoint.untrusted import check_manifest, unsafe_name
from llmtrain.core.errors import CheckpointError
from llmtrain.core.files import dump_json, read_json

MANIFEST = "manifest.json"
FORMAT = "llmtrain-checkpoint"
VERSION = 1
JSON_LIMIT = 8 << 20  # bytes: parsed, JSON of the worst kind takes thirty times as much


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file's content: hexadecimal sha256 and size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """``kind`` is "step" (with its ``step``) or "model"; ``files`` maps POSIX paths; ``meta`` is the saver's."""

    kind: str
    step: int | None
    files: dict[str, FileRecord]
    meta: dict[str, Any]


def record_of(path: Path) -> FileRecord:
    """Hash a file in chunks."""
    with path.open("rb") as file:
        return FileRecord(hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size)


def list_files(folder: Path) -> tuple[list[str], list[str]]:
    """All regular files below ``folder`` as sorted relative paths, and one problem for each other thing."""
    files: list[str] = []
    problems: list[str] = []
    pending = [""]
    while pending:
        below = pending.pop()
        with os.scandir(folder / below) as entries:
            for entry in entries:
                name = below + entry.name
                if entry.is_dir(follow_symlinks=False):
                    pending.append(name + "/")
                elif entry.is_file(follow_symlinks=False):
                    files.append(name)
                else:
                    kind = "a symbolic link" if entry.is_symlink() else "neither a file nor a folder"
                    problems.append(f"{kind} at {folder / name}; remove it, or restore the file itself")
    return sorted(files), sorted(problems)


def build(folder: Path, kind: str, step: int | None, meta: dict[str, Any],
          known: dict[str, FileRecord] | None = None) -> Manifest:
    """Record every file below ``folder``; those in ``known`` were hashed already.

    Raises:
        CheckpointError: A file has no place in a checkpoint (a link, a pickle).
    """
    known = known or {}
    names, problems = list_files(folder)
    problems += [f"{folder / name} {reason}; a checkpoint does not take it" for name in names
                 if (reason := unsafe_name(name))]
    if problems:
        raise CheckpointError(problems)
    files = {name: known.get(name) or record_of(folder / name) for name in names if name != MANIFEST}
    return Manifest(kind, step, files, meta)


def _digest(body: dict[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def to_text(manifest: Manifest) -> str:
    """The manifest file's content."""
    body = {"format": FORMAT, "version": VERSION, "kind": manifest.kind, "step": manifest.step,
            "files": {name: asdict(record) for name, record in manifest.files.items()}, "meta": manifest.meta}
    return dump_json(body | {"digest": _digest(body)})


def read(folder: Path) -> Manifest:
    """Read and check the manifest of ``folder``, not the files it names.

    Raises:
        CheckpointError: It is missing, damaged, of a later format, or names an unsafe path.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise CheckpointError(f"no checkpoint folder at {folder}; name a run, step or model folder that exists")
    if not path.exists() and not path.is_symlink():
        raise CheckpointError(f"no {MANIFEST} at {folder}; it is not a complete llmtrain checkpoint, use another one")
    if path.is_symlink():
        raise CheckpointError(f"a symbolic link at {path}; restore the file itself")
    body = read_json(path, JSON_LIMIT)
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise CheckpointError(f"no llmtrain manifest at {path}; use another checkpoint")
    if body.get("version") != VERSION:
        raise CheckpointError(f"checkpoint format version {str(body.get('version'))[:20]} at {path}, this llmtrain "
                              f"reads {VERSION}; use the llmtrain that wrote it")
    digest = body.pop("digest", None)
    if digest != _digest(body):
        raise CheckpointError(f"the manifest does not match its own digest at {path}; it was changed or damaged, "
                              "use another checkpoint")
    check_manifest(body, path)
    files = {name: FileRecord(**record) for name, record in body["files"].items()}
    return Manifest(body["kind"], body["step"], files, body["meta"])
