"""The transformer head against torch's own layers: attention, layers, positions, places of dropout, steering."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import DynamicCache, EncoderDecoderCache

from formulas import SIZES, B, Doubled, S, T, document, drawn, fill, labels, near, numbers, torchs_layer
from llmtrain.models.heads.base import Sizes
from llmtrain.models.heads.transformer.decoder import DecoderLayer, MultiHeadAttention
from llmtrain.models.heads.transformer.head import TransformerHead
from llmtrain.models.heads.transformer.options import TransformerHeadConfig


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_torchs_multi_head_attention(masked: bool) -> None:
    ours, theirs = drawn(MultiHeadAttention(6, 2)), nn.MultiheadAttention(6, 2, batch_first=True)
    fill(theirs, ours)
    x, memory, mask = numbers(B, T, 6), numbers(B, S, 6, seed=1), document().attention_mask_BS.bool()
    made = ours(x, *ours.key_value(memory), mask[:, None, None, :] if masked else None, False)
    near(made, theirs(x, memory, memory, key_padding_mask=~mask if masked else None)[0])


def test_a_decoder_layer_is_torchs() -> None:
    ours = drawn(DecoderLayer(6, 2, 10, 0.0, 0))
    x, memory, mask = numbers(B, T, 6), numbers(B, S, 6, seed=1), document().attention_mask_BS.bool()
    causal = nn.Transformer.generate_square_subsequent_mask(T)
    near(ours(x, memory, mask[:, None, None, :]),
         torchs_layer(ours)(x, memory, tgt_mask=causal, memory_key_padding_mask=~mask))


@pytest.mark.parametrize("width", [None, 4])
@pytest.mark.parametrize("steps", [(5,), (2, 3), (1, 1, 1, 2)])
def test_the_transformer_head_decodes_as_torchs_layers_do(width: int | None, steps: tuple[int, ...]) -> None:
    head = drawn(TransformerHead(TransformerHeadConfig(layers=2, width=width), SIZES)) if width is None else drawn(
        TransformerHead(TransformerHeadConfig(layers=2, width=6, ffn=10), Sizes(9, 2, 10, 17, 8, 2)))
    states, ids = document(), labels().clamp_min(0)
    if width is not None:
        states.hidden_BSD, states.embedding_VD = numbers(B, S, 9, seed=1), numbers(17, 9, seed=2)
    x, memory = F.embedding(ids, states.embedding_VD), states.hidden_BSD
    if width is not None:
        x, memory = (F.linear(value, layer.weight, layer.bias) for value, layer in
                     ((x, head.input_projection), (memory, head.memory_projection)))
    x = F.layer_norm(x + head.positions.weight[:T], (6,), head.embedding_norm.weight, head.embedding_norm.bias, 1e-12)
    for layer in head.layers:
        x = torchs_layer(layer)(x, memory, tgt_mask=nn.Transformer.generate_square_subsequent_mask(T),
                                memory_key_padding_mask=~states.attention_mask_BS.bool())
    near(head.decode(ids, states), x)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    with torch.no_grad():
        parts = [head.decode(part, states, cache) for part in ids.split(list(steps), 1)]
    near(torch.cat(parts, 1), x)


def test_places_behind_the_last_position_share_it() -> None:
    head, states = drawn(TransformerHead(TransformerHeadConfig(layers=1), SIZES)), document()
    ids = torch.full((B, 10), 5)
    assert torch.isfinite(head.decode(ids, states)).all()


def test_the_last_position_is_the_last_that_is_told_apart() -> None:
    head, states = drawn(TransformerHead(TransformerHeadConfig(layers=0), SIZES)), document()
    made = head.decode(torch.full((B, 10), 5), states)
    distinct = {tuple(row) for row in made[0].tolist()}
    assert len(distinct) == SIZES.positions
    assert torch.equal(made[:, 7], made[:, 9])


def test_steering_adds_to_the_scores_of_cross_attention() -> None:
    head, states = drawn(TransformerHead(TransformerHeadConfig(layers=1), SIZES)), document()
    ids = labels().clamp_min(0)
    states.attention_mask_BS[:] = 1
    plain = head.decode(ids, states)
    states.steering_BS = torch.zeros(B, S)
    near(head.decode(ids, states), plain)
    states.steering_BS = torch.where(torch.arange(S) < 4, 0.0, -1e9).expand(B, S)
    hidden = head.decode(ids, states)
    states.steering_BS, states.attention_mask_BS[:, 4:] = None, 0
    near(hidden, head.decode(ids, states))
    states.steering_BS = torch.zeros(B, S)
    near(hidden, head.decode(ids, states))


def test_dropout_lies_on_the_branches_of_a_decoder_layer_as_on_torchs() -> None:
    ours = drawn(DecoderLayer(6, 2, 10, 0.0, 0))
    theirs = torchs_layer(ours).train()
    ours.dropout = theirs.dropout1 = theirs.dropout2 = theirs.dropout3 = Doubled()
    x, memory = numbers(B, T, 6), numbers(B, S, 6, seed=1)
    near(ours(x, memory, None), theirs(x, memory, tgt_mask=nn.Transformer.generate_square_subsequent_mask(T)))


def test_dropout_lies_behind_the_embeddings_norm() -> None:
    states, ids = document(), labels().clamp_min(0)
    head = drawn(TransformerHead(TransformerHeadConfig(layers=1), SIZES))
    head.layers = nn.ModuleList()
    plain = head.decode(ids, states)
    head.dropout = Doubled()
    near(head.decode(ids, states), 2 * plain)
