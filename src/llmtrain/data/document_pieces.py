"""Long documents for a sentence selector: pieces that it can read, and the sentences that fit what a writer reads.

A document is the answer of :func:`llmtrain.data.sentence_features.encode_sentences`: token ids, and of each sentence
its tokens [start, end). Sentences are cut nowhere but where one alone is too long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmtrain.data.text.sentences import Span


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring sentences of a document: their indices, their tokens, and each one's tokens [start, end) there."""

    sentences: list[int]
    input_ids: list[int]
    ranges: list[Span]


def pieces(ids: Sequence[int], ranges: Sequence[Span], limit: int, before: int, after: int) -> Iterator[Piece]:
    """A document in pieces of at most ``limit`` tokens, each between the document's own first and last tokens.

    A sentence without a token is in none.

    Args:
        before: Special tokens that the document begins with; ``after``: ends with. 0 where sentences have their own.
    """
    room = limit - before - after
    held: list[int] = []
    for index, (start, end) in enumerate(ranges):
        if end <= start:
            continue
        if held and end - ranges[held[0]][0] > room:
            yield _piece(ids, ranges, held, room, before, after)
            held = []
        held.append(index)
    if held:
        yield _piece(ids, ranges, held, room, before, after)


def _piece(ids: Sequence[int], ranges: Sequence[Span], held: list[int], room: int, before: int, after: int) -> Piece:
    first = ranges[held[0]][0]
    inside = ids[first:min(ranges[held[-1]][1], first + room)]
    places = [(before + start - first, before + min(end - first, room)) for start, end in (ranges[i] for i in held)]
    return Piece(held, [*ids[:before], *inside, *ids[len(ids) - after:]], places)


def fitting(probabilities: Sequence[float | None], lengths: Sequence[int], room: int) -> list[int]:
    """The likeliest sentences that together have at most ``room`` tokens, in the document's order.

    One that no longer fits is passed by for the next that does; the likeliest is taken whatever its length.

    Args:
        probabilities: None for a sentence that cannot be chosen.
        lengths: Tokens of each.
    """
    chosen: list[int] = []
    for _, index in sorted((-p, i) for i, p in enumerate(probabilities) if p is not None):
        if not chosen or lengths[index] <= room:
            chosen.append(index)
            room -= lengths[index]
    return sorted(chosen)
