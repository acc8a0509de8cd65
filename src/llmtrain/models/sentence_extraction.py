"""The extractive architecture: a pretrained trunk reads, a head chooses sentences; nothing is written.

It loads with ``import llmtrain.hf; AutoModel.from_pretrained(folder)``; what llmtrain opens it with splits documents
into sentences and gives the chosen ones as text.

Shapes: B rows, S source tokens, N sentences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers.utils import ModelOutput

from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.core.errors import ConfigError
from llmtrain.models.heads.base import EncoderStates, Sentences
from llmtrain.models.heads.extractive.choose import choose
from llmtrain.models.hf_config import LlmtrainExtractionConfig
from llmtrain.models.output import Choice, Output
from llmtrain.models.padding import right_padded
from llmtrain.models.task_model import TaskModel, sentences_of
from llmtrain.nn.attention import tracing


@dataclass
class ExtractionOutput(ModelOutput):
    """What scoring a batch's sentences gives.

    Attributes:
        loss: Mean binary cross-entropy of the sentences, where labels are given.
        logits: (B, N) fp32, one a sentence.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None


class LlmtrainForExtraction(TaskModel):
    """A base that reads and a head that chooses sentences, as transformers knows it."""

    config_class = LlmtrainExtractionConfig
    instead_of_writing: ClassVar[str] = "chooses sentences"
    good_for: ClassVar[tuple[str, ...]] = ("data.selector",)

    def __init__(self, config: Any, made: tuple[Any, Any] | None = None) -> None:
        super().__init__(config, made)
        if self.head.options.segments and (types := getattr(self.trunk.config, "type_vocab_size", 0)) < 2:
            raise ConfigError(f"head.segments=true needs two segment embeddings and the base has {types}; leave it "
                              "out")

    def forward(self, input_ids: Tensor, sentence_start: Tensor, sentence_end: Tensor,
                attention_mask: Tensor | None = None, labels: Tensor | None = None, **_: Any) -> ExtractionOutput:
        """Score sentences; see :func:`llmtrain.data.sentence_features.encode_sentences` for what stands for one.

        Args:
            input_ids: Padded on either side; rows padded on the left are moved first.
            sentence_start: (B, N) first token of each sentence, 0 for padding; it counts from the row's first column.
            sentence_end: (B, N) token behind its last, 0 for padding.
            labels: (B, N) 1 for sentences of the target.
        """
        if not tracing():
            self.warn_if_padding_and_no_attention_mask(input_ids, attention_mask)
        ids_BS, mask_BS, places = right_padded(input_ids, attention_mask, (sentence_start, sentence_end))
        assert places is not None
        batch = {"input_ids": ids_BS, "sentence_start": places[0], "sentence_end": places[1], "attention_mask": mask_BS}
        states = self.read(batch if labels is None else batch | {"sentence_labels": labels})
        loss = None
        if labels is not None:
            total, count = self.head.sentence_nll(states)
            loss = total / count.clamp_min(1)
        return ExtractionOutput(loss=loss, logits=self.head.scorer(states))

    def read(self, batch: dict[str, Any]) -> EncoderStates:
        sentences = sentences_of(batch)
        assert sentences is not None, "features without sentences; the head's options ask for them"
        ids_BS, mask_BS = batch["input_ids"], batch["attention_mask"]
        if not self.head.options.segments:
            return replace(self.encode(ids_BS, mask_BS), sentences=sentences)
        segments_BS = sentences.members_BNS(ids_BS.shape[1])[:, 1::2].any(1).long()  # A B A B ...
        hidden_BSD = self.trunk(input_ids=ids_BS, attention_mask=mask_BS, token_type_ids=segments_BS).last_hidden_state
        return EncoderStates(hidden_BSD, mask_BS, ids_BS, self.input_embedding_VD, sentences=sentences)

    def task_count(self, batch: dict[str, Any]) -> Tensor:
        return Sentences(batch["sentence_start"], batch["sentence_end"]).mask_BN.sum()

    def task_nll(self, states: EncoderStates, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.head.sentence_nll(states)
        return found

    def describe_decoding(self, config: GenerationConfig) -> str:
        blocking = ", trigram blocking" if self.head.options.trigram_blocking else ""
        return f"{self.head.selection.describe()}{blocking}"

    def predict(self, batch: dict[str, Any], config: GenerationConfig, evidence: bool = False) -> list[Output]:
        states = self.read(batch)
        assert states.sentences is not None
        chances = torch.sigmoid(self.head.scorer(states)).tolist()
        real = states.sentences.mask_BN.tolist()
        return [self._output([p if there else None for p, there in zip(*row, strict=True)], texts)
                for *row, texts in zip(chances, real, batch["sentences"], strict=True)]

    def _output(self, probabilities: list[float | None], texts: list[str]) -> Output:
        chosen = choose(probabilities, texts, self.head.selection, self.head.options.trigram_blocking)
        choices = [Choice(index, chance) for index in chosen if (chance := probabilities[index]) is not None]
        score = sum(math.log(max(c.probability, 1e-9)) for c in choices) / max(1, len(choices))
        return Output(None, score, sentences=choices, probabilities=probabilities)
