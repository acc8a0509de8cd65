"""Options of the prefix language model (no torch here)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llmtrain.config.keys import SPEED, key
from llmtrain.registry import register


@dataclass(kw_only=True, slots=True)
class PrefixLmHeadConfig:
    name: str = key("prefix_lm", "registered name of the head")
    prompt: str | None = key(None, "text between document and summary; default: 'TL;DR:' on a line of its own for a "
                                   "decoder (Radford et al. 2019), nothing for an encoder, whose document has an end; "
                                   "control tokens that it names (<|im_end|>) are read as such, unlike those in a "
                                   "document")
    mlm_transform: bool | None = key(None, "write through the transform of the base's masked-LM head; default: where "
                                           "the base's folder has one")
    copy_gate: bool = key(False, "mix the vocabulary with a pointer over source tokens: the one part that is new")
    label_smoothing: float = key(0.0, "label smoothing of the summary cross-entropy", "probability")
    chunk_tokens: int = key(4096, "summary tokens whose vocabulary logits exist at once", "tokens", affects=SPEED)

    def problems(self) -> Iterator[str]:
        """One line for each option that is wrong by itself."""
        if self.chunk_tokens < 1:
            yield f"head.chunk_tokens={self.chunk_tokens} must be more than 0; change it"


register("head", "prefix_lm", PrefixLmHeadConfig, "llmtrain.models.heads.prefix_lm.head:PrefixLmHead",
         "the base itself writes behind the document it has read (UniLM's mask on an encoder)", writes=True,
         architecture="prefix_lm", windows=False)
