"""Options of the transformer head (no torch here)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llmtrain.config.keys import SPEED, key
from llmtrain.registry import register


@dataclass(kw_only=True, slots=True)
class TransformerHeadConfig:
    """Options of the transformer decoder."""

    name: str = key("transformer", "registered name of the head")
    layers: int = key(3, "decoder layers", "layers", min=1, max=1000)
    width: int | None = key(None, "hidden width; default: the base's (another width is projected)", "features", min=1,
                            max=1_000_000)
    heads: int | None = key(None, "attention heads; default: the base's", "heads", min=1)
    ffn: int | None = key(None, "width of the feed-forward layer; default: the base's", "features", min=1,
                          max=1_000_000)
    dropout: float = key(0.0, "dropout on the residual branches; raise it for many epochs", "probability", min=0, max=1)
    label_smoothing: float = key(0.0, "label smoothing of the target's cross-entropy", "probability", min=0, max=1)
    tie_embeddings: bool = key(True, "share the base's token embeddings with the head's input and output")
    warm_start: bool = key(True, "start from the base's own layers")
    copy_gate: bool = key(True, "mix the vocabulary with a pointer over source tokens")
    chunk_tokens: int = key(4096, "target tokens whose vocabulary logits exist at once", "tokens", affects=SPEED,
                            min=1)

    def problems(self) -> Iterator[str]:
        """One line for each option that is wrong beside another."""
        if self.width and self.heads and self.width % self.heads:
            yield f"head.width={self.width} must be a multiple of head.heads={self.heads}; change one of them"


register("head", "transformer", TransformerHeadConfig, "llmtrain.models.heads.transformer.head:TransformerHead",
         "autoregressive decoder with cross-attention, warm start and copy gate", writes=True)
