"""Which sentences make up the output, given how likely each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmtrain.data.text.language import CJK, detect
from llmtrain.data.text.words import words


@dataclass(frozen=True, slots=True)
class Selection:
    """A rule for choosing sentences: the ``count`` likeliest of those with ``threshold`` or more, one at least.

    Attributes:
        count: None: any number.
        threshold: Least probability.
    """

    count: int | None
    threshold: float = 0.0

    def describe(self) -> str:
        many = "" if self.count is None else f"{self.count} sentence{'s' * (self.count != 1)}"
        least = f"probability {self.threshold:g} or more" if self.threshold > 0 else ""
        return "select " + ", ".join(filter(None, (many, least)))


def choose(probabilities: Sequence[float | None], sentences: Sequence[str], selection: Selection,
           trigram_blocking: bool) -> list[int]:
    """Indices of the chosen sentences in the document's order.

    With trigram blocking (Paulus, Xiong and Socher 2018; Liu and Lapata 2019) no sentence is taken that shares three
    words in a row with one taken before.

    Args:
        probabilities: None for a sentence that cannot be chosen.
    """
    language = detect(sentences) if trigram_blocking else ""
    seen: set[tuple[str, ...]] = set()
    chosen: list[int] = []
    for negative, index in sorted((-p, i) for i, p in enumerate(probabilities) if p is not None):
        if chosen and (len(chosen) == selection.count or -negative < selection.threshold):
            break
        if trigram_blocking:
            units = words(sentences[index], language)
            trigrams = {tuple(units[i:i + 3]) for i in range(len(units) - 2)}
            if trigrams & seen:
                continue
            seen |= trigrams
        chosen.append(index)
    return sorted(chosen)


def joined(sentences: Sequence[str]) -> str:
    """Sentences as one line; Chinese and Japanese ones follow each other without a space."""
    made = ""
    for sentence in (" ".join(sentence.split()) for sentence in sentences):
        close = not made or (CJK.match(sentence[:1]) and not made[-1:].isascii())
        made += sentence if close else f" {sentence}"
    return made
