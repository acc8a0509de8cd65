"""Options of the extractive head (no torch here)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llmtrain.config.keys import key
from llmtrain.config.sentence_input import CLS, MEAN, SentenceInput, scorer_problems
from llmtrain.registry import register

SELECTS = ("count", "threshold", "tuned")


@dataclass(kw_only=True, slots=True)
class ExtractiveHeadConfig:
    """Options of the head that chooses a document's own sentences."""

    name: str = key("extractive", "registered name of the head")
    sentence: str = key(MEAN, "what stands for a sentence: the mean of its tokens, its last token, or cls, a token set "
                              "before it")
    layers: int = key(2, "transformer layers over the sentences of a document (0: each is scored alone)", "layers",
                      min=0, max=1000)
    heads: int | None = key(None, "attention heads; default: the base's", "heads", min=1)
    ffn: int | None = key(None, "width of the feed-forward layer; default: the base's", "features", min=1,
                          max=1_000_000)
    dropout: float = key(0.1, "dropout on the residual branches", "probability", min=0, max=1)
    segments: bool = key(False, "alternate the base's segment embeddings from sentence to sentence")
    labels: int = key(3, "the greedy oracle labels at most this many sentences", "sentences", min=1)
    positive_weight: float = key(1.0, "weight of the labelled sentences in the loss", above=0)
    select: str = key("tuned", "count: the best so many; threshold: all more probable than that; tuned: whichever "
                               "number or threshold scores best on the validation rows")
    count: int = key(3, "sentences taken; the most that tuned tries", "sentences", min=1)
    threshold: float = key(0.5, "least probability of a sentence that is taken; the best one always is", "probability",
                           min=0, max=1)
    trigram_blocking: bool = key(True, "take no sentence that shares three words in a row with one taken before")

    def sentence_input(self) -> SentenceInput:
        return SentenceInput(marked=self.sentence == CLS, labels=self.labels)

    def problems(self) -> Iterator[str]:
        """One line for each option that is wrong by itself or beside another."""
        yield from scorer_problems(self, "head")
        if self.select not in SELECTS:
            yield f"head.select={self.select} is none of {', '.join(SELECTS)}; choose one"


register("head", "extractive", ExtractiveHeadConfig, "llmtrain.models.heads.extractive.head:ExtractiveHead",
         "chooses the document's own sentences by an inter-sentence transformer (Liu and Lapata 2019)",
         architecture="sentence_extraction", trains=("extraction",))
