"""What a preprocessing step is."""

from __future__ import annotations

from typing import Any

from llmtrain.data.text.preprocess.options import DOCUMENT, L1, TARGET


class PreprocessStep:
    """A step of ``data.preprocess``: it changes texts, or leaves rows out, or both. It must be picklable.

    ``options.apply`` says which texts: the source, the target, both, or l1 (the source as the
    base's own term alone reads it).

    Args:
        options: The step's typed options.
    """

    def __init__(self, options: Any) -> None:
        self.options = options

    @property
    def fields(self) -> frozenset[str]:
        """Which of source, target and l1 text the step changes. What changes the document changes l1's text too."""
        apply = getattr(self.options, "apply", "")
        return {"both": frozenset({DOCUMENT, TARGET, L1}), DOCUMENT: frozenset({DOCUMENT, L1}),
                TARGET: frozenset({TARGET}), L1: frozenset({L1})}.get(apply, frozenset())

    def change(self, text: str) -> str:
        """The text after this step; a pure function of the text. Raises DataError for one it cannot take."""
        return text

    def refuse(self, source: str, target: str, split: str) -> str | None:
        """Why a row is left out of a split, in a few words; None keeps it."""
        return None
