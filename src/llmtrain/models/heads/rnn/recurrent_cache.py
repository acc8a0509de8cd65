"""A recurrent decoder's state in transformers' own key-value cache.

The state behind every token is kept, h as keys and c as values, (B, 1, T, W) a layer; the next step reads the last.
So the cache that ``generate`` makes anyway serves: its length, beam reorder, repetition, selection and cropping hold
for a recurrent state as they do for keys and values. It takes the memory of one attention head as wide as the layer.

Shapes: L layers, B rows, S source tokens, T tokens so far, W width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llmtrain.models.heads.rnn.recurrence import State


def read_state(cache: Any, layers: int, parts: int) -> State:
    """The state behind the last token: ``parts`` tensors (L, B, W)."""
    kept = [cache.self_attention_cache.layers[index] for index in range(layers)]
    return tuple(torch.stack([part[:, 0, -1] for part in found])
                 for found in ([layer.keys for layer in kept], [layer.values for layer in kept])[:parts])


def write_state(cache: Any, state: State) -> None:
    """Append the state behind one more token."""
    for index, hidden_BW in enumerate(state[0]):
        other_BW = state[1][index] if len(state) > 1 else hidden_BW[:, :0]
        cache.self_attention_cache.update(hidden_BW[:, None, None], other_BW[:, None, None], index)


def read_fed(cache: Any, layers: int) -> Tensor:
    """(B, W) the attention output behind the last token, which input feeding reads; kept behind the layers."""
    kept: Tensor = cache.self_attention_cache.layers[layers].keys
    return kept[:, 0, -1]


def write_fed(cache: Any, fed_BW: Tensor, layers: int) -> None:
    """Append the attention output behind one more token."""
    cache.self_attention_cache.update(fed_BW[:, None, None], fed_BW[:, None, None, :0], layers)


def document_parts(cache: Any, make: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Two (B, S, W) tensors of the document, made once a document and kept like cross-attention's keys and values."""
    if not cache.is_updated.get(0):
        first, second = make()
        cache.cross_attention_cache.update(first.unsqueeze(1), second.unsqueeze(1), 0)
        cache.is_updated[0] = True
    layer = cache.cross_attention_cache.layers[0]
    return layer.keys.squeeze(1), layer.values.squeeze(1)
