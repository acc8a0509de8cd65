"""The units that texts are compared by."""

from __future__ import annotations

import unicodedata

import regex


def words(text: str, language: str) -> list[str]:
    """Lower-cased units that n-grams are made of: characters for CJK (runs of ASCII stay whole), jieba's words for
    ``zh_words``, else words. ``characters`` takes every character as it stands, marks and spaces too.

    Vowel signs and other combining marks belong to their word; an apostrophe parts words, however it is spaced.
    """
    if language == "characters":
        return [character for character in text if character != "\n"]
    text = unicodedata.normalize("NFKC", text).lower()
    if language == "zh_words":
        from llmtrain.data.text.chinese import segments

        return [piece for piece in segments(text) if regex.search(r"[\p{L}\p{N}]", piece)]
    if language == "cjk":
        return regex.findall(r"[a-z0-9]+|[^\W_]", text)
    return regex.findall(r"[\p{L}\p{M}\p{N}]+" if language == "other" else r"[a-z0-9]+", text)
