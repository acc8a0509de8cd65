"""What differs between the kinds of base model, in one table.

A kind is transformers' ``model_type``. Everything else in llmtrain asks here and knows no kind by name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from llmtrain.core.errors import CheckpointError, ConfigError, shorten
from llmtrain.models.backbone.untrusted import weight_files


@dataclass(frozen=True, slots=True)
class Family:
    """Facts of one kind of base.

    Attributes:
        layers: Attribute path from the trunk to its layers, lowest first.
        embeddings: Attribute paths to what ``model.freeze=N`` holds still with the N lowest layers.
        dropout: Configuration keys that ``model.dropout`` sets; none for a kind without dropout.
        attention_dropout: The key that ``model.attention_dropout`` sets.
        ffn: Key of the feed-forward layer's width (where it is null: four times the base's).
        positions: Attribute path to the table of learned positions; None where they are rotary.
        causal: A token's state depends on the tokens up to it alone: a decoder, GPT-style.
        offset: Real positions start behind the padding row of the position table.
        arguments: Of the constructor, to leave out what nothing here reads.
        mlm_head: Names of dense layer, norm and bias of the pretrained masked-LM head.
    """

    layers: str
    embeddings: tuple[str, ...]
    dropout: tuple[str, ...]
    attention_dropout: str
    ffn: str = "intermediate_size"
    positions: str | None = "embeddings.position_embeddings"
    causal: bool = False
    offset: bool = False
    arguments: dict[str, Any] = field(default_factory=dict)
    mlm_head: tuple[str, str, str] | None = None


def _bert(mlm_head: tuple[str, str, str], offset: bool = False) -> Family:
    return Family("encoder.layer", ("embeddings",), ("hidden_dropout_prob",), "attention_probs_dropout_prob",
                  offset=offset, arguments={"add_pooling_layer": False}, mlm_head=mlm_head)


_ROBERTA = _bert(("lm_head.dense", "lm_head.layer_norm", "lm_head"), offset=True)
_LLAMA = Family("layers", ("embed_tokens",), (), "attention_dropout", positions=None, causal=True)
FAMILIES = {
    "bert": _bert(("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions")),
    "roberta": _ROBERTA, "camembert": _ROBERTA, "xlm-roberta": _ROBERTA,
    "distilbert": Family("transformer.layer", ("embeddings",), ("dropout",), "attention_dropout", ffn="hidden_dim",
                         mlm_head=("vocab_transform", "vocab_layer_norm", "vocab_projector")),
    "gpt2": Family("h", ("wte", "wpe"), ("resid_pdrop", "embd_pdrop"), "attn_pdrop", ffn="n_inner", positions="wpe",
                   causal=True),
    "llama": _LLAMA, "mistral": _LLAMA, "qwen2": _LLAMA, "qwen3": _LLAMA, "gemma": _LLAMA,
}


def family_of(base: Any) -> Family:
    """The family of a base's configuration. Raises ConfigError for a kind that is not in the table."""
    if base.model_type not in FAMILIES:
        raise ConfigError(f"a base of kind {base.model_type!r} is not supported; use one of {', '.join(FAMILIES)}")
    return FAMILIES[base.model_type]


def first_position(base: Any) -> int:
    """Row of the first real position embedding: RoBERTa's start behind its padding row."""
    return int(base.pad_token_id) + 1 if family_of(base).offset else 0


def positions(base: Any) -> int:
    """The longest document that the base can read, in tokens."""
    return int(base.max_position_embeddings) - first_position(base)


def ffn_width(base: Any) -> int:
    """Width of the base's feed-forward layers."""
    return int(getattr(base, family_of(base).ffn) or 4 * base.hidden_size)


def set_dropout(base: Any, hidden: float | None, attention: float) -> None:
    """Set the base's dropout rates; None leaves its own. Raises ConfigError for one that it does not have."""
    family = family_of(base)
    if hidden and not family.dropout:
        raise ConfigError(f"model.dropout={hidden:g}, but a {base.model_type} base has no dropout between its layers; "
                          "use model.dropout=0, and model.attention_dropout or head.dropout")
    for name in family.dropout if hidden is not None else ():
        setattr(base, name, hidden)
    setattr(base, family.attention_dropout, attention)


