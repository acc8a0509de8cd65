"""What a head sees of the trunk, and what model, training and generation ask of it.

Shapes: B rows, S source tokens, N sentences, T target tokens, D width of the trunk, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Removal = Callable[[], AbstractContextManager[None]]


@dataclass(slots=True)
class Sentences:
    """Where the sentences of a batch of documents are.

    Attributes:
        start_BN: First token of each sentence.
        end_BN: The token behind its last; not behind ``start_BN`` for padding and for sentences without tokens.
        labels_BN: 1 for the sentences that make up the target, where they are known.
    """

    start_BN: Tensor
    end_BN: Tensor
    labels_BN: Tensor | None = None

    @property
    def mask_BN(self) -> Tensor:
        """True for real sentences."""
        return self.end_BN > self.start_BN

    def members_BNS(self, width: int) -> Tensor:
        """True where a token, of ``width`` a row, belongs to a sentence."""
        place_S = torch.arange(width, device=self.start_BN.device)
        return (place_S >= self.start_BN.unsqueeze(2)) & (place_S < self.end_BN.unsqueeze(2))


@dataclass(slots=True)
class EncoderStates:
    """The trunk's view of a batch of documents.

    Attributes:
        hidden_BSD: States of the trunk's last layer.
        attention_mask_BS: 1 for real tokens.
        input_ids_BS: The source tokens, which a copy gate points at.
        embedding_VD: The trunk's token embeddings, for heads that tie theirs to them.
        go_on: Where the base itself writes: (target tokens (B, T), cache or None) -> (B, T, D), the trunk's states
            behind the document.
        shared: In a training step, what several loss terms need and the first of them computes; None: nothing is kept.
        sentences: Where its sentences are, when the head or an objective asked for them.
        steering_BS: fp32, added to every attention score on the source tokens by a head that is steered; None: nothing.
    """

    hidden_BSD: Tensor
    attention_mask_BS: Tensor
    input_ids_BS: Tensor
    embedding_VD: Tensor
    go_on: Callable[[Tensor, Any], Tensor] | None = None
    shared: dict[str, Any] | None = None
    sentences: Sentences | None = None
    steering_BS: Tensor | None = None


MOST_POSITIONS = 1024  # rows of a head's own position table: a base may read 100,000 tokens, a target has fewer


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a head takes over from the base unless its options say otherwise.

    Attributes:
        vocabulary: Tokens that a target is written with.
        facts: What the task took from the training rows, such as the set of labels.
        source_vocabulary: Tokens of documents, where targets have a vocabulary of their own; None: they have one.
    """

    width: int
    heads: int
    ffn: int
    vocabulary: int
    positions: int
    start_id: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    source_vocabulary: int | None = None


@dataclass(frozen=True, slots=True)
class BaseParts:
    """The pretrained parts a new head may start from.

    Attributes:
        layers: BERT-, RoBERTa- or DistilBERT-style layers, lowest first; none for a decoder, whose layers are of
            another kind than those of heads.
        embeddings: The base's embedding module; None for a decoder.
        first_position: Row of the first real position embedding (2 for most RoBERTas, 0 else).
        mlm_head: The base's ``{dense.weight, dense.bias, norm.weight, norm.bias, bias}``, or None.
        embedding_VD: Its token embeddings.
    """

    layers: list[nn.Module]
    embeddings: nn.Module | None
    first_position: int
    mlm_head: dict[str, Tensor] | None
    embedding_VD: Tensor


class Head(nn.Module):
    """What stands on the trunk and makes the task's output.

    A new head writes ``nll`` and ``log_probabilities``; the rest has defaults.

    Args:
        options: Typed options of the registered head.
        sizes: Of the base.

    Raises:
        ConfigError: The options do not fit the sizes.
    """

    cache_layers = 1  # generation sizes its key-value cache by these two
    cache_heads = 1
    cites = False  # whether its outputs say which of the document's sentences they come from
    positions_limit: int | None = None  # places that it tells a target's tokens apart by; None: any number
    start_id: int

    def __init__(self, options: Any, sizes: Sizes) -> None:
        super().__init__()
        self.options, self.start_id = options, sizes.start_id

    def start(self) -> None:
        """First values that differ from those every Linear gets; called once all of them have theirs."""

    def start_from(self, base: BaseParts) -> None:
        """Take over what the options ask for from the pretrained base; called once, for a new model."""

    def copy_by_surface(self, same_surface_V: Tensor) -> None:
        """Learn which token of the target vocabulary has the text of each of the base's, for a head that copies.

        Called once, for a new model whose targets have a vocabulary of their own; -1 stands for none.
        """

    def batch_transform(self) -> Callable[[Any, Any], None] | None:
        """A picklable function (batch, context) that adds this head's keys to a training batch, or None."""
        return None

    def nll(self, states: EncoderStates, labels_BT: Tensor) -> tuple[Tensor, Tensor]:
        """(sum, count) of the target's negative log-likelihood over labels that are not ``IGNORED``, fp32 and 0-dim.

        A count of 0 gives a zero that is connected to every parameter.
        """
        raise NotImplementedError

    def log_probabilities(self, input_ids_BT: Tensor, states: EncoderStates, cache: Any = None) -> Tensor:
        """(B, T, V) fp32 log-probabilities of the next token, for generation."""
        raise NotImplementedError

    def attention_weights(self, states: EncoderStates, labels_BT: Tensor) -> Tensor | None:
        """(B, T, S) fp32: the share of the document's tokens in writing each token of ``labels_BT``, with a gradient.

        Shares of a token sum to 1, padding has none. None for a head that has no such distribution.
        """
        return None

    def copy_evidence(self, target_ids_BT: Tensor, states: EncoderStates) -> tuple[Tensor, Tensor] | None:
        """(B, T) probability of copying and (B, T) source place pointed at; None for a head that does not copy."""
        return None

    def removals(self) -> dict[str, Removal]:
        """The ways on which a document reaches the output and that can be taken away, by name.

        Inside such a context manager the head must do without: it reads another row's document there, or nothing.
        ``llmtrain doctor`` lets the model learn a few rows with one of them alone, takes that one away and expects
        another loss. By default none: that the document as a whole is read is tried without.
        """
        return {}

    def shift(self, labels_BT: Tensor) -> Tensor:
        """Decoder input: the start token, then the labels but for the last."""
        start_B1 = labels_BT.new_full((labels_BT.shape[0], 1), self.start_id)
        return torch.cat([start_B1, labels_BT[:, :-1].clamp_min(0)], dim=1)
