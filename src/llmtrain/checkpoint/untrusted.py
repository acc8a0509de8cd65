"""What a checkpoint must not be taken for: whoever can write its folder can write anything into it.

These are checks of what was read, before anything is done with it. That files are as they were saved: verify.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmtrain.core.errors import CheckpointError

FORBIDDEN_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".npy", ".npz", ".joblib", ".py", ".so")
HEADER_LIMIT = 32 << 20  # bytes of JSON; a model of 100,000 tensors needs less
_SHA256 = re.compile(r"[0-9a-f]{64}")


def unsafe_name(name: str) -> str | None:
    """Why a relative path must not stand in a manifest, or None."""
    if not name or name.startswith("/") or "\\" in name or "\0" in name or re.match(r"[A-Za-z]:", name):
        return "is no relative path"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "leaves its folder or is not in plain form"
    if name.lower().endswith(FORBIDDEN_SUFFIXES):
        return "is of a kind that can hold code"
    return None


def check_manifest(body: dict[str, Any], path: Path) -> None:
    """Raise CheckpointError where a manifest's entries have other types than ours, or name files that are unsafe."""
    kind, step, files, meta = (body.get(name) for name in ("kind", "step", "files", "meta"))
    whole = kind in ("step", "model") and isinstance(files, dict) and isinstance(meta, dict)
    if not whole or not (_is_count(step) if kind == "step" else step is None):
        raise CheckpointError(f"the manifest is malformed at {path}; use another checkpoint")
    assert isinstance(files, dict)
    if not all(map(_is_record, files.values())):
        raise CheckpointError(f"the manifest is malformed at {path}; use another checkpoint")
    if unsafe := [(name, reason) for name in files if (reason := unsafe_name(name))]:
        raise CheckpointError(f"the manifest names {name[:200]!r}, which {reason}, at {path}; do not use this "
                              "checkpoint" for name, reason in unsafe)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_record(record: object) -> bool:
    """Whether it is what a manifest says of one file."""
    if not isinstance(record, dict) or set(record) != {"sha256", "size"}:
        return False
    return isinstance(record["sha256"], str) and bool(_SHA256.fullmatch(record["sha256"])) and _is_count(record["size"])


def large_header(path: Path, size: int) -> str | None:
    """Why the header of a safetensors file must not be parsed, or None: its length is its first 8 bytes,
    little-endian."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(HEADER_LIMIT, size - 8):
        return f"safetensors header of {length} bytes at {path} is more than the file or the limit holds"
    return None


def record_problems(body: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a model's ``llmtrain.json``: types, or that it would have files opened that are not the
    model's."""
    config = body.get("config")
    if not _is_count(step := body.get("step")):
        yield f"step is {str(step)[:40]}, which is no number of steps,"
    if not _are_plugins(body.get("plugins", [])):
        yield "plugins is no list of names, digests and parts"
    model = config.get("model") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(model, dict) or not isinstance(model.get("path"), str):
        yield "no configuration of a training run"
    elif _opens_files(config.get("data")):
        yield "data.preprocess names a file to be read, where a run stores the words themselves,"


def _are_plugins(found: object) -> bool:
    """As ``plugins.records`` makes them."""
    return isinstance(found, list) and all(
        isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("sha256"), str | None)
        and isinstance(one.get("parts"), list) and all(isinstance(part, str) for part in one["parts"])
        for one in found)


def _opens_files(data: object) -> bool:
    """A run reads such a file once and stores what it held (``config.preprocess.settled``)."""
    steps = data.get("preprocess") if isinstance(data, dict) else None
    steps = steps if isinstance(steps, list) else [steps]
    return any(isinstance(step, dict) and step.get("file") is not None for step in steps)
