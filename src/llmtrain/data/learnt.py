"""What a task takes from the training rows before they are tokenised."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llmtrain.data.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Learnt:
    """A task's facts of its training rows, such as the set of labels. A published model keeps them.

    Attributes:
        facts: JSON values, kept in the model's config.json; a head sees them as ``sizes.facts``.
        tokenizer: Writes and reads targets; None: the base's own does.
        row_labels: Labels beside the targets, for a term of the loss that predicts them; a run has them, no model.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    tokenizer: Tokenizer | None = None
    row_labels: tuple[str, ...] = ()

    def writes(self, base: Tokenizer) -> Tokenizer:
        """The tokenizer of targets; ``base``: the base's own."""
        return base if self.tokenizer is None else self.tokenizer
