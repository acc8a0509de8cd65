"""Sentences, words and characters, by language."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import regex

CJK = regex.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]")
STOP = r"""[.!?…]["'”’»)\]]*"""
SENTENCE_END = regex.compile(
    rf"(?<={STOP})\s+(?=[\"'“‘«„(\[¿¡]*[\p{{Lu}}\p{{Lt}}\p{{Lo}}\p{{N}}])"  # a letter without case begins one too
    rf"|(?<=\s{STOP})\s+(?=\p{{Ll}})"  # words set apart, as tokenizers leave them: `the end . the next`
    r"|(?<=[。！？｡।؟][」』”’）\"')]*)(?![。！？｡।؟」』”’）\"')])"
    rf"|(?<=[!?])(?={CJK.pattern})|\n+")
# in a text without capitals every full stop may end a sentence, but for those of e.g. and of single letters
LOWER_END = regex.compile(rf"(?<={STOP})(?<!\b(?:\p{{L}}|etc|vs|cf|al|mr|mrs|ms|dr|prof|no|fig|eq|approx)\.)\s+"
                          r"(?=[\"'“‘«„(\[¿¡]*\p{Ll})")
SAMPLE = 200  # texts that decide the language
ENGLISH = "the and of to with from for this that by are is were which on it has have was been".split()  # noqa: SIM905
OTHERS = """der die das und ist nicht ein eine einen den dem mit von zum zur für auf werden wird
    le la les des du une est et que qui dans pour sur pas ne el los las del una por con para se su como más
    il lo gli della che di per sono non het een van voor niet zijn met dat och att det som på och og til
    um uma os não com""".split()  # noqa: SIM905


def detect(texts: Iterable[str]) -> str:
    """``cjk`` where such characters are a fifth of the letters, ``en`` for English, else ``other``.

    English has next to no letters beyond ASCII; where a few stand in it (café), or none in another language's
    sentences, the small words decide.
    """
    letters = cjk = ascii_letters = english = others = 0
    for _, text in zip(range(SAMPLE), texts, strict=False):
        for character in text:
            if character.isalpha():
                letters += 1
                ascii_letters += character.isascii()
                cjk += bool(CJK.match(character))
        found = text.lower().split()
        english += sum(word in ENGLISH for word in found)
        others += sum(word in OTHERS for word in found)
    if cjk * 5 >= letters > 0:
        return "cjk"
    if ascii_letters >= 0.995 * letters:
        return "other" if others > english else "en"
    return "en" if ascii_letters >= 0.9 * letters and english > others else "other"


def words(text: str, language: str) -> list[str]:
    """Lower-cased units that n-grams are made of: characters for CJK (runs of ASCII stay whole), else words.

    Vowel signs and other combining marks belong to their word; an apostrophe parts words, however it is spaced.
    """
    text = unicodedata.normalize("NFKC", text).lower()
    if language == "cjk":
        return regex.findall(r"[a-z0-9]+|[^\W_]", text)
    return regex.findall(r"[\p{L}\p{M}\p{N}]+" if language == "other" else r"[a-z0-9]+", text)


def sentences(text: str) -> list[str]:
    """A text's sentences, split at full stops of many scripts and at line breaks."""
    parts = SENTENCE_END.split(text)
    if not any(character.isupper() for character in text):
        parts = [piece for part in parts if part for piece in LOWER_END.split(part)]
    return [part.strip() for part in parts if part and part.strip()]
