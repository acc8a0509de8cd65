"""What a head sees of the trunk, and what training asks of it.

Shapes: B rows, S source tokens, T summary tokens, D width of the trunk, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(slots=True)
class EncoderStates:
    """The trunk's view of a batch of documents.

    Attributes:
        hidden_BSD: States of the trunk's last layer.
        attention_mask_BS: 1 for real tokens.
        input_ids_BS: The source tokens, which a copy gate points at.
        embedding_VD: The trunk's token embeddings, for heads that tie theirs to them.
    """

    hidden_BSD: Tensor
    attention_mask_BS: Tensor
    input_ids_BS: Tensor
    embedding_VD: Tensor


class Head(Protocol):
    """A summary head."""

    def nll(self, states: EncoderStates, labels_BT: Tensor) -> tuple[Tensor, Tensor]:
        """(sum, count) of the summary's negative log-likelihood over labels that are not -100, fp32 and 0-dim."""
        ...
