"""Stop words out of a text. What remains keeps its order, spelling and marks; a text of stop words alone stays."""

from __future__ import annotations

import regex

from llmtrain.data.text.chinese import segments
from llmtrain.data.text.language import CJK, detect
from llmtrain.data.text.preprocess.base import PreprocessStep
from llmtrain.data.text.preprocess.options import StopwordsOptions
from llmtrain.data.text.preprocess.stopword_lists import check, segmenter, words_of

WORD = regex.compile(r"[\p{L}\p{M}\p{N}]++(?:['’][\p{L}\p{M}]++)*+")
GAP = regex.compile(r"[^\S\n]++")


class Stopwords(PreprocessStep):
    """Removes stop words.

    Words stand between spaces and marks; Chinese ones are found by jieba, or as the longest matches in the list.
    """

    options: StopwordsOptions

    def __init__(self, options: StopwordsOptions) -> None:
        super().__init__(options)
        if not options.words:
            check(options.language, options.list_digest)
        self._segment = segmenter(options.segment)
        own = frozenset(word.lower().replace("’", "'") for word in options.words)
        names = ("en", "zh") if options.language == "auto" else (options.language,)
        self._words = {name: own or words_of(name) for name in names}
        chinese = self._words.get("zh", frozenset())
        self._longest = max((len(word) for word in chinese), default=0)

    def change(self, text: str) -> str:
        kept = self._without(text, self._language(text))
        return kept if any(character.isalnum() for character in kept) else text

    def _language(self, text: str) -> str | None:
        if self.options.language != "auto":
            return self.options.language
        return {"en": "en", "cjk": "zh"}.get(detect([text]))

    def _without(self, text: str, language: str | None) -> str:
        if language is None:
            return text
        words = self._words[language]
        if language == "zh":
            pieces = segments(text) if self._segment == "jieba" else self._longest_matches(text)
            return "".join(piece for piece in pieces if piece.lower() not in words)
        bare = WORD.sub(lambda found: "" if found[0].lower().replace("’", "'") in words else found[0], text)
        return str(GAP.sub(" ", bare)).strip()

    def _longest_matches(self, text: str) -> list[str]:
        """Words of the list where they are longest from the left, and single characters between."""
        words, found, at = self._words["zh"], [], 0
        while at < len(text):
            size = 1
            if CJK.match(text, at):
                size = next((n for n in range(self._longest, 1, -1) if text[at:at + n] in words), 1)
            found.append(text[at:at + size])
            at += size
        return found
