"""Options of the head that selects and writes (no torch here)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmtrain.config.keys import key
from llmtrain.config.sections.objective import base_terms_of, trains_task
from llmtrain.config.sentence_input import LAST, MEAN, SentenceInput
from llmtrain.models.heads.transformer.options import TransformerHeadConfig
from llmtrain.registry import register

SOFT, TOP_K = "soft", "top_k"


@dataclass(kw_only=True, slots=True)
class ExtAbsHeadConfig(TransformerHeadConfig):
    """Options of the head that chooses sentences and writes."""

    name: str = key("ext_abs", "registered name of the head")
    sentence: str = key(MEAN, "what stands for a sentence: the mean of its tokens, or its last token")
    sentence_layers: int = key(2, "transformer layers over the sentences of a document (0: each is scored alone)",
                               "layers", min=0, max=1000)
    labels: int = key(3, "the greedy oracle labels at most this many sentences", "sentences", min=1)
    steer: str = key(SOFT, "soft: attention and copying are weighed by the sentences' probabilities; top_k: only the "
                           "likeliest sentences are read, in training the labelled ones first")
    count: int = key(3, "sentences that top_k reads; for both, sentences told as chosen", "sentences", min=1)
    cite: float = key(0.2, "least share in an output's sentence of a source sentence that it cites; the largest always "
                           "is cited", "share", above=0, max=1)

    def sentence_input(self) -> SentenceInput:
        return SentenceInput(labels=self.labels)

    def problems(self) -> Iterator[str]:
        """One line for each option that is wrong by itself or beside another."""
        yield from TransformerHeadConfig.problems(self)
        if self.sentence not in (MEAN, LAST):
            yield f"head.sentence={self.sentence} is none of {MEAN}, {LAST}; choose one"
        if self.steer not in (SOFT, TOP_K):
            yield f"head.steer={self.steer} is none of {SOFT}, {TOP_K}; choose one"
        if not self.copy_gate:
            yield "head=ext_abs cites what its copy gate points at; leave head.copy_gate=true, or use head=transformer"

    def problems_in(self, config: Any) -> Iterator[str]:
        """One line for each option that the rest of the configuration rules out."""
        if self.steer == TOP_K and trains_task(config.objective) and EXTRACTION not in base_terms_of(
                config.objective):
            yield ("head.steer=top_k learns which sentences to read by the extraction loss alone; add it "
                   "(objective.base=extraction, or a term of objective.terms), or use head.steer=soft")


EXTRACTION = "extraction"

register("head", "ext_abs", ExtAbsHeadConfig, "llmtrain.models.heads.ext_abs.head:ExtAbsHead",
         "chooses sentences, which steer a transformer decoder; its output cites them", writes=True)
