"""The transformer head: an autoregressive decoder over the trunk's states.

Shapes: B rows, S source tokens, T target tokens, W width of the head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from llmtrain.core.errors import ConfigError
from llmtrain.models.heads.base import BaseParts, EncoderStates, Removal, Sizes
from llmtrain.models.heads.removal import other_documents, replaced
from llmtrain.models.heads.transformer.decoder import DecoderLayer
from llmtrain.models.heads.transformer.options import TransformerHeadConfig
from llmtrain.models.heads.transformer.warm_start import warm_start
from llmtrain.models.heads.writer import WritingHead
from llmtrain.nn.attention import NEVER, hiding
from llmtrain.nn.dropout import Dropout
from llmtrain.nn.linear import Linear


class TransformerHead(WritingHead):
    """Writes by decoder layers that read the document through cross-attention."""

    def __init__(self, options: TransformerHeadConfig, sizes: Sizes) -> None:
        super().__init__(options, sizes)
        base_width = sizes.width
        width = options.width or base_width
        heads = options.heads or sizes.heads
        if width % heads:
            raise ConfigError(f"a width of {width} ({_source('width', options.width)}) is no multiple of {heads} "
                              f"attention heads ({_source('heads', options.heads)}); change head.width or head.heads")
        self.cache_layers, self.cache_heads = options.layers, heads
        self.projects = width != base_width
        if self.projects:
            self.input_projection = Linear(base_width, width)
            self.memory_projection = Linear(base_width, width)
        self.positions_limit = sizes.positions
        self.positions = nn.Embedding(sizes.positions, width)
        self.embedding_norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = Dropout(options.dropout)
        self.layers = nn.ModuleList(
            DecoderLayer(width, heads, options.ffn or sizes.ffn, options.dropout, i) for i in range(options.layers))
        self.add_output(width, sizes)

    def start_from(self, base: BaseParts) -> None:
        """The warm start; a projected head has another width than everything it could take over."""
        if self.options.warm_start and base.layers and not self.projects:
            warm_start(self, base)
        elif self.options.warm_start and not base.layers:
            self.start_output_from(base)

    def decode(self, input_ids_BT: Tensor, states: EncoderStates, cache: Any = None) -> Tensor:
        """(B, T, W) decoder states."""
        past = 0 if cache is None else cache.get_seq_length()
        x = self.embed(input_ids_BT, states)
        memory = states.hidden_BSD
        if self.projects:
            x, memory = self.input_projection(x), self.memory_projection(memory)
        place_T = torch.arange(past, past + input_ids_BT.shape[1], device=input_ids_BT.device)
        x = self.dropout(self.embedding_norm(x + self.positions(place_T.clamp_max(self.positions.num_embeddings - 1))))
        memory_mask = _memory_mask(states)
        for layer in self.layers:
            x = layer(x, memory, memory_mask, cache)
        return x

    def removals(self) -> dict[str, Removal]:
        """Cross-attention, which then reads another row's document, and the copy gate."""
        decode = self.decode
        return {"cross-attention": lambda: replaced(self, "decode", lambda ids_BT, states, cache=None: decode(
            ids_BT, other_documents(states), cache)), **super().removals()}


def _memory_mask(states: EncoderStates) -> Tensor | None:
    """(B, 1, 1, S): True where the document may be looked at, or what is added to the scores there; None: nothing."""
    mask_BS, steering_BS = states.attention_mask_BS, states.steering_BS
    if steering_BS is not None:
        return steering_BS.masked_fill(mask_BS == 0, NEVER)[:, None, None, :]
    shown_BS = hiding(mask_BS)
    return None if shown_BS is None else shown_BS.bool()[:, None, None, :]


def _source(name: str, option: int | None) -> str:
    return f"head.{name}" if option else "the base's"
