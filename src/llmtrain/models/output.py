"""What a model makes of one document before it is text: the answer of :meth:`TaskModel.predict`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen sentence: its index in the document, and the probability that it belongs to the output."""

    index: int
    probability: float


@dataclass(frozen=True, slots=True)
class Output:
    """What a model gives for one document: tokens that it wrote, or sentences that it chose.

    Attributes:
        token_ids: Its tokens without the start, end and padding tokens; None where the sentences are the output.
        score: Mean log-probability of its tokens, the end token included, or of its sentences.
        copied: (probability of copying, source token pointed at) of each token, for a head with a copy gate.
        sentences: The sentences that make up or steer the output, in the document's order.
        probabilities: Of every sentence of the document; None for one that cannot be chosen.
        traced: Of each token, how much it was copied from each sentence of the document, for a head that cites.
        others: Further outputs for the document, where several were asked for.
    """

    token_ids: list[int] | None
    score: float = 0.0
    copied: list[tuple[float, int]] | None = None
    sentences: list[Choice] | None = None
    probabilities: list[float | None] | None = None
    traced: list[list[float]] | None = None
    others: tuple[Output, ...] = ()
