"""The published model: a pretrained encoder and a head that writes, as one PreTrainedModel.

It loads with ``import llmtrain.hf; AutoModelForSeq2SeqLM.from_pretrained(folder)`` and generates as any other; it
carries no training code beyond the head's own likelihood.

Shapes: B rows, S source tokens, T summary tokens, D width of the trunk, V vocabulary.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from llmtrain import registry
from llmtrain.attention import NAME
from llmtrain.config.model import ModelConfig
from llmtrain.heads.base import BaseParts, EncoderStates, Sizes
from llmtrain.heads.dropout import cheapen_dropout
from llmtrain.heads.half import cheapen_linear
from llmtrain.model.base import (
    base_config,
    base_folder,
    first_position,
    layers,
    load_trunk,
    pooler_arguments,
    positions,
    pretrained_mlm_head,
)
from llmtrain.model.config import LlmtrainSeq2SeqConfig


@dataclass
class SourceOutput(BaseModelOutput):
    """The encoder's output in generation; the source ids ride along for the copy gate, beam expansion included."""

    source_ids: Tensor | None = None


class Encoder:
    """What ``generate`` calls as the encoder; no Module, since the model already owns the trunk."""

    def __init__(self, model: LlmtrainForSeq2SeqLM) -> None:
        self._model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> SourceOutput:
        states = self._model.encode(input_ids, attention_mask)
        return SourceOutput(last_hidden_state=cast(Any, states.hidden_BSD), source_ids=input_ids)

    __call__ = forward


class LlmtrainForSeq2SeqLM(PreTrainedModel, GenerationMixin):
    config_class = LlmtrainSeq2SeqConfig
    base_model_prefix = "trunk"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: LlmtrainSeq2SeqConfig) -> None:
        super().__init__(config)
        base = AutoConfig.for_model(**config.base)
        self.trunk = AutoModel.from_config(base, attn_implementation=NAME, **pooler_arguments(base.model_type))
        cheapen_dropout(self.trunk)
        cheapen_linear(self.trunk)
        part = registry.get("head", config.head["name"])
        self.head = registry.resolve("head", part.name)(part.options(**config.head), sizes_of(base, config))
        config.num_hidden_layers, config.num_attention_heads = self.head.cache_layers, self.head.cache_heads
        self.post_init()

    @classmethod
    def from_base(cls, config: ModelConfig, head: Any, special: Any) -> LlmtrainForSeq2SeqLM:
        """A new model on a pretrained base: the head under torch's current seed, started as its options say.

        Args:
            head: Typed options of a registered head.
            special: Token ids with ``bos``, ``eos`` and ``pad``.

        Raises:
            ConfigError: The base cannot be loaded, or the head's options do not fit it (told before weights are read).
        """
        base = base_config(config)
        model = cls(LlmtrainSeq2SeqConfig(
            base=base.to_diff_dict() | {"model_type": base.model_type}, head=asdict(head), vocab_size=base.vocab_size,
            hidden_size=base.hidden_size, bos_token_id=special.bos, eos_token_id=special.eos, pad_token_id=special.pad,
            decoder_start_token_id=special.bos))
        trunk = model.trunk
        trunk.load_state_dict(load_trunk(config, base).state_dict())
        model.head.start_from(BaseParts(layers(trunk), trunk.embeddings, first_position(base),
                                        pretrained_mlm_head(base_folder(config.path, config.revision))))
        if config.gradient_checkpointing:
            model.trunk.gradient_checkpointing_enable({"use_reentrant": False})
        return model

    @property
    def hidden_size(self) -> int:
        return int(self.config.hidden_size)

    @property
    def input_embedding_VD(self) -> Tensor:
        """The trunk's token embeddings."""
        weight: Tensor = self.trunk.get_input_embeddings().weight
        return weight

    def encode(self, input_ids_BS: Tensor, attention_mask_BS: Tensor | None = None) -> EncoderStates:
        """Run the trunk. Without padding no mask is passed, which keeps attention on its fastest path."""
        if attention_mask_BS is None:
            attention_mask_BS = torch.ones_like(input_ids_BS)
        mask = None if bool(attention_mask_BS.all()) else attention_mask_BS
        hidden_BSD = self.trunk(input_ids=input_ids_BS, attention_mask=mask).last_hidden_state
        return EncoderStates(hidden_BSD, attention_mask_BS, input_ids_BS, self.input_embedding_VD)

    def summary_nll(self, states: EncoderStates, labels_BT: Tensor) -> tuple[Tensor, Tensor]:
        """(sum, count) of the summary cross-entropy l2."""
        return cast(tuple[Tensor, Tensor], self.head.nll(states, labels_BT))

    def forward(self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None,
                decoder_input_ids: Tensor | None = None, encoder_outputs: Any = None, past_key_values: Any = None,
                labels: Tensor | None = None, use_cache: bool | None = None, token_type_ids: Tensor | None = None,
                **_: Any) -> Seq2SeqLMOutput:
        """Standard sequence-to-sequence forward. ``logits`` (B, T, V) are normalised log-probabilities.

        ``token_type_ids`` is taken, since BERT tokenizers make it, and not used: a document is one segment.
        """
        if encoder_outputs is None:
            encoder_outputs = Encoder(self).forward(cast(Tensor, input_ids), attention_mask)
        source = encoder_outputs.source_ids
        mask = torch.ones_like(source) if attention_mask is None else attention_mask
        states = EncoderStates(encoder_outputs.last_hidden_state, mask, source, self.input_embedding_VD)
        loss = None
        if labels is not None:
            total, count = self.summary_nll(states, labels)
            loss = total / count.clamp_min(1)
            if decoder_input_ids is None:
                decoder_input_ids = self.head.shift(labels)
        logits = self.head.log_probabilities(decoder_input_ids, states, past_key_values)
        return Seq2SeqLMOutput(loss=loss, logits=logits, past_key_values=past_key_values,
                               encoder_last_hidden_state=encoder_outputs.last_hidden_state)

    def get_encoder(self, modality: str | None = None) -> Any:
        return Encoder(self)

    def get_input_embeddings(self) -> nn.Module:
        return cast(nn.Module, self.trunk.get_input_embeddings())

    def prepare_inputs_for_generation(self, input_ids: Tensor, past_key_values: Any = None,
                                      attention_mask: Tensor | None = None, encoder_outputs: Any = None,
                                      use_cache: bool | None = None, **kwargs: Any) -> dict[str, Any]:
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        return {"decoder_input_ids": input_ids[:, past:], "past_key_values": past_key_values,
                "encoder_outputs": encoder_outputs, "attention_mask": attention_mask, "use_cache": use_cache}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif module is self.head:
            cast(Any, module).start()


def sizes_of(base: Any, config: LlmtrainSeq2SeqConfig) -> Sizes:
    ffn = base.hidden_dim if base.model_type == "distilbert" else base.intermediate_size
    return Sizes(width=base.hidden_size, heads=base.num_attention_heads, ffn=ffn, vocabulary=base.vocab_size,
                 positions=positions(base), start_id=config.decoder_start_token_id)
