"""Options of the recurrent heads (no torch here)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llmtrain.config.keys import SPEED, key
from llmtrain.registry import register

ATTENTIONS = ("general", "dot", "additive")


@dataclass(kw_only=True, slots=True)
class GruHeadConfig:
    """Options of the GRU decoder."""

    name: str = key("gru", "registered name of the head")
    layers: int = key(1, "recurrent layers", "layers", min=1, max=1000)
    width: int | None = key(None, "hidden width; default: the base's (another width is projected)", "features", min=1,
                            max=1_000_000)
    attention: str = key("general", "scores of attention over the document: general (a learnt matrix between state and "
                                    "document) or dot, Luong et al. 2015; additive (a small network), Bahdanau et al. "
                                    "2015")
    input_feeding: bool = key(False, "read the last attention output beside each token (Luong et al. 2015); trains a "
                                     "token at a time instead of by torch's kernel over the whole target")
    dropout: float = key(0.0, "dropout on embeddings, between layers and on attention's output", "probability",
                         min=0, max=1)
    label_smoothing: float = key(0.0, "label smoothing of the target's cross-entropy", "probability", min=0, max=1)
    tie_embeddings: bool = key(True, "share the base's token embeddings with the head's input and output")
    warm_start: bool = key(True, "start norm, pointer and output layer from the base's own")
    copy_gate: bool = key(True, "mix the vocabulary with a pointer over source tokens")
    chunk_tokens: int = key(4096, "target tokens whose vocabulary logits exist at once", "tokens", affects=SPEED,
                            min=1)

    def problems(self) -> Iterator[str]:
        """One line for each option that is wrong by itself."""
        if self.attention not in ATTENTIONS:
            yield f"unknown head.attention={self.attention!r}; choose from {', '.join(ATTENTIONS)}"


@dataclass(kw_only=True, slots=True)
class LstmHeadConfig(GruHeadConfig):
    """Options of the LSTM decoder: those of the GRU's."""

    name: str = key("lstm", "registered name of the head")


register("head", "gru", GruHeadConfig, "llmtrain.models.heads.rnn.head:GruHead",
         "gated recurrent units with attention over the document and copy gate", writes=True)
register("head", "lstm", LstmHeadConfig, "llmtrain.models.heads.rnn.head:LstmHead",
         "long short-term memory with attention over the document and copy gate", writes=True)
