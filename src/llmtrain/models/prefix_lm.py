"""The prefix architecture: the base itself writes behind the document it has read, without new layers.

An encoder gets UniLM's mask (Dong et al. 2019, "Unified Language Model Pre-training", section 2.3): document tokens
see the document, target tokens the document and the target before them. A decoder goes on causally. Document tokens
never see the target, so in training one pass over both gives the document's states, which other terms share, and the
target's; in writing the document's keys and values are computed once and serve as generate's encoder output.

Shapes: B rows, S source tokens, P prompt tokens, T target tokens, U tokens behind the document (prompt and target), L
layers, H heads, K width of a head, D width of the trunk.
"""

from __future__ import annotations

import inspect
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache

from llmtrain.core.errors import ConfigError
from llmtrain.models.backbone.base_facts import Base
from llmtrain.models.backbone.families import family_of, first_position, layers, pretrained_mlm_head
from llmtrain.models.heads.base import EncoderStates, Removal
from llmtrain.models.heads.removal import replaced
from llmtrain.models.hf_config import LlmtrainPrefixConfig
from llmtrain.models.seq2seq import LlmtrainForSeq2SeqLM, SourceOutput
from llmtrain.models.task_model import sentences_of

DECODER_PROMPT = "\nTL;DR:"


@dataclass
class ReadOutput(SourceOutput):
    """What reading a document leaves for writing behind it: its keys and values.

    They are None for a trunk that keeps none.
    """

    keys_BLHSK: Tensor | None = None
    values_BLHSK: Tensor | None = None


class Behind(Cache):
    """A cache that puts the document's keys and values in front of those of what is written.

    The latter live in generate's own cache.
    """

    def __init__(self, read: ReadOutput, written: Cache) -> None:
        super().__init__(layers=[])
        self._read, self._written = read, written

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any,
               **__: Any) -> tuple[Tensor, Tensor]:
        key, value = self._written.update(key_states, value_states, layer_idx)
        keys, values = cast(Tensor, self._read.keys_BLHSK), cast(Tensor, self._read.values_BLHSK)
        return torch.cat([keys[:, layer_idx], key], 2), torch.cat([values[:, layer_idx], value], 2)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return cast(Tensor, self._read.keys_BLHSK).shape[3] + int(self._written.get_seq_length(layer_idx))


