"""A pretrained base as it is known before any weight is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmtrain.data.special_tokens import SpecialIds
from llmtrain.models.backbone.families import Family, family_of, positions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Base:
    """A base that was found and looked at, once.

    Attributes:
        path: As ``model.path`` names it, for messages.
        revision: Of a hub name.
        source: Where transformers finds it: its folder, or the hub's name.
        folder: The folder of its weights; None for a hub name whose weights are not fetched yet.
        config: Its Hugging Face configuration, with the run's dropout.
        tokenizer: To which text is text.
        special: The ids with which a sequence begins, ends and is padded.
    """

    path: str
    revision: str | None
    source: str
    folder: Path | None
    config: Any
    tokenizer: PreTrainedTokenizerBase
    special: SpecialIds

    @property
    def family(self) -> Family:
        """What is the same for all bases of its kind."""
        return family_of(self.config)

    @property
    def width(self) -> int:
        """Width of its states."""
        return int(self.config.hidden_size)

    @property
    def vocabulary(self) -> int:
        """Rows of its token embeddings."""
        return int(self.config.vocab_size)

    @property
    def positions(self) -> int:
        """The longest document that it can read, in tokens."""
        return positions(self.config)
