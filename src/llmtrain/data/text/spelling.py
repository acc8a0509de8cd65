"""The document's own spelling, given back to a text made from it.

An uncased WordPiece tokenizer lower-cases, strips accents and puts a space around every hyphen and full stop, so a
copied "GTK+ 3.x, real-time" comes out as "gtk + 3. x, real - time". Whatever the text shares with its document is
written as the document writes it; words of the text's own keep their spelling, and marks between them lose the
space that no English text has there.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from typing import Any

CJK = r"[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef]"
# what BERT's pre-tokenizer takes apart: CJK characters, words, and single marks
PIECE = re.compile(rf"{CJK}|(?:(?!{CJK})[^\W_])+|[^\w\s]|_")
SENTENCE_END = frozenset(".!?:;\n")
OPENING, CLOSING = frozenset("([{"), frozenset(")]},;:.!?")


def speller(document: str, uncased: bool = True) -> Callable[[str], str]:
    """A function that writes a text as ``document`` is written: spaces around marks and, for a text from an
    ``uncased`` tokenizer, case and accents."""
    found = list(PIECE.finditer(document))
    alone: defaultdict[str, Counter[str]] = defaultdict(Counter)
    after: defaultdict[tuple[str, str], Counter[tuple[str, str]]] = defaultdict(Counter)  # (space before it, form)
    before = "\n"
    for piece in found:
        alone[plain(piece[0])][_inside_a_sentence(piece[0], before)] += 1
        before = piece[0]
    for left, right in pairwise(found):
        space = " " if right.start() > left.end() else ""
        after[plain(left[0]), plain(right[0])][space, _inside_a_sentence(right[0], left[0])] += 1

    def spell(text: str) -> str:
        written: list[str] = []
        end, before = 0, ""
        for piece in PIECE.finditer(text):
            form = piece[0]
            space = "" if before in OPENING or form in CLOSING else text[end:piece.start()]
            if seen := after.get((plain(before), plain(form))):
                space, known = _commonest(seen)
            else:
                known = _commonest(alone[plain(form)]) if plain(form) in alone else form
            written += [space, known if uncased else form]
            end, before = piece.end(), form
        return "".join([*written, text[end:]])

    return spell


def _commonest(counts: Counter[Any]) -> Any:
    return counts.most_common(1)[0][0]


def plain(word: str) -> str:
    """A word as an uncased tokenizer sees it: lower case, no accents."""
    return "".join(c for c in unicodedata.normalize("NFD", word.lower()) if unicodedata.category(c) != "Mn")


def _inside_a_sentence(word: str, before: str) -> str:
    """The word without the capital that only its place at the head of a sentence gave it."""
    capitalised = word[:1].isupper() and word[1:].islower()
    return word.lower() if before in SENTENCE_END and capitalised else word