class LlmtrainForPrefixLM(LlmtrainForSeq2SeqLM):
    """A base that reads the document and writes behind it, as transformers knows it."""

    config_class = LlmtrainPrefixConfig  # type: ignore[assignment]

    def __init__(self, config: LlmtrainPrefixConfig, made: tuple[Any, Any] | None = None) -> None:
        super().__init__(config, made)
        config.num_hidden_layers = len(layers(self.trunk))  # generate's cache holds the trunk's layers
        self._keeps = "past_key_values" in inspect.signature(self.trunk.forward).parameters
        self._segments = getattr(self.trunk.config, "type_vocab_size", 1) > 1

    @classmethod
    def settled(cls, base: Base, head: Any) -> tuple[Any, dict[str, Any]]:
        """What ``head.prompt`` and ``head.mlm_transform`` leave open, and the prompt's tokens.

        Raises:
            ConfigError: ``head.mlm_transform=true`` and the base has no masked-LM head.
        """
        known = pretrained_mlm_head(base.folder) is not None
        if head.mlm_transform and not known:
            raise ConfigError(f"head.mlm_transform=true but the base at {base.path} has no masked-LM head; leave it "
                              "out")
        default = DECODER_PROMPT if base.family.causal else ""
        prompt = default if head.prompt is None else head.prompt
        transform = known if head.mlm_transform is None else head.mlm_transform
        # unlike a document it is part of the configuration, and may hold the control tokens a base was tuned with; read
        # by a copy, since asking a tokenizer so changes how it reads whatever comes next
        ids = deepcopy(base.tokenizer)(prompt, add_special_tokens=False, split_special_tokens=False)["input_ids"]
        # writing starts from the prompt's last token
        told = {"prompt_ids": ids[:-1], "prompt_end": ids[-1]} if ids else {}
        return replace(head, prompt=prompt, mlm_transform=transform), told

    @classmethod
    def source_limit(cls, positions: int, target_tokens: int) -> int:
        """Document and target share the base's positions."""
        return positions - target_tokens

    def encode(self, input_ids_BS: Tensor, attention_mask_BS: Tensor | None = None,
               noise_BSD: Tensor | None = None) -> EncoderStates:
        states = super().encode(input_ids_BS, attention_mask_BS, noise_BSD)
        return replace(states, go_on=partial(self._go_on, None, input_ids_BS, states.attention_mask_BS))

    def read(self, batch: dict[str, Any]) -> EncoderStates:
        """Document and target in one pass."""
        ids_BS, mask_BS = batch["input_ids"], batch["attention_mask"]
        hidden_BSD, behind_BTD = self._read_and_write(ids_BS, mask_BS, self.head.shift(batch["labels"]))
        return EncoderStates(hidden_BSD, mask_BS, ids_BS, self.input_embedding_VD, lambda _ids, _cache: behind_BTD,
                             sentences=sentences_of(batch))

    @torch.no_grad()
    def generate(self, *arguments: Any, **how: Any) -> Any:
        """As everywhere; what it gives begins with the begin token, in the place of the prompt's last token, from which
        writing starts."""
        how.setdefault("decoder_start_token_id", self.head.start_id)
        made = super().generate(*arguments, **how)
        if (begin := self.config.bos_token_id) is not None:
            sequences_BT = made if isinstance(made, Tensor) else made.sequences
            sequences_BT[:, 0].masked_fill_(sequences_BT[:, 0] == self.head.start_id, begin)
        return made

    def encode_source(self, input_ids_BS: Tensor, attention_mask_BS: Tensor | None = None,
                      sentences: dict[str, Any] | None = None) -> ReadOutput:
        if not self._keeps:
            return ReadOutput(**super().encode_source(input_ids_BS, attention_mask_BS))
        mask_BS = torch.ones_like(input_ids_BS) if attention_mask_BS is None else attention_mask_BS
        kept = DynamicCache()
        hidden_BSD = self._run(input_ids_BS, self._source_mask(mask_BS), self._places(input_ids_BS), 0, kept)
        return ReadOutput(last_hidden_state=cast(Any, hidden_BSD), source_ids=input_ids_BS, source_mask=mask_BS,
                          keys_BLHSK=torch.stack([layer.keys for layer in kept.layers], 1),
                          values_BLHSK=torch.stack([layer.values for layer in kept.layers], 1))

    def states_of(self, source: SourceOutput, attention_mask_BS: Tensor) -> EncoderStates:
        states = super().states_of(source, attention_mask_BS)
        return replace(states, go_on=partial(self._go_on, source, states.input_ids_BS, attention_mask_BS))

    def written(self, cache: Any) -> int:
        """The cache has seen the prompt too."""
        return max(0, super().written(cache) - len(self.config.prompt_ids))

    def _go_on(self, source: ReadOutput | None, ids_BS: Tensor, mask_BS: Tensor, written_BT: Tensor,
               cache: Any) -> Tensor:
        """(B, T, D) states of what is written: behind what is kept, or by one pass over everything."""
        if source is None or source.keys_BLHSK is None or cache is None:
            return self._read_and_write(ids_BS, mask_BS, written_BT)[1]
        past, skip = int(cache.get_seq_length()), 0
        if past == 0:
            written_BT, skip = self._behind_prompt(written_BT), len(self.config.prompt_ids)
        count = written_BT.shape[1]
        new_UU = mask_BS.new_ones(count, past + count, dtype=torch.bool).tril(past)
        mask_B1UX = torch.cat([mask_BS.bool()[:, None, None, :].expand(-1, 1, count, -1),
                               new_UU.expand(mask_BS.shape[0], 1, -1, -1)], 3)
        hidden_BUD = self._run(written_BT, mask_B1UX, self._places_behind(mask_BS, count, past), count,
                               Behind(source, cache.self_attention_cache))
        return hidden_BUD[:, skip:]

    def _read_and_write(self, ids_BS: Tensor, mask_BS: Tensor, written_BT: Tensor) -> tuple[Tensor, Tensor]:
        """States of the document (B, S, D) and of what is written (B, T, D), by one pass over both."""
        behind_BU = self._behind_prompt(written_BT)
        (rows, width), count = ids_BS.shape, behind_BU.shape[1]
        above = torch.cat([self._source_mask(mask_BS), mask_BS.new_zeros(rows, 1, width, count, dtype=torch.bool)], 3)
        causal_UU = mask_BS.new_ones(count, count, dtype=torch.bool).tril()
        below = torch.cat([mask_BS.bool()[:, None, None, :].expand(-1, 1, count, -1),
                           causal_UU.expand(rows, 1, -1, -1)], 3)
        places = torch.cat([self._places(ids_BS), self._places_behind(mask_BS, count)], 1)
        hidden = self._run(torch.cat([ids_BS, behind_BU], 1), torch.cat([above, below], 2), places, count)
        return hidden[:, :width], hidden[:, width + len(self.config.prompt_ids):]

    def removals(self) -> dict[str, Removal]:
        """The target's attention on the document, which is then another row's, and what the head has."""
        whole = self._read_and_write

        def apart(ids_BS: Tensor, mask_BS: Tensor, written_BT: Tensor) -> tuple[Tensor, Tensor]:
            return whole(ids_BS, mask_BS, written_BT)[0], whole(ids_BS.roll(1, 0), mask_BS.roll(1, 0), written_BT)[1]

        return {"attention on the document": lambda: replaced(self, "_read_and_write", apart), **super().removals()}

    def _behind_prompt(self, written_BT: Tensor) -> Tensor:
        prompt_P = torch.tensor(self.config.prompt_ids, dtype=torch.long, device=written_BT.device)
        return torch.cat([prompt_P.expand(written_BT.shape[0], -1), written_BT], 1)

    def _source_mask(self, mask_BS: Tensor) -> Tensor:
        """(B, 1, S, S): what a document token sees."""
        width = mask_BS.shape[1]
        sees_B1SS = mask_BS.bool()[:, None, None, :].expand(-1, 1, width, -1)
        return sees_B1SS.tril() if family_of(self.trunk.config).causal else sees_B1SS

    def _places(self, ids_BS: Tensor) -> Tensor:
        """(B, S) position ids of the document."""
        place_S = torch.arange(ids_BS.shape[1], device=ids_BS.device) + first_position(self.trunk.config)
        return place_S.expand_as(ids_BS)

    def _places_behind(self, mask_BS: Tensor, count: int, past: int = 0) -> Tensor:
        """(B, U) position ids of what is written, behind the document's last real token."""
        first_B1 = mask_BS.sum(1, keepdim=True) + first_position(self.trunk.config) + past
        return first_B1 + torch.arange(count, device=mask_BS.device)

    def _run(self, ids_BX: Tensor, mask_B1XY: Tensor, places_BX: Tensor, behind: int,
             kept: Cache | None = None) -> Tensor:
        """The trunk's states (B, X, D); the last ``behind`` tokens are the target's."""
        arguments: dict[str, Any] = {"past_key_values": kept, "use_cache": False} if self._keeps else {}
        if self._segments:  # the target is the second segment
            segments_BX = torch.zeros_like(ids_BX)
            segments_BX[:, ids_BX.shape[1] - behind:] = 1
            arguments["token_type_ids"] = segments_BX
        hidden: Tensor = self.trunk(input_ids=ids_BX, attention_mask=mask_B1XY, position_ids=places_BX,
                                    **arguments).last_hidden_state
        return hidden
