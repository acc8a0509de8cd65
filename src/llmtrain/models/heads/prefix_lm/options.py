"""Options of the prefix language model (no torch here)."""

from __future__ import annotations

from dataclasses import dataclass

from llmtrain.config.keys import SPEED, key
from llmtrain.registry import register


@dataclass(kw_only=True, slots=True)
class PrefixLmHeadConfig:
    """Options of the head by which the base itself writes."""

    name: str = key("prefix_lm", "registered name of the head")
    prompt: str | None = key(None, "text between document and target; default: 'TL;DR:' on a line of its own for a "
                                   "decoder (Radford et al. 2019), nothing for an encoder, whose document has an end; "
                                   "control tokens that it names (<|im_end|>) are read as such, unlike those in a "
                                   "document")
    mlm_transform: bool | None = key(None, "write through the transform of the base's masked-LM head; default: where "
                                           "the base's folder has one")
    copy_gate: bool = key(False, "mix the vocabulary with a pointer over source tokens: the one part that is new")
    label_smoothing: float = key(0.0, "label smoothing of the target's cross-entropy", "probability", min=0, max=1)
    chunk_tokens: int = key(4096, "target tokens whose vocabulary logits exist at once", "tokens", affects=SPEED,
                            min=1)


register("head", "prefix_lm", PrefixLmHeadConfig, "llmtrain.models.heads.prefix_lm.head:PrefixLmHead",
         "the base itself writes behind the document it has read (UniLM's mask on an encoder)", writes=True,
         architecture="prefix_lm", windows=False)
