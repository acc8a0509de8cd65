"""What a base's folder must not make transformers do: read outside of it, unpickle, or fetch code.

transformers follows an index to any path and to pickles, loads an adapter's base from wherever its configuration says,
and a quantisation or attention kernel from packages and the hub. Such folders are refused before they are loaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmtrain.errors import ConfigError

CONFIG_LIMIT = 8 << 20  # bytes


def check_folder(folder: Path) -> None:
    """Raise ConfigError with one line for each thing in a local base's folder that is not followed."""
    if problems := [*_links(folder), *_index(folder), *_extras(folder)]:
        raise ConfigError(problems)


def _read(path: Path) -> Any:
    """A small regular JSON file; None where it is none, which the loader itself will tell."""
    try:
        if not path.is_file() or path.stat().st_size > CONFIG_LIMIT:
            return None
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _links(folder: Path) -> Iterator[str]:
    """Whatever a link names would end up as a vocabulary in every checkpoint; weights are weights or nothing.

    The hub's own cache links its snapshots to blobs beside them.
    """
    home = Path(os.path.realpath(folder))
    allowed = [home, *([home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [])]
    try:
        links = sorted(path for path in home.iterdir() if path.is_symlink() and path.suffix != ".safetensors")
    except OSError:  # the loader will tell
        return
    for path in links:
        if not any(Path(os.path.realpath(path)).is_relative_to(inside) for inside in allowed):
            yield f"{folder / path.name} is a link out of the base's folder; put the file itself there"


def _index(folder: Path) -> Iterator[str]:
    path = folder / "model.safetensors.index.json"
    index = _read(path)
    if index is None:
        return
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict):
        yield f"no weight_map at {path}; restore the base's own file"
        return
    for name in sorted({str(shard) for shard in shards.values()}):
        if Path(name).name != name or not name.endswith(".safetensors"):
            yield (f"{path} names the weights {name[:80]!r}, which is no safetensors file beside it; use a base whose "
                   "weights lie in its own folder")


def _extras(folder: Path) -> Iterator[str]:
    if (folder / "adapter_config.json").exists():
        yield (f"{folder} holds an adapter (adapter_config.json), which names a base of its own; merge it and name the "
               "merged model's folder")
    config = _read(folder / "config.json")
    if isinstance(config, dict) and config.get("quantization_config") is not None:
        yield (f"the base at {folder} is quantised (quantization_config in config.json); use one with plain weights in "
               "fp32, fp16 or bf16")
