"""Which words of a written text are taken from its source, and which stand nowhere.

A stretch is taken when the source has the same words in the same order (extractive fragments: Grusky et al. 2018,
"Newsroom", section 4.1). It is taken **wrongly** when fewer than half of its words
stand in any reference: the model copied, but not what was wanted.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import regex

from llmtrain.report.excerpt import Place

WORD = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|[\p{L}\p{M}\p{N}]+")
ALONE = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]")  # a script that writes no spaces: characters
SHORTEST, SHORTEST_ALONE = 2, 4  # words of a stretch; characters of such a script
MOST_READ = 100_000  # characters of a text that are looked at
MOST_PLACES = 100  # places of one word in the source that are tried


@dataclass(frozen=True, slots=True)
class WordOrigins:
    """Places in the written text.

    Attributes:
        copied: Stretches that are taken from the source, and are wanted.
        wrong: Those that are taken from it and stand in no reference.
        new: Words that stand neither in the source nor in a reference.
        words: How many words the text has.
        copied_words, wrong_words: How many of them such stretches have.
    """

    copied: list[Place]
    wrong: list[Place]
    new: list[Place]
    words: int = 0
    copied_words: int = 0
    wrong_words: int = 0

    @property
    def shares(self) -> tuple[float, float, float]:
        """What part of the words is copied as wanted, copied wrongly, new; 0 to 1."""
        whole = max(1, self.words)
        return self.copied_words / whole, self.wrong_words / whole, len(self.new) / whole


def words_with_places(text: str) -> tuple[list[str], list[Place]]:
    """Words as they are compared (case and width folded), and where each stands; characters for Chinese and kin."""
    found = [(match[0], match.span()) for match in WORD.finditer(text[:MOST_READ])]
    return [_folded(word) for word, _ in found], [place for _, place in found]


def words_of(text: str) -> list[str]:
    """The same without their places."""
    return [_folded(word) for word in WORD.findall(text[:MOST_READ])]


def _folded(word: str) -> str:
    return word.lower() if word.isascii() else unicodedata.normalize("NFKC", word).casefold()


def origins_of(written: str, sources: Sequence[str], references: Sequence[str]) -> WordOrigins:
    """What of a written text stands in its sources and references."""
    words, places = words_with_places(written)
    source = [word for text in sources for word in [*words_of(text), ""]]  # no stretch spans two texts
    wanted = [words_of(text) for text in references]
    expected = _in_references(words, wanted)
    told = {word for listed in wanted for word in listed}
    known = set(source)
    found = WordOrigins([], [], [place for word, place in zip(words, places, strict=True)
                             if word not in known and word not in told], len(words))
    copied = wrong = 0
    for start, end in stretches(words, source):
        hits = sum(expected[start:end])
        place = (places[start][0], places[end - 1][1])
        if 2 * hits < end - start:
            found.wrong.append(place)
            wrong += end - start
        else:
            found.copied.append(place)
            copied += end - start
    return WordOrigins(found.copied, found.wrong, found.new, len(words), copied, wrong)


def _in_references(words: Sequence[str], references: Sequence[Sequence[str]]) -> list[bool]:
    """Whether each word stands in a reference; a character of a script without spaces beside a neighbour of its own."""
    single = {word for listed in references for word in listed}
    pairs = {pair for listed in references for pair in pairwise(listed)}
    paired = [pair in pairs for pair in pairwise(words)]
    return [word in single if not ALONE.match(word) else any(paired[max(0, place - 1):place + 1])
            for place, word in enumerate(words)]


def stretches(words: Sequence[str], source: Sequence[str]) -> list[tuple[int, int]]:
    """The longest runs of words that the source has too, first come first, each word in one of them at most."""
    places: dict[str, list[int]] = defaultdict(list)
    for index, word in enumerate(source):
        if len(places[word]) < MOST_PLACES:
            places[word].append(index)
    found, start = [], 0
    while start < len(words):
        longest = max((_shared(words, start, source, place) for place in places.get(words[start], ())), default=0)
        if longest >= (SHORTEST_ALONE if ALONE.match(words[start]) else SHORTEST):
            found.append((start, start + longest))
        start += max(1, longest)
    return found


def _shared(words: Sequence[str], start: int, source: Sequence[str], place: int) -> int:
    size = 0
    while start + size < len(words) and place + size < len(source) and words[start + size] == source[place + size]:
        size += 1
    return size
