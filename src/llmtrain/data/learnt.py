"""What a task takes from the training rows before they are tokenised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmtrain.data.tokenizer import Tokenizer

PAIRS = "pairs"  # a fact: two texts are read as one, and what is behind the first separator is the second of them


def knows_segments(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer tells the two texts of a pair apart by their segments: one that does not make them was not
    used with them (multilingual-e5 has embeddings of two segments and knows one)."""
    return "token_type_ids" in tokenizer.model_input_names


@dataclass(frozen=True, slots=True)
class Learnt:
    """A task's facts of its training rows, such as the set of labels. A published model keeps them.

    Attributes:
        facts: JSON values, kept in the model's config.json; a head sees them as ``sizes.facts``.
        tokenizer: Writes and reads targets; None: the base's own does.
        row_labels: Labels beside the targets, for a term of the loss that predicts them; a run has them, no model.
        parts: Of several tasks that are learnt together, what each took, by its name in the run.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    tokenizer: Tokenizer | None = None
    row_labels: tuple[str, ...] = ()
    parts: Mapping[str, Learnt] = field(default_factory=dict)

    @classmethod
    def together(cls, parts: Mapping[str, Learnt]) -> Learnt:
        """What the tasks of a run took, by the name of each there; of the only one, whose name is empty, its own."""
        if "" in parts:
            return parts[""]
        return cls({name: part.facts for name, part in parts.items() if part.facts}, parts=parts)

    def writes(self, base: Tokenizer) -> Tokenizer:
        """The tokenizer of targets; ``base``: the base's own."""
        return base if self.tokenizer is None else self.tokenizer
