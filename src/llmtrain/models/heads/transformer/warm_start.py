"""Start the head from the base's own layers: evenly spaced, first and last among them.

After Rothe, Narayan and Severyn 2020, "Leveraging Pre-trained Checkpoints for Sequence Generation Tasks":
self-attention and feed-forward layers are the base's, cross-attention starts fresh (started as the same layer's
self-attention it learnt more slowly, docs/records/log.md). The copy gate's pointer starts as the attention of the
base's last layer, and the output transform as the base's masked-LM head, where it has one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from llmtrain.models.heads.base import BaseParts
from llmtrain.models.heads.transformer.decoder import DecoderLayer


def chosen_layers(available: int, wanted: int) -> list[int]:
    """Indices of the base's layers that start the head's: evenly spaced from the first to the last."""
    if wanted == 1:
        return [available - 1]
    return [round(i * (available - 1) / (wanted - 1)) for i in range(wanted)]


@torch.no_grad()
def warm_start(head: Any, base: BaseParts) -> None:
    """Copy the base's layers, position embeddings and masked-LM head into a TransformerHead of the base's width."""
    embeddings: Any = base.embeddings
    positions = embeddings.position_embeddings.weight[base.first_position:]
    head.positions.weight.copy_(positions[:head.positions.num_embeddings])
    if (types := getattr(embeddings, "token_type_embeddings", None)) is not None:
        head.positions.weight.add_(types.weight[0])
    head.embedding_norm.load_state_dict(embeddings.LayerNorm.state_dict())
    for layer, source in zip(head.layers, chosen_layers(len(base.layers), len(head.layers)), strict=True):
        assert isinstance(layer, DecoderLayer)
        _copy_layer(layer, base.layers[source])
    if head.options.copy_gate:
        query, key, *_ = attention_parts(base.layers[-1])
        head.pointer_query.load_state_dict(query.state_dict())
        head.pointer_key.load_state_dict(key.state_dict())
    head.start_output_from(base)


def attention_parts(base: Any) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module]:
    """Query, key, value and output projection of one of the base's layers."""
    if hasattr(base, "sa_layer_norm"):  # DistilBERT
        return base.attention.q_lin, base.attention.k_lin, base.attention.v_lin, base.attention.out_lin
    inner = base.attention.self
    return inner.query, inner.key, inner.value, base.attention.output.dense


def _copy_layer(layer: DecoderLayer, base: Any) -> None:
    if hasattr(base, "sa_layer_norm"):  # DistilBERT
        norm, up, down, ffn_norm = base.sa_layer_norm, base.ffn.lin1, base.ffn.lin2, base.output_layer_norm
    else:  # BERT, RoBERTa
        norm, up, down = base.attention.output.LayerNorm, base.intermediate.dense, base.output.dense
        ffn_norm = base.output.LayerNorm
    own = layer.self_attention
    pairs = [*zip((own.query, own.key, own.value, own.out), attention_parts(base), strict=True),
             (layer.self_norm, norm), (layer.cross_norm, norm), (layer.ffn_norm, ffn_norm)]
    if layer.up.weight.shape == up.weight.shape:  # a feed-forward layer of another width (head.ffn) starts fresh
        pairs += [(layer.up, up), (layer.down, down)]
    for target, source in pairs:
        target.load_state_dict(source.state_dict())
