"""Start the head from the base's own layers: evenly spaced, first and last among them.

After Rothe, Narayan and Severyn 2020, "Leveraging Pre-trained Checkpoints for Sequence Generation Tasks"; but
cross-attention, which they start fresh, starts here as the same layer's self-attention.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from llmtrain.heads.transformer.decoder import Attention, DecoderLayer
from llmtrain.heads.transformer.head import TransformerHead


def chosen_layers(available: int, wanted: int) -> list[int]:
    """Indices of the base's layers that start the head's: evenly spaced from the first to the last."""
    if wanted == 1:
        return [available - 1]
    return [round(i * (available - 1) / (wanted - 1)) for i in range(wanted)]


@torch.no_grad()
def warm_start(head: TransformerHead, base_layers: list[nn.Module], embeddings: Any, first_position: int) -> None:
    """Copy the base's layers and position embeddings into the head.

    Args:
        base_layers: BERT-, RoBERTa- or DistilBERT-style layers of the head's width.
        embeddings: The base's embedding module.
        first_position: Row of the base's first real position (2 for RoBERTa, 0 else).
    """
    positions = embeddings.position_embeddings.weight[first_position:]
    head.positions.weight.copy_(positions[:head.positions.num_embeddings])
    if (types := getattr(embeddings, "token_type_embeddings", None)) is not None:
        head.positions.weight.add_(types.weight[0])
    head.embedding_norm.load_state_dict(embeddings.LayerNorm.state_dict())
    if not head.options.tie_embeddings:
        head.embedding.weight.copy_(embeddings.word_embeddings.weight)
        head.output.weight.copy_(embeddings.word_embeddings.weight)
    for layer, source in zip(head.layers, chosen_layers(len(base_layers), len(head.layers)), strict=True):
        assert isinstance(layer, DecoderLayer)
        _copy_layer(layer, base_layers[source])


def _copy_layer(layer: DecoderLayer, base: Any) -> None:
    if hasattr(base, "sa_layer_norm"):  # DistilBERT
        parts = (base.attention.q_lin, base.attention.k_lin, base.attention.v_lin, base.attention.out_lin)
        norm, up, down, ffn_norm = base.sa_layer_norm, base.ffn.lin1, base.ffn.lin2, base.output_layer_norm
    else:  # BERT, RoBERTa
        inner, out = base.attention.self, base.attention.output
        parts = (inner.query, inner.key, inner.value, out.dense)
        norm, up, down, ffn_norm = out.LayerNorm, base.intermediate.dense, base.output.dense, base.output.LayerNorm
    for attention in (layer.self_attention, layer.cross_attention):
        _copy_attention(attention, parts)
    for target, source in ((layer.self_norm, norm), (layer.cross_norm, norm), (layer.ffn_norm, ffn_norm),
                           (layer.up, up), (layer.down, down)):
        target.load_state_dict(source.state_dict())


def _copy_attention(attention: Attention, parts: tuple[nn.Module, ...]) -> None:
    for target, source in zip((attention.query, attention.key, attention.value, attention.out), parts, strict=True):
        target.load_state_dict(source.state_dict())
