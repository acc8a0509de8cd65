"""The plain steps: Unicode forms, case, replacement, sentences, lengths."""

from __future__ import annotations

import unicodedata

import regex

from llmtrain.core.errors import DataError
from llmtrain.data.text.language import CJK
from llmtrain.data.text.preprocess.base import PreprocessStep
from llmtrain.data.text.preprocess.options import DOCUMENT, TARGET, LengthOptions, ReplaceOptions, SentencesOptions
from llmtrain.data.text.sentences import sentences

UNIT = regex.compile(rf"{CJK.pattern}|(?:(?!{CJK.pattern})[\p{{L}}\p{{M}}\p{{N}}])++")


class Nfc(PreprocessStep):
    """Composes characters (Unicode NFC)."""

    def change(self, text: str) -> str:
        return unicodedata.normalize("NFC", text)


class Nfkc(PreprocessStep):
    """Composes characters and replaces compatibility forms (Unicode NFKC)."""

    def change(self, text: str) -> str:
        return unicodedata.normalize("NFKC", text)


class Lowercase(PreprocessStep):
    """Writes a text in small letters."""

    def change(self, text: str) -> str:
        return text.lower()


class Replace(PreprocessStep):
    """Replaces what a regular expression matches."""

    options: ReplaceOptions

    def __init__(self, options: ReplaceOptions) -> None:
        super().__init__(options)
        self._pattern = regex.compile(options.pattern, regex.IGNORECASE if options.ignore_case else 0)

    def change(self, text: str) -> str:
        try:
            changed: str = self._pattern.sub(self.options.by, text, timeout=self.options.timeout)
        except TimeoutError as error:
            raise DataError(f"the regular expression {self.options.pattern!r} takes more than {self.options.timeout:g} "
                            f"s on a text of {len(text)} characters ({text[:40]!r} ...) at data.preprocess; write it "
                            "without nested repetition, or raise its timeout") from error
        return changed


class JoinSentences(PreprocessStep):
    """Joins a text's sentences, or the first few, by a separator."""

    options: SentencesOptions

    def change(self, text: str) -> str:
        return self.options.separator.join(sentences(text)[:self.options.max])


class Length(PreprocessStep):
    """Leaves out rows with texts outside the limits."""

    options: LengthOptions

    def refuse(self, source: str, target: str, split: str) -> str | None:
        if split not in self.options.splits:
            return None
        for name, text in ((DOCUMENT, source), *([(TARGET, target)] if target else [])):
            for unit, size in (("words", count_words(text)), ("characters", len(text))):
                low = getattr(self.options, f"min_{name}_{unit}")
                high = getattr(self.options, f"max_{name}_{unit}")
                if size < low:
                    return f"{name} of less than {low} {unit}"
                if high is not None and size > high:
                    return f"{name} of more than {high} {unit}"
        return None


def count_words(text: str) -> int:
    """Words, a Chinese, Japanese or Korean character counting as one."""
    return sum(1 for _ in UNIT.finditer(text))
