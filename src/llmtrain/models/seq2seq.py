"""The sequence-to-sequence architecture: a pretrained trunk reads, a head writes.

It loads with ``import llmtrain.hf; AutoModelForSeq2SeqLM.from_pretrained(folder)`` and generates as any other; it
carries no training code beyond the head's own likelihood.

Shapes: B rows, S source tokens, T target tokens, D width of the trunk, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from llmtrain.data.batch import IGNORED
from llmtrain.models.heads.base import EncoderStates
from llmtrain.models.hf_config import LlmtrainSeq2SeqConfig
from llmtrain.models.padding import check_written, leading, moved, right_padded
from llmtrain.models.task_model import sentences_of
from llmtrain.models.text_generation import WritingModel
from llmtrain.nn.attention import tracing


@dataclass
class SourceOutput(BaseModelOutput):
    """The encoder's output in generation, with what the head reads besides: beam expansion takes it along.

    All of it is padded on the right.

    Attributes:
        source_ids: What a copy gate points at.
        source_mask: 1 for real tokens.
        steering: Added to the attention scores of a head that is steered.
    """

    source_ids: Tensor | None = None
    source_mask: Tensor | None = None
    steering: Tensor | None = None


class Encoder:
    """Reads the documents when ``generate`` asks for the encoder; no Module, since the model already owns the trunk."""

    def __init__(self, model: LlmtrainForSeq2SeqLM) -> None:
        self._model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, sentence_start: Tensor | None = None,
                sentence_end: Tensor | None = None, **_: Any) -> SourceOutput:
        given = None if sentence_start is None or sentence_end is None else (sentence_start, sentence_end)
        ids_BS, mask_BS, places = right_padded(input_ids, attention_mask, given)
        batch = None if places is None else dict(zip(("sentence_start", "sentence_end"), places, strict=True))
        return self._model.encode_source(ids_BS, mask_BS, batch)

    __call__ = forward


class LlmtrainForSeq2SeqLM(WritingModel):
    """A base that reads and a head that writes, as transformers knows it."""

    config_class = LlmtrainSeq2SeqConfig
    auto_class = "AutoModelForSeq2SeqLM"

    def encode_source(self, input_ids_BS: Tensor, attention_mask_BS: Tensor | None = None,
                      sentences: dict[str, Any] | None = None) -> SourceOutput:
        """The documents as ``generate`` carries them from step to step.

        Args:
            sentences: ``sentence_start`` and ``sentence_end`` (B, N), where a head is steered by them.
        """
        states = self.encode(input_ids_BS, attention_mask_BS)
        if sentences is not None:
            states = self.head.steer(replace(states, sentences=sentences_of(sentences)))
        return SourceOutput(last_hidden_state=cast(Any, states.hidden_BSD), source_ids=input_ids_BS,
                            source_mask=states.attention_mask_BS, steering=states.steering_BS)

    def states_of(self, source: SourceOutput, attention_mask_BS: Tensor) -> EncoderStates:
        """What the head reads, from :meth:`encode_source`'s output."""
        return EncoderStates(cast(Tensor, source.last_hidden_state), attention_mask_BS, cast(Tensor, source.source_ids),
                             self.input_embedding_VD, steering_BS=source.steering)

    def written(self, cache: Any) -> int:
        """How many of the target's tokens, the start token included, the cache has seen."""
        return 0 if cache is None else int(cache.get_seq_length())

    def forward(self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None,
                decoder_input_ids: Tensor | None = None, encoder_outputs: Any = None, past_key_values: Any = None,
                labels: Tensor | None = None, use_cache: bool | None = None, token_type_ids: Tensor | None = None,
                sentence_start: Tensor | None = None, sentence_end: Tensor | None = None,
                decoder_attention_mask: Tensor | None = None, **_: Any) -> Seq2SeqLMOutput:
        """Standard sequence-to-sequence forward. ``logits`` (B, T, V) are normalised log-probabilities.

        Documents and labels may be padded on either side. Rows of documents that are padded on the left are moved
        first, so that ``encoder_last_hidden_state`` is padded on the right; ``logits`` lie as the labels do.

        ``token_type_ids`` is taken, since BERT tokenizers make it, and not used: a document is one segment.
        ``sentence_start`` and ``sentence_end`` (B, N) say where the document's sentences are, for a head that is
        steered by them; without them it is not.
        """
        check_written(decoder_attention_mask)
        if encoder_outputs is None:
            if not tracing():
                self.warn_if_padding_and_no_attention_mask(input_ids, attention_mask)
            encoder_outputs = Encoder(self).forward(cast(Tensor, input_ids), attention_mask, sentence_start,
                                                    sentence_end)
        mask = encoder_outputs.source_mask
        if mask is None:
            mask = torch.ones_like(encoder_outputs.source_ids) if attention_mask is None else attention_mask
        states = self.states_of(encoder_outputs, mask)
        loss = lead_B1 = None
        if labels is not None:
            lead_B1 = leading(labels != IGNORED)
            labels = moved(labels, lead_B1)
            total, count = self.head.nll(states, labels)
            loss = total / count.clamp_min(1)
            if decoder_input_ids is None:
                decoder_input_ids = self.head.shift(labels)
            else:
                lead_B1 = None  # the logits lie as these do
        logits = self.head.log_probabilities(decoder_input_ids, states, past_key_values)
        if lead_B1 is not None and (tracing() or bool(lead_B1.any())):
            logits = moved(logits, lead_B1, back=True)
        return Seq2SeqLMOutput(loss=loss, logits=logits, past_key_values=past_key_values,
                               encoder_last_hidden_state=encoder_outputs.last_hidden_state)

    def get_encoder(self, modality: str | None = None) -> Any:
        return Encoder(self)

    def prepare_inputs_for_generation(self, input_ids: Tensor, past_key_values: Any = None,
                                      attention_mask: Tensor | None = None, encoder_outputs: Any = None,
                                      use_cache: bool | None = None, **kwargs: Any) -> dict[str, Any]:
        return {"decoder_input_ids": input_ids[:, self.written(past_key_values):], "past_key_values": past_key_values,
                "encoder_outputs": encoder_outputs, "attention_mask": attention_mask, "use_cache": use_cache,
                "decoder_attention_mask": kwargs.get("decoder_attention_mask")}