def check_sizes(base: Any, path: str) -> None:
    """Raise ConfigError for sizes in a base's config.json that no model can have."""
    sizes = {name: getattr(base, name, None) for name in
             ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")}
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ConfigError(f"{name} is {str(size)[:40]} in {path}/config.json and must be a number of 1 or more; "
                              "restore the base's own file")
    if base.hidden_size % base.num_attention_heads and getattr(base, "head_dim", None) is None:
        raise ConfigError(f"hidden_size {base.hidden_size} is no multiple of num_attention_heads "
                          f"{base.num_attention_heads} in {path}/config.json; restore the base's own file")
    padding = getattr(base, "pad_token_id", None)
    if family_of(base).offset and (not isinstance(padding, int) or not 0 <= padding < base.vocab_size):
        raise ConfigError(f"pad_token_id is {str(padding)[:40]} in {path}/config.json and a {base.model_type} base "
                          "counts its positions from there; restore the base's own file")


def check_weights(base: Any, folder: Path) -> None:
    """Raise ConfigError where a configuration asks for far more than the weights beside it have: it would be built."""
    stored = sum(path.stat().st_size for path in weight_files(folder))
    family, width = family_of(base), int(base.hidden_size)
    rows = int(base.vocab_size) + (int(base.max_position_embeddings) if family.positions else 0)
    try:
        inner = ffn_width(base)
    except (TypeError, ValueError):  # the loader will tell
        inner = 0
    least = width * (rows + int(base.num_hidden_layers) * (width + inner))  # of each there is more
    if stored and least > stored:  # a number takes a byte or more
        raise ConfigError(f"{folder}/config.json describes a model of more than {least:,} numbers, and its weights "
                          f"have {stored:,} bytes; restore the base's own files")


def plain_forward(base: Any) -> None:
    """Set what we rely on and a config.json may have otherwise: outputs with names, and layers in one piece."""
    base.return_dict, base.chunk_size_feed_forward = True, 0


def _at(trunk: Any, path: str) -> Any:
    return reduce(getattr, path.split("."), trunk)


def layers(trunk: Any) -> list[nn.Module]:
    """The trunk's layers, lowest first."""
    return list(_at(trunk, family_of(trunk.config).layers))


def embeddings(trunk: Any) -> list[nn.Module]:
    """The trunk's embedding modules: tokens, and positions where they are learnt."""
    return [_at(trunk, path) for path in family_of(trunk.config).embeddings]


def observed_layer(trunk: Any) -> nn.Module:
    """A layer inside the trunk whose output shows the format that it really computes in."""
    return next(m for m in reversed(list(layers(trunk)[0].modules())) if isinstance(m, nn.Linear | Conv1D))


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
    return [p for module in (*embeddings(trunk), *available[:count]) for p in module.parameters()]


def pretrained_mlm_head(folder: Path | str | None) -> dict[str, Tensor] | None:
    """The masked-LM head in a base's folder as ``{dense.weight, dense.bias, norm.weight, norm.bias, bias}``, or None.

    AutoModel drops this head, which a masked-LM term should go on from where it exists.
    """
    family = _family_in(folder)
    if family is None or family.mlm_head is None:
        return None
    return _stored(folder, mlm_head_names(family))


def mlm_head_names(family: Family) -> dict[str, tuple[str, ...]]:
    """What each part of the masked-LM head may be called in a base's file, the usual name first."""
    assert family.mlm_head is not None
    dense, norm, bias = family.mlm_head
    # the oldest checkpoints, google-bert's among them, call a norm's weight and bias gamma and beta
    return {"dense.weight": (f"{dense}.weight",), "dense.bias": (f"{dense}.bias",),
            "norm.weight": (f"{norm}.weight", f"{norm}.gamma"), "norm.bias": (f"{norm}.bias", f"{norm}.beta"),
            "bias": (f"{bias}.bias", f"{bias}.decoder.bias")}


def pretrained_lm_head(folder: Path | str | None) -> Tensor | None:
    """(V, D) output embedding of a decoder whose own is not its input embedding; None where it is, or for an encoder.

    AutoModel drops this one too.
    """
    family = _family_in(folder)
    if folder is None or family is None or not family.causal:
        return None
    from transformers import AutoConfig

    if AutoConfig.from_pretrained(folder, trust_remote_code=False).tie_word_embeddings:
        return None
    found = _stored(folder, {"weight": ("lm_head.weight",)})
    return None if found is None else found["weight"]


def _family_in(folder: Path | str | None) -> Family | None:
    if folder is None or not (Path(folder) / "config.json").is_file():
        return None
    return FAMILIES.get(json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")).get("model_type"))


def _stored(folder: Path | str | None, wanted: dict[str, tuple[str, ...]]) -> dict[str, Tensor] | None:
    """Tensors of a folder in fp32, each under the first of its names that is there; None unless all are.

    Raises:
        CheckpointError: A file of weights is none.
    """
    from safetensors import SafetensorError, safe_open

    if folder is None:
        return None
    found: dict[str, Tensor] = {}
    for path in weight_files(Path(folder)):  # large bases come in several files
        try:
            with safe_open(str(path), "pt") as file:
                stored = set(file.keys())
                for name, choices in wanted.items():
                    if (choice := next((c for c in choices if c in stored), None)) is not None:
                        found[name] = file.get_tensor(choice).float()
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"no safetensors at {path} ({shorten(str(error), 150)}); restore the "
                                  "model's own") from error
    return found if found.keys() == wanted.keys() else None
