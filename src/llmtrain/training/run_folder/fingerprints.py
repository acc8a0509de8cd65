"""Fingerprints of what lies at a configuration's paths: a run is told from another by them, not by the paths."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from llmtrain.checkpoint import locate_model
from llmtrain.checkpoint.locate import digest_of, read_pointer, step_folders
from llmtrain.checkpoint.manifest import MANIFEST, record_of
from llmtrain.config.choices import LongMode, SplitName
from llmtrain.config.members import members_of
from llmtrain.config.run_id import member_key
from llmtrain.config.schema import EvaluateConfig, TrainConfig
from llmtrain.config.sections.data import DataConfig
from llmtrain.config.sections.task import asks_without_model
from llmtrain.core.errors import CheckpointError, ConfigError, LlmtrainError
from llmtrain.core.paths import given_path
from llmtrain.data.sources.hub_folder import METADATA
from llmtrain.data.sources.own_files import paths_of
from llmtrain.data.sources.readers import SUFFIXES, kind_of, read_bytes
from llmtrain.models.backbone.size_limits import FILES
from llmtrain.models.backbone.untrusted import check_folder, weight_files

NOT_READ = ("generation_config.json", "chat_template.jinja", "chat_template.json")  # of a base
Read = Callable[[], str | None]


def fingerprints_of(config: TrainConfig) -> tuple[dict[str, str], list[LlmtrainError]]:
    """The fingerprint of each path that the run reads, by its key, and why there is none of some.

    A name (``package:...``, ``fetched:...``, one of the hub) stands for itself and has none.
    """
    return _read(_readers(config))


def fingerprints_of_scored(config: EvaluateConfig) -> dict[str, str]:
    """The fingerprint of each path that scoring has read, by its key; a dataset of the hub has its name.

    Scoring reads a split's own file, or train where it is split off, and as much for the baselines' settings.
    """
    data, split = config.data, config.eval.split
    if data.name == "hub" and data.hub.name is not None:
        name = data.hub.name
        return _read([("data.hub.name", lambda: _of_hub_folder(name) or name)])[0]
    if data.name != "files":
        return {}
    splits = {split.value} | ({SplitName.validation.value}
                              if config.eval.baselines and not asks_without_model(config) else set())
    keys = sorted({name if getattr(data, name) is not None else "train" for name in splits})
    return _read((f"data.{name}", partial(_of_files, getattr(data, name), f"data.{name}", data.folder))
                 for name in keys if getattr(data, name) is not None)[0]


def _read(readers: Iterable[tuple[str, Read]]) -> tuple[dict[str, str], list[LlmtrainError]]:
    found: dict[str, str] = {}
    failed: list[LlmtrainError] = []
    for key, read in readers:
        try:
            fingerprint = read()
        except LlmtrainError as error:
            failed.append(error)
        except OSError as error:
            failed.append(ConfigError(f"cannot read at {error.filename} ({error.strerror}); check {key}"))
        else:
            found |= {} if fingerprint is None else {key: fingerprint}
    return found, failed


def _readers(config: TrainConfig) -> Iterator[tuple[str, Read]]:
    """(key, what makes its fingerprint) of each path in use."""
    model = config.model
    for member in members_of(config):
        for key, read in _readers_of_data(member.config.data):
            yield member_key(member.name, key) if member.name else key, read
    yield "model.path", partial(_of_base, model.path)
    if model.init_from is not None:
        yield "model.init_from", partial(_of_model, model.init_from)
    if config.run.extend_from is not None:
        yield "run.extend_from", partial(_of_checkpoint, config.run.extend_from)


def _readers_of_data(data: DataConfig) -> Iterator[tuple[str, Read]]:
    files = ("train", "validation", "test", "unlabelled") if data.name == "files" else ("unlabelled",)
    for name in files:
        if (value := getattr(data, name)) is not None:
            yield f"data.{name}", partial(_of_files, value, f"data.{name}", data.folder)
    if data.name == "hub" and data.hub.name is not None:
        yield "data.hub.name", partial(_of_hub_folder, data.hub.name)
    if data.long is LongMode.select_then_write and data.selector is not None:
        yield "data.selector", partial(_of_model, data.selector)
    for key, folder in data.folders().items():
        yield key, partial(_of_tokenizer, folder, key)


def _joined(digests: Any) -> str:
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _of_files(value: Any, key: str, folder: str | None) -> str:
    """Of data files, in their order: their bytes as they are unpacked."""
    digests = [hashlib.sha256(read_bytes(path)).hexdigest() for path in paths_of(value, key, folder)]
    return digests[0] if len(digests) == 1 else _joined(digests)


def _of_hub_folder(name: str) -> str | None:
    """Of a local dataset: every file that may hold rows or say where they are, by its place in the folder."""
    folder = given_path(name, "data.hub.name")
    if not folder.is_dir():
        return None
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()
             and (path.name in (*METADATA, "dataset_infos.json") or kind_of(path)[0] in (*SUFFIXES, ".arrow"))]
    return _joined([[path.relative_to(folder).as_posix(), record_of(path).sha256] for path in files])


def _of_base(path: str) -> str | None:
    """Of a base's folder: its configuration, weights and tokenizer; what else lies there is not read."""
    folder = Path(path)
    if not folder.is_dir():
        return None
    check_folder(folder)
    names = {name for name in FILES if name not in NOT_READ and (folder / name).is_file()}
    names |= {file.name for file in weight_files(folder)}
    return _joined([[name, record_of(folder / name).sha256] for name in sorted(names)])


def _of_tokenizer(path: str, key: str) -> str | None:
    """Of a folder with a tokenizer: the files that it may be made of, and the configuration that names its class."""
    folder = given_path(path, key)
    names = [name for name in sorted(FILES) if name not in NOT_READ and (folder / name).is_file()]
    return _joined([[name, record_of(folder / name).sha256] for name in names]) if names else None


def _of_model(path: str) -> str:
    """Of a published model: of the manifest that holds the sha256 of each of its files."""
    return digest_of(locate_model(path))


def _of_checkpoint(path: str) -> str:
    """Of a checkpoint: of its manifest; of a run folder, the last one's."""
    source = Path(path)
    if (source / MANIFEST).is_file():
        return digest_of(source)
    checkpoints = source / "checkpoints" if (source / "checkpoints").is_dir() else source
    if (checkpoints / "last").is_file():
        return digest_of(read_pointer(checkpoints / "last")[1])
    for _, folder in step_folders(checkpoints):
        return digest_of(folder)
    raise CheckpointError(f"no checkpoint to extend at {source}; name a run folder or a step folder")
