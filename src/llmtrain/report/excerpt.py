"""Texts of a page: bounded in length with the cut told, harmless characters in the place of those that are not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

AROUND = 80  # characters that are kept on each side of a mark behind the cut
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f]")
NO_CHARACTER = re.compile("[\x7f-\x9f\u202d\u202e\ud800-\udfff]")  # what turns the order of letters round among them
Place = tuple[int, int]  # first and last character


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What a page shows of a text.

    Attributes:
        kept: The stretches of the whole text that are shown, each with where it begins in ``text``.
        notes: Where ``text`` tells that something is left out.
    """

    text: str
    kept: list[tuple[int, int, int]]
    notes: list[Place]

    def place(self, start: int, end: int) -> Place | None:
        """Where a stretch of the whole text stands in the shown one, as JavaScript counts; None: not in one piece."""
        for first, last, begins in self.kept:
            if first <= start < end <= last:
                return self.counted(start - first + begins, end - first + begins)
        return None

    def counted(self, start: int, end: int) -> Place:
        """A place of ``text`` as JavaScript counts it: a character beyond U+FFFF is two."""
        if self.text.isascii() or max(self.text) <= "\uffff":
            return start, end
        first = start + sum(character > "\uffff" for character in self.text[:start])
        return first, first + (end - start) + sum(character > "\uffff" for character in self.text[start:end])


def harmless(text: str) -> str:
    """The text, as long as before, with symbols for control characters and for halves of characters."""
    text = CONTROLS.sub(lambda found: chr(0x2400 + ord(found[0])), text)
    return NO_CHARACTER.sub("\ufffd", text)


def excerpt(text: str, limit: int, wanted: Iterable[Place] = ()) -> Excerpt:
    """The first ``limit`` characters of a text, and what stands around wanted places behind them, half as much at most.
    """
    if len(text) <= limit:
        return Excerpt(harmless(text), [(0, len(text), 0)], [])
    pieces, room = [(0, limit)], limit // 2
    for first, last in sorted(wanted):
        start, end = max(pieces[-1][1], first - AROUND), min(len(text), last + AROUND)
        if last <= pieces[-1][1] or end - start > room:
            continue
        room -= end - start
        if start == pieces[-1][1]:
            pieces[-1] = (pieces[-1][0], end)
        else:
            pieces.append((start, end))
    shown, kept, notes = "", [], []
    for (start, end), following in zip(pieces, [*(start for start, _ in pieces[1:]), len(text)], strict=True):
        kept.append((start, end, len(shown)))
        shown += harmless(text[start:end])
        if following > end:
            told = f" [… {following - end:,} characters are left out here …] "
            notes.append((len(shown), len(shown) + len(told)))
            shown += told
    return Excerpt(shown, kept, notes)
