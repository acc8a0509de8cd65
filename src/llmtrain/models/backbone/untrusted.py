"""What a model's folder must not make transformers do: read outside of it, unpickle, or fetch code.

transformers follows an index to any path and to pickles, loads an adapter's base from wherever its configuration says,
and a quantisation or attention kernel from packages and the hub. Such folders are refused before they are loaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from llmtrain.core.errors import CheckpointError, ConfigError, shorten
from llmtrain.core.git_lfs import is_lfs_pointer, pointer_problem
from llmtrain.models.backbone.size_limits import (
    CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    growing_tokenizer,
    large_files,
    large_numbers,
)

INDEX_LIMIT = 8 << 20  # bytes
MOST_ENTRIES = 10_000  # of a folder that are looked at for links
WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
STORED = "llmtrain.json"
CONVERT = ('python -c "import glob, torch; from safetensors.torch import save_file as s; s({k: v.contiguous().clone() '
           "for f in glob.glob('pytorch_model*.bin') for k, v in torch.load(f, weights_only=True).items()}, "
           "'model.safetensors', {'format': 'pt'})\"")
ADAPTER = "adapter_config.json"
TELLING = (CONFIG, TOKENIZER_CONFIG, TOKENIZER, INDEX, ADAPTER)  # that tell what a loader would follow


def check_folder(folder: Path) -> None:
    """Raise ConfigError with one line for each thing in a local base's folder that is not followed, or for what it is
    instead of a base."""
    if problems := (list(_no_base(folder)) or followed(folder)):
        raise ConfigError(problems)


@cache  # a start asks for the base several times
def check_snapshot(name: str, revision: str | None) -> None:
    """Check what the hub has under a name as a folder is checked, before its weights are fetched.

    Raises:
        ConfigError: It would have transformers read elsewhere.
    """
    from transformers.utils import cached_file

    found: list[str | None] = []
    with suppress(OSError):  # loading will tell why it cannot be had
        found = [cached_file(name, file, revision=revision, _raise_exceptions_for_missing_entries=False,
                             _raise_exceptions_for_connection_errors=False, _raise_exceptions_for_gated_repo=False)
                 for file in TELLING]
    for folder in {Path(file).parent for file in found if file is not None}:
        check_folder(folder)


def _no_base(folder: Path) -> Iterator[str]:
    """What a folder holds that people take for a base: a trained model of ours, or weights in another format."""
    if not (folder / CONFIG).exists() and any((folder / name).exists() for name in ("checkpoints", f"model/{STORED}")):
        yield (f"{folder} is a run of llmtrain and no base; give model.init_from={folder} to start from its weights, "
               "and as model.path the base that it was trained on")
        return
    config, _ = _read(folder / CONFIG)
    kind = config.get("model_type") if isinstance(config, dict) else None
    if isinstance(kind, str) and kind.startswith("llmtrain_"):
        yield (f"{folder} is a trained model and no base; give model.init_from={folder} to start from its "
               "weights, and as model.path the base that it was trained on")
    elif not (folder / WEIGHTS).exists() and not (folder / INDEX).exists() and any(folder.glob("pytorch_model*.bin")):
        yield (f"pickled weights alone at {shorten(str(folder), 80)}, which are never opened here; run there: "
               f"{CONVERT}")


def check_published(folder: Path) -> None:
    """Raise CheckpointError where a checkpoint's model has anything but weights of its own, in one file."""
    problems = followed(folder)
    if not (folder / WEIGHTS).is_file():
        problems.append(f"no weights at {folder / WEIGHTS}; use another checkpoint or restore this one")
    if problems:
        raise CheckpointError(problems)


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a model's weights, as transformers chooses them; what else lies there is not opened.

    A pipe in the place of one would never end, so that only regular files count.
    """
    if (folder / WEIGHTS).exists():
        names = [WEIGHTS]
    else:
        index, _ = _read(folder / INDEX)
        shards = index.get("weight_map") if isinstance(index, dict) else None
        names = sorted({str(shard) for shard in shards.values()}) if isinstance(shards, dict) else []
    return [folder / name for name in names if (folder / name).is_file()]


def followed(folder: Path) -> list[str]:
    """One line for each thing that a loader would follow, or never come to the end of."""
    problems = [*_links(folder), *large_files(folder)]
    if not problems and (pointers := [path for path in sorted(folder.iterdir()) if is_lfs_pointer(path)]):
        return [pointer_problem(path) for path in pointers]
    problems += [*_indexes(folder), *_extras(folder)]
    growing = growing_tokenizer(folder) if not problems else None
    return [*problems, *([growing] if growing is not None else [])]


def _read(path: Path) -> tuple[Any, str | None]:
    """(content, problem) of a JSON file; (None, None) where it is none, which the loader itself will tell."""
    try:
        if not path.is_file():
            return None, None
        if path.stat().st_size > INDEX_LIMIT:  # the loader would read it unseen
            return None, f"{path} is larger than {INDEX_LIMIT:,} bytes; restore the model's own file"
        return json.loads(path.read_text(encoding="utf-8")), None
    except (OSError, ValueError, RecursionError):
        return None, None


def _links(folder: Path) -> Iterator[str]:
    """Whatever a link names would end up as a vocabulary in every checkpoint, and reading a pipe would never end;
    weights are weights or nothing.

    The hub's own cache links its snapshots to blobs beside them.
    """
    home = Path(os.path.realpath(folder))
    allowed = [home, *([home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [])]
    count = 0
    for root, folders, files in os.walk(home):  # chat templates lie in a folder of their own
        folders[:] = sorted(name for name in folders if not name.startswith("."))  # nothing is loaded from .git
        for path in (Path(root) / name for name in sorted([*folders, *files])):
            count += 1
            if path.suffix == ".safetensors" and path.parent == home:
                continue
            if not path.is_symlink():
                if not path.is_file() and not path.is_dir():
                    yield f"{folder / path.relative_to(home)} is neither a file nor a folder; remove it"
            elif not any(Path(os.path.realpath(path)).is_relative_to(inside) for inside in allowed):
                yield (f"{folder / path.relative_to(home)} is a link out of the base's folder; put the file itself "
                       "there")
        if count > MOST_ENTRIES:
            yield f"more than {MOST_ENTRIES:,} files at {folder}; put the model into a folder of its own"
            return


def _indexes(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.safetensors.index.json")):
        index, problem = _read(path)
        if problem is not None:
            yield problem
        elif index is not None:
            yield from _shards(path, index)


def _shards(path: Path, index: Any) -> Iterator[str]:
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict):
        yield f"no weight_map at {path}; restore the model's own file"
        return
    for name in sorted({str(shard) for shard in shards.values()}):
        if Path(name).name != name or not name.endswith(".safetensors"):
            yield (f"{path} names the weights {name[:80]!r}, which is no safetensors file beside it; use a model whose "
                   "weights lie in its own folder")


def _extras(folder: Path) -> Iterator[str]:
    if (folder / ADAPTER).exists():
        yield (f"{folder} holds an adapter ({ADAPTER}), which names a base of its own; merge it and name the "
               "merged model's folder")
    told, _ = _read(folder / TOKENIZER_CONFIG)
    config, _ = _read(folder / CONFIG)
    for name, body, key in ((TOKENIZER_CONFIG, told, "fast_tokenizer_files"), (CONFIG, config, "configuration_files")):
        if isinstance(body, dict) and body.get(key):
            yield (f"{name} at {folder} names other files to be read instead ({key}); take that out, and give the one "
                   "file its usual name")
    if not isinstance(config, dict):
        return
    yield from large_numbers(folder / CONFIG, config)
    if config.get("quantization_config") is not None:
        yield (f"the model at {folder} is quantised (quantization_config in config.json); use one with plain weights "
               "in fp32, fp16 or bf16")
    if config.get("transformers_weights") is not None:
        yield (f"config.json at {folder} says where else its weights are (transformers_weights); name them "
               f"{WEIGHTS}, and take that out")
