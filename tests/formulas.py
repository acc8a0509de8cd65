"""What tests of formulas share: small heads with drawn parameters, what they read, and torch's layers with the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from llmtrain.models.heads.base import EncoderStates, Sentences, Sizes
from llmtrain.models.heads.transformer.decoder import DecoderLayer, MultiHeadAttention
from llmtrain.models.heads.writer import WritingHead

SIZES = Sizes(width=6, heads=2, ffn=10, vocabulary=17, positions=8, start_id=2)
B, S, T = 3, 7, 5


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def drawn(module: nn.Module) -> Any:
    """The module with every parameter drawn anew, so that each has a say in the result."""
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters(), 1):
            parameter.copy_(numbers(*parameter.shape, seed=seed) * 0.6)
    return module.eval()


def near(one: Tensor, exact: Tensor, tolerance: float = 1e-5) -> None:
    assert one.shape == exact.shape
    torch.testing.assert_close(one.double(), exact.double(), atol=tolerance, rtol=tolerance)


def document(steering: bool = False) -> EncoderStates:
    """Three documents, the second shorter, in which tokens stand repeatedly."""
    ids = torch.randint(3, 9, (B, S), generator=torch.Generator().manual_seed(4))
    mask = torch.ones(B, S, dtype=torch.long)
    mask[1, 4:] = 0
    return EncoderStates(numbers(B, S, SIZES.width, seed=1), mask, ids, numbers(SIZES.vocabulary, SIZES.width, seed=2),
                         steering_BS=numbers(B, S, seed=3) if steering else None)


def labels() -> Tensor:
    made = torch.randint(3, 12, (B, T), generator=torch.Generator().manual_seed(6))
    made[1, 3:] = -100
    return made


def sentences() -> Sentences:
    """Of three documents: three, two and no sentences."""
    return Sentences(torch.tensor([[1, 3, 4], [0, 2, 0], [0, 0, 0]]), torch.tensor([[3, 4, 7], [2, 4, 0], [0, 0, 0]]),
                     torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 0]]))


class Given(WritingHead):
    """A writing head whose decoder states are given."""

    def __init__(self, width: int, sizes: Sizes = SIZES, **options: Any) -> None:
        super().__init__(SimpleNamespace(**{"tie_embeddings": True, "copy_gate": True, "label_smoothing": 0.0,
                                            "chunk_tokens": 100} | options), sizes)
        self.decodes = 0
        self.given = numbers(B, T, width, seed=9)
        self.add_output(width, sizes)

    def decode(self, input_ids_BT: Tensor, states: EncoderStates, cache: Any = None) -> Tensor:
        self.decodes += 1
        return self.given


def fill(theirs: Any, ours: MultiHeadAttention) -> None:
    """torch's multi-head attention with our weights."""
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
    theirs.out_proj.load_state_dict(ours.out.state_dict())


def torchs_layer(ours: DecoderLayer) -> nn.TransformerDecoderLayer:
    made = nn.TransformerDecoderLayer(6, 2, 10, 0.0, "gelu", 1e-12, batch_first=True)
    fill(made.self_attn, ours.self_attention)
    fill(made.multihead_attn, ours.cross_attention)
    for theirs, own in ((made.linear1, ours.up), (made.linear2, ours.down), (made.norm1, ours.self_norm),
                        (made.norm2, ours.cross_norm), (made.norm3, ours.ffn_norm)):
        theirs.load_state_dict(own.state_dict())
    return made.eval()


class Doubled(nn.Module):
    """In dropout's place, so that it shows where that is."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x
