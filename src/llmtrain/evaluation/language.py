"""Sentences, words and characters, by language."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]")
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])|(?<=[。！？!?])|\n+")
SAMPLE = 200  # texts that decide the language


def detect(texts: Iterable[str]) -> str:
    """``cjk`` where such characters are a fifth of the letters, ``en`` for mostly ASCII letters, else ``other``."""
    letters = cjk = ascii_letters = 0
    for _, text in zip(range(SAMPLE), texts, strict=False):
        for character in text:
            if character.isalpha():
                letters += 1
                ascii_letters += character.isascii()
                cjk += bool(CJK.match(character))
    if cjk * 5 >= letters > 0:
        return "cjk"
    return "en" if ascii_letters >= 0.95 * letters else "other"


def words(text: str, language: str) -> list[str]:
    """Lower-cased units that n-grams are made of: characters for CJK (runs of ASCII stay whole), else words."""
    text = unicodedata.normalize("NFKC", text).lower()
    if language == "cjk":
        return re.findall(r"[a-z0-9]+|[^\W_]", text)
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?" if language == "other" else r"[a-z0-9]+", text)


def sentences(text: str) -> list[str]:
    """A text's sentences, split at Latin and CJK full stops and at line breaks."""
    return [part.strip() for part in SENTENCE_END.split(text) if part and part.strip()]
