"""Options of the base objectives (no torch here)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmtrain.config.keys import SPEED, key
from llmtrain.config.sentence_input import LAST, MEAN, SentenceInput, scorer_problems
from llmtrain.models.heads.classifier.options import MEAN as MEAN_POOLING
from llmtrain.models.heads.classifier.options import POOLINGS
from llmtrain.registry import register


@dataclass(kw_only=True, slots=True)
class MlmConfig:
    """Options of masked language modelling."""

    fraction: float = key(0.25, "share of the rows with a target that take the second, masked pass; documents "
                               "alone all do", "share of rows", min=0, max=1)
    shared_pass: bool = key(False, "mask the one document that the task term also reads (the naive way)")
    mask_probability: float = key(0.15, "share of tokens predicted", "probability", min=0, max=1)
    whole_word: bool = key(False, "mask all pieces of a word together")
    warm_steps: int = key(100, "a fresh masked-LM head learns alone for this many steps before it moves the trunk",
                          "steps", min=0)


CONSISTENCY, SPANS = "consistency", "spans"
NORMAL, UNIFORM = "normal", "uniform"


@dataclass(kw_only=True, slots=True)
class DenoiseConfig:
    """Options of denoising: masked spans, or consistency under noise."""

    mode: str = key(SPANS, "spans: predict masked spans; consistency: predict masked tokens alike under noise on the "
                           "input embeddings")
    fraction: float = key(0.25, "share of the rows with a target that take the denoising pass or passes; "
                               "documents alone all do", "share of rows", min=0, max=1)
    mask_probability: float = key(0.15, "share of tokens predicted", "probability", min=0, max=1)
    span_length: float = key(3.0, "mode=spans: mean length of a span", "tokens", min=1)
    noise: str = key(UNIFORM, "mode=consistency: uniform in [-sigma, sigma], or normal")
    sigma: float = key(1e-5, "mode=consistency: size of the noise; token embeddings themselves are about 0.05", above=0)
    weight: float = key(1.0, "mode=consistency: weight of the divergence beside the prediction loss", min=0)
    warm_steps: int = key(100, "a fresh masked-LM head learns alone for this many steps before it moves the trunk",
                          "steps", min=0)

    def masking(self) -> MlmConfig:
        """The masked language modelling that both modes build on."""
        return MlmConfig(fraction=self.fraction, mask_probability=self.mask_probability, warm_steps=self.warm_steps)

    def problems(self) -> Iterator[str]:
        """One line for each option that is wrong by itself or beside another."""
        for name, known in (("mode", (CONSISTENCY, SPANS)), ("noise", (NORMAL, UNIFORM))):
            if (value := getattr(self, name)) not in known:
                yield f"objective.denoise.{name}={value} is unknown; use {' or '.join(known)}"


@dataclass(kw_only=True, slots=True)
class ClmConfig:
    """Options of causal language modelling."""

    fraction: float = key(1.0, "share of each step's rows whose tokens are predicted", "share of rows", min=0, max=1)
    chunk_tokens: int = key(4096, "document tokens whose vocabulary logits exist at once", "tokens", affects=SPEED,
                            min=1)


@dataclass(kw_only=True, slots=True)
class SelectConfig:
    """Options of content selection."""

    positive_weight: float = key(1.0, "weight of the tokens that are in the target", above=0)


@dataclass(kw_only=True, slots=True)
class ExtractionConfig:
    """Options of sentence extraction."""

    sentence: str = key(MEAN, "what stands for a sentence: the mean of its tokens, or its last token")
    layers: int = key(1, "transformer layers over the sentences of a document (0: each is scored alone)", "layers",
                      min=0, max=1000)
    labels: int = key(3, "the greedy oracle labels at most this many sentences", "sentences", min=1)
    positive_weight: float = key(1.0, "weight of the labelled sentences", above=0)

    def sentence_input(self) -> SentenceInput:
        return SentenceInput(labels=self.labels)

    def problems(self) -> Iterator[str]:
        """One line for each option that is wrong by itself or beside another."""
        yield from scorer_problems(self, "objective.extraction", (MEAN, LAST))


@dataclass(kw_only=True, slots=True)
class RowLabelConfig:
    """Options of predicting a row's label beside the task."""

    pooling: str = key(MEAN_POOLING, "what stands for the document: the mean of its tokens, its first or last token, "
                                     "or attention")
    min_rows: int = key(1, "a label of fewer training rows counts for nothing", "rows", min=1)

    def problems(self) -> Iterator[str]:
        """One line for each option that is wrong by itself or beside another."""
        if self.pooling not in POOLINGS:
            yield f"objective.label.pooling={self.pooling} is none of {', '.join(POOLINGS)}; choose one"

    def problems_in(self, config: Any) -> Iterator[str]:
        """One line for each thing that does not go with the rest of the configuration."""
        beside = config.data.columns().target_key != "data.label"  # else the task itself learns it
        if beside and (config.data.label is None or config.data.name == "docstrings"):
            yield ("the objective label predicts what stands in a column beside the target; name it, data.label=COLUMN "
                   "of data=files or data=hub")


register("objective", "label", RowLabelConfig, "llmtrain.objectives.row_label:RowLabel",
         "the label in the column data.label, beside another task", reads_label=True, of_a_task=True)
register("objective", "denoise", DenoiseConfig, "llmtrain.objectives.denoise:Denoise",
         "masked spans (Joshi et al. 2020), or the same prediction under noise (R3F); encoders only", own_pass=True,
         causal=False, mask_token=True, predicts_tokens=True)
register("objective", "extraction", ExtractionConfig, "llmtrain.objectives.extraction:Extraction",
         "is this sentence one that the oracle takes (Liu and Lapata 2019)", reads_target=True)
register("objective", "mlm", MlmConfig, "llmtrain.objectives.mlm:MaskedLm",
         "masked language modelling (Devlin et al. 2019); encoders only", own_pass=True,
         causal=False, mask_token=True,
         predicts_tokens=True)
register("objective", "clm", ClmConfig, "llmtrain.objectives.clm:CausalLm",
         "the next token of the document (Radford et al. 2018); decoders only", causal=True,
         predicts_tokens=True)
register("objective", "select", SelectConfig, "llmtrain.objectives.content_selection:ContentSelection",
         "is this source token in the target (Gehrmann et al. 2018)", reads_target=True)
