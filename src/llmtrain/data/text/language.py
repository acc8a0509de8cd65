"""Telling languages apart, as far as words, sentences and stop words depend on it."""

from __future__ import annotations

from collections.abc import Iterable

import regex

CJK = regex.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]")
LETTER = regex.compile(r"\p{L}")
ASCII_LETTER = regex.compile("[A-Za-z]")
SAMPLE = 200  # texts that decide the language
ENGLISH = "the and of to with from for this that by are is were which on it has have was been".split()  # noqa: SIM905
KANA_OR_HANGUL = regex.compile(r"[\u3040-\u30ff\uac00-\ud7af]")
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
        letters += len(LETTER.findall(text))
        ascii_letters += len(ASCII_LETTER.findall(text))
        cjk += len(CJK.findall(text))
        found = text.lower().split()
        english += sum(word in ENGLISH for word in found)
        others += sum(word in OTHERS for word in found)
    if cjk * 5 >= letters > 0:
        return "cjk"
    if ascii_letters >= 0.995 * letters:
        return "other" if others > english else "en"
    return "en" if ascii_letters >= 0.9 * letters and english > others else "other"


def language_code(texts: Iterable[str]) -> str | None:
    """The ISO code of the texts' language, where it is one that is told apart for sure; else None."""
    some = [text for _, text in zip(range(SAMPLE), texts, strict=False)]
    found = detect(some)
    if found == "cjk":
        return None if any(KANA_OR_HANGUL.search(text) for text in some) else "zh"
    return "en" if found == "en" and some else None
