"""What a model gives for one document, as a text, with what there is to tell of where it comes from (no torch here)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from llmtrain.data.text.sentences import Span


@dataclass(frozen=True, slots=True)
class CitedSentence:
    """A sentence of the document, ``document[start:end]``, and how much it had to do with the output (0 to 1)."""

    index: int
    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class Citation:
    """A sentence of the output, ``text[start:end]``, and the document's sentences it comes from, largest first."""

    text: str
    start: int
    end: int
    sources: list[CitedSentence]


@dataclass(frozen=True, slots=True)
class Copied:
    """A word that the output took from the document: ``document[start:end]``, and how likely copying was."""

    text: str
    start: int
    end: int
    probability: float


@dataclass(frozen=True, slots=True)
class CopyTrace:
    """How much each token of an output was copied from each sentence of its document: (T, N), and (N) their places."""

    weights: list[list[float]]
    spans: list[Span]


@dataclass(frozen=True, slots=True)
class Generated:
    """One output as text, its score, and what is known of where it comes from.

    Attributes:
        text: The output as text.
        token_ids: Its tokens without the start, end and padding tokens; none where it is made of chosen sentences.
        score: Mean log-probability of its tokens, the end token included, or of its sentences.
        copied: For heads with a copy gate and when asked for: (output token, probability of copying, source place).
        sentences: For a head that selects: the chosen sentences in the document's order, with their probabilities.
        probabilities: For an extractive head: of every sentence; None for one that cannot be chosen.
        traced: For a head that cites: which sentences each token was copied from.
        citations: For a head that cites, or chooses sentences: each sentence of the output, with those it comes from.
        others: Further outputs for the document, where ``num_return_sequences`` asks for several.
        words: The document's words behind ``copied``, where those were looked for.
        read: The document as the model read it, where that is another text: ``words`` stand in this one.
    """

    text: str
    token_ids: list[int]
    score: float
    copied: list[tuple[str, float, int]] | None = None
    sentences: list[CitedSentence] | None = None
    probabilities: list[float | None] | None = None
    traced: CopyTrace | None = None
    citations: list[Citation] | None = None
    others: tuple[Generated, ...] = ()
    words: list[Copied] | None = None
    read: str | None = None

    @property
    def every(self) -> list[Generated]:
        """All outputs for the document, this one first."""
        return [self, *self.others]

    def each(self, change: Callable[[Generated], Generated]) -> Generated:
        """The same with every output for the document changed."""
        return replace(change(self), others=tuple(change(one) for one in self.others))

    @property
    def verbatim(self) -> bool:
        """Whether the text is the document's own."""
        return self.sentences is not None and not self.token_ids

    def evidence(self) -> dict[str, Any]:
        """How sure the model was of its outputs, and which words it copied, as JSON."""
        row: dict[str, Any] = {"score": self.score}
        row |= {"scores": [each.score for each in self.every]} if self.others else {}
        if self.words is not None:
            row["copied"] = [asdict(word) | {"probability": round(word.probability, 4)} for word in self.words]
            row |= {} if self.read is None else {"read": self.read}
        return row

    def detail(self, every: str) -> dict[str, Any]:
        """What a row tells besides: every output where there are several, and the sentences behind the first.

        Args:
            every: The key of those several, a saved name.
        """
        several = {every: [one.text for one in self.every]} if self.others else {}
        found = {"sentences": self.sentences, "citations": self.citations}
        return several | {name: [asdict(one) for one in listed] for name, listed in found.items() if listed is not None}
