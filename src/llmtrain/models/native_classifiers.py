"""Classifiers published as transformers' own class of the base's kind: BertForSequenceClassification and its like.

Such a folder loads without llmtrain. It is possible where the head does exactly what that class does; what llmtrain
needs besides (the head's options, the labels' counts) stands in config.json, where transformers passes it by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from llmtrain.models.backbone.base_facts import Base
from llmtrain.models.backbone.untrusted import WEIGHTS
from llmtrain.models.heads.classifier.options import FIRST, LAST, ClassifierHeadConfig

OURS = ("head", "facts", "id2label", "label2id", "problem_type", "architectures", "dtype", "transformers_version")
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


@dataclass(frozen=True, slots=True)
class NativeHead:
    """The head of transformers' own class of one kind of base.

    Attributes:
        pooling: What it pools.
        output: Name of its last layer.
        hidden: Name of the layer before, as wide as the base; None: there is none.
        activation: Behind that layer.
        bias: Whether its last layer has one.
        dropout: Key of the configuration that says its dropout.
    """

    pooling: str
    output: str
    hidden: str | None = None
    activation: str = "tanh"
    bias: bool = True
    dropout: str | None = None

    def wanted(self) -> dict[str, Any]:
        """The options that a head of ours must have to be the same."""
        layer: dict[str, Any] = {"hidden": 0} if self.hidden is None else {
            "hidden": None, "activation": self.activation}
        return {"pooling": self.pooling} | layer | {"bias": self.bias}


_ROBERTA = NativeHead(FIRST, "classifier.out_proj", "classifier.dense", dropout="classifier_dropout")
_LLAMA = NativeHead(LAST, "score", bias=False)
NATIVE = {
    "bert": NativeHead(FIRST, "classifier", "bert.pooler.dense", dropout="classifier_dropout"),
    "roberta": _ROBERTA, "camembert": _ROBERTA, "xlm-roberta": _ROBERTA,
    "distilbert": NativeHead(FIRST, "classifier", "pre_classifier", "relu", dropout="seq_classif_dropout"),
    "gpt2": _LLAMA, "llama": _LLAMA, "mistral": _LLAMA, "qwen2": _LLAMA, "qwen3": _LLAMA, "gemma": _LLAMA,
}


def native_problems(opened: Base, head: ClassifierHeadConfig) -> Iterator[str]:
    """A line where no class of transformers' own is what this head on this base is."""
    base = opened.config
    native = NATIVE.get(base.model_type)
    if native is None or type(base) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        yield (f"task.native=true and transformers has no class that labels texts by a {base.model_type} base; leave "
               "it out, and load the folder with import llmtrain.hf")
        return
    if opened.family.offset and base.pad_token_id != opened.special.pad:
        yield (f"task.native=true and the base at {opened.path} counts its positions from the token "
               f"{base.pad_token_id}, where its tokenizer pads with {opened.special.pad}; leave task.native out")
    wanted = native.wanted()
    given = {name: getattr(head, name) for name in wanted}
    if given.get("hidden") == base.hidden_size:
        given["hidden"] = None
    if given != wanted:
        keys = " ".join(f"head.{name}={_typed(value)}" for name, value in wanted.items())
        yield (f"task.native=true publishes a {_kind(base).__name__}, whose head is another than this one; set {keys}, "
               "or leave task.native out")


def publish(model: Any, folder: Path, state: dict[str, Tensor]) -> None:
    """Write ``config.json`` and ``model.safetensors`` as transformers' own class of the base's kind reads them.

    Args:
        model: A classifier whose head fits that class.
        state: Its weights without adapters.
    """
    base, head, own = deepcopy(model.trunk.config), model.head.options, model.config
    kind, native = _kind(base), NATIVE[base.model_type]
    base.id2label, base.label2id = own.id2label, own.label2id
    base.problem_type, base.architectures, base.dtype = own.problem_type, [kind.__name__], torch.float32
    base.head, base.facts = asdict(head), own.facts
    for name in SPECIAL:
        setattr(base, name, getattr(own, name))
    if native.dropout is not None:
        setattr(base, native.dropout, head.dropout)
    base.save_pretrained(folder)
    names = _names(base)
    weights = {_replaced(name, names): value for name, value in state.items()}
    save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, folder / WEIGHTS,
              metadata={"format": "pt"})


def own_config(kind: type, stored: Any) -> Any:
    """The configuration of our own class behind that of a folder published so."""
    plain = {name: value for name, value in stored.to_diff_dict().items() if name not in OURS}
    return kind(base=plain | {"model_type": stored.model_type}, head=stored.head, facts=stored.facts,
                vocab_size=stored.vocab_size, hidden_size=stored.hidden_size,
                **{name: getattr(stored, name, None) for name in SPECIAL})


def renamings(base: Any) -> dict[str, str]:
    """What to put for the beginnings of its weights' names, as patterns, the longest first."""
    return {f"^{re.escape(theirs)}": ours for ours, theirs in _names(base)}


def renamed(base: Any, stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of such a folder under our own names."""
    names = [(theirs, ours) for ours, theirs in _names(base)]
    return {_replaced(name, names): value for name, value in stored.items()}


def _kind(base: Any) -> Any:
    return MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(base)]


def _names(base: Any) -> list[tuple[str, str]]:
    """(beginning of our names, of theirs): the head's before the trunk's, which may be the shorter ones."""
    native = NATIVE[base.model_type]
    hidden = [] if native.hidden is None else [("head.hidden.", f"{native.hidden}.")]
    return [*hidden, ("head.output.", f"{native.output}."), ("trunk.", f"{_kind(base).base_model_prefix}.")]


def _replaced(name: str, names: list[tuple[str, str]]) -> str:
    for before, after in names:
        if name.startswith(before):
            return after + name.removeprefix(before)
    return name


def _typed(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
