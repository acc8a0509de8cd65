"""Options of the base objectives (no torch here)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llmtrain.config.keys import SPEED, key
from llmtrain.config.sentences import LAST, MEAN, SentenceInput, scorer_problems
from llmtrain.registry import register


@dataclass(kw_only=True, slots=True)
class MlmConfig:
    fraction: float = key(0.25, "share of each step's rows that take the second, masked pass", "share of rows")
    shared_pass: bool = key(False, "mask the one document that the summary also reads (the naive way)")
    mask_probability: float = key(0.15, "share of tokens predicted", "probability")
    whole_word: bool = key(False, "mask all pieces of a word together")
    warm_steps: int = key(100, "a fresh masked-LM head learns alone for this many steps before it moves the trunk",
                          "steps")


@dataclass(kw_only=True, slots=True)
class ClmConfig:
    fraction: float = key(1.0, "share of each step's rows whose tokens are predicted", "share of rows")
    chunk_tokens: int = key(4096, "document tokens whose vocabulary logits exist at once", "tokens", affects=SPEED)


@dataclass(kw_only=True, slots=True)
class SelectConfig:
    positive_weight: float = key(1.0, "weight of the tokens that are in the summary")


@dataclass(kw_only=True, slots=True)
class ExtractionConfig:
    sentence: str = key(MEAN, "what stands for a sentence: the mean of its tokens, or its last token")
    layers: int = key(1, "transformer layers over the sentences of a document (0: each is scored alone)", "layers")
    labels: int = key(3, "the greedy oracle labels at most this many sentences", "sentences")
    positive_weight: float = key(1.0, "weight of the labelled sentences")

    def sentence_input(self) -> SentenceInput:
        return SentenceInput(labels=self.labels)

    def problems(self) -> Iterator[str]:
        """One line for each option that is wrong by itself or beside another."""
        yield from scorer_problems(self, "objective.extraction", (MEAN, LAST))


register("objective", "extraction", ExtractionConfig, "llmtrain.objectives.extraction:Extraction",
         "is this sentence in the oracle's summary (Liu and Lapata 2019)", reads_summary=True)
register("objective", "mlm", MlmConfig, "llmtrain.objectives.mlm:MaskedLm",
         "masked language modelling (Devlin et al. 2019); encoders only", own_pass=True,
         causal=False, mask_token=True,
         predicts_tokens=True)
register("objective", "clm", ClmConfig, "llmtrain.objectives.clm:CausalLm",
         "the next token of the document (Radford et al. 2018); decoders only", causal=True,
         predicts_tokens=True)
register("objective", "select", SelectConfig, "llmtrain.objectives.select:ContentSelection",
         "is this source token in the summary (Gehrmann et al. 2018)", reads_summary=True)
