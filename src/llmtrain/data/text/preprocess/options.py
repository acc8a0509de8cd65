"""Options of the preprocessing steps (no torch here)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import regex

from llmtrain.config.keys import key
from llmtrain.data.text.preprocess import stopword_lists
from llmtrain.registry import register

DOCUMENT, TARGET, L1 = "document", "summary", "l1"  # values of ``apply``; stored configurations hold them
TEXTS = ("both", DOCUMENT, TARGET)
SPLITS = ("train", "validation", "test")


def _choice(name: str, value: str, choices: tuple[str, ...]) -> Iterator[str]:
    if value not in choices:
        yield f"{name}={value} is not one of {', '.join(choices)}; choose one"


def _apply(value: str, choices: tuple[str, ...]) -> Iterator[str]:
    if value.startswith("reference"):
        yield (f"apply={value}: references are what summaries are scored against and stay as they are; choose from "
               f"{', '.join(choices)}")
    else:
        yield from _choice("apply", value, choices)


@dataclass(kw_only=True, slots=True)
class TextOptions:
    """Options of a step that changes a text and has no setting of its own."""

    apply: str = key("both", "both, document or summary (the training summary; references stay as they are)")

    def problems(self) -> Iterator[str]:
        yield from _apply(self.apply, TEXTS)


@dataclass(kw_only=True, slots=True)
class ReplaceOptions:
    """Options of the step that replaces what a regular expression matches."""

    pattern: str = key("", "regular expression in the syntax of the regex package (\\p{L} too)")
    by: str = key("", "what stands instead; \\1 or \\g<name> is a group")
    ignore_case: bool = key(False, "capitals and small letters are the same")
    apply: str = key("both", "both, document or summary (the training summary; references stay as they are)")
    timeout: float = key(2.0, "longest time for one text; a pattern that takes longer stops the run", "seconds",
                         above=0)

    def problems(self) -> Iterator[str]:
        yield from _apply(self.apply, TEXTS)
        if not self.pattern:
            yield "pattern is empty; give a regular expression"
            return
        try:
            regex.compile(self.pattern)
        except (regex.error, ValueError, OverflowError, RecursionError) as error:
            at = f" at position {error.pos}" if getattr(error, "pos", None) is not None else ""
            yield (f"bad regular expression {self.pattern!r} ({getattr(error, 'msg', None) or error}{at}); mend "
                   "pattern")
            return
        try:
            regex.compile(f"(?:{self.pattern}\n)?").sub(self.by, "")  # matches, so that the replacement is read
        except (regex.error, IndexError, ValueError) as error:
            yield f"by={self.by!r} does not fit the pattern ({error}); mend it"


@dataclass(kw_only=True, slots=True)
class LengthOptions:
    """Options of the step that leaves out rows with too short or too long texts."""

    min_document_words: int = key(0, "shorter documents are left out", "words", min=0)
    max_document_words: int | None = key(None, "longer documents are left out", "words", min=0)
    min_summary_words: int = key(0, "rows of shorter summaries are left out", "words", min=0)
    max_summary_words: int | None = key(None, "rows of longer summaries are left out", "words", min=0)
    min_document_characters: int = key(0, "shorter documents are left out", "characters", min=0)
    max_document_characters: int | None = key(None, "longer documents are left out", "characters", min=0)
    min_summary_characters: int = key(0, "rows of shorter summaries are left out", "characters", min=0)
    max_summary_characters: int | None = key(None, "rows of longer summaries are left out", "characters", min=0)
    splits: list[str] = key(lambda: ["train"], "splits whose rows are measured; train alone keeps scores comparable")

    def problems(self) -> Iterator[str]:
        for split in self.splits:
            yield from _choice("splits", split, SPLITS)
        limits = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "splits"}
        for name, high in limits.items():
            low = limits[name.replace("max_", "min_")]
            if high is not None and low > high:
                yield f"{name.replace('max_', 'min_')}={low} is more than {name}={high}; change one of them"
        if not any(limits.values()):
            yield "no limit is given; give one, as max_document_words=400"


@dataclass(kw_only=True, slots=True)
class SentencesOptions:
    """Options of the step that puts a text's sentences on lines of their own, or keeps the first."""

    max: int | None = key(None, "keep the first sentences alone; default: all", "sentences", min=1)
    separator: str = key("\n", "what stands between two sentences")
    apply: str = key("document", "document, summary (the training summary) or both")

    def problems(self) -> Iterator[str]:
        yield from _apply(self.apply, TEXTS)


@dataclass(kw_only=True, slots=True)
class StopwordsOptions:
    """Options of the step that removes stop words."""

    language: str = key("auto", "ISO code of the list (en, zh, de ...); auto: en or zh by each text; other "
                                "languages keep their words")
    file: str | None = key(None, "own list instead, one word a line; read once and kept as words")
    words: list[str] = key(list, "own list instead")
    apply: str = key("document", "document, or l1: the text of the base's own term alone, which must read by itself")
    segment: str = key("auto", "Chinese words by jieba, or longest: the longest match in the list; auto: jieba where "
                               "it is installed")
    list_digest: str | None = key(None, "filled in: names the library's list, so that a checkpoint notices another")

    def problems(self) -> Iterator[str]:
        if self.apply in (TARGET, "both") or self.apply.startswith("reference"):
            yield (f"apply={self.apply} would take words from what the model is to write or is scored against; use "
                   "document or l1")
        else:
            yield from _choice("apply", self.apply, (DOCUMENT, L1))
        yield from _choice("segment", self.segment, ("auto", *stopword_lists.SEGMENTERS))
        if self.file is not None and self.words:
            yield "file and words are both given; give one of them"
        if self.language in stopword_lists.UNSPACED:
            yield (f"language={self.language} is written without spaces and no segmenter for it is here; use zh, or a "
                   "language with spaces")

    def settle(self) -> None:
        """Read the file, name the list and choose the segmenter; a list that is another by now is refused."""
        if self.file is not None:
            self.words, self.file = stopword_lists.read_list(self.file), None
        if self.language in ("auto", "zh"):
            self.segment = stopword_lists.segmenter(self.segment)
        if not self.words:
            stopword_lists.check(self.language, self.list_digest)
            self.list_digest = stopword_lists.digest_of(self.language)


def _register(name: str, options: Any, target: str, about: str) -> None:
    register("preprocess", name, options, f"llmtrain.data.text.preprocess.{target}", about)


_register("nfc", TextOptions, "steps:Nfc", "Unicode composition: e + accent is one character (NFC)")
_register("nfkc", TextOptions, "steps:Nfkc", "Unicode compatibility composition: full-width, ligatures too (NFKC)")
_register("lowercase", TextOptions, "steps:Lowercase", "small letters")
_register("replace", ReplaceOptions, "steps:Replace", "a regular expression replaced by a text")
_register("sentences", SentencesOptions, "steps:JoinSentences", "one sentence a line, or the first few alone")
_register("length", LengthOptions, "steps:Length", "rows outside length limits left out, counted and told")
_register("stopwords", StopwordsOptions, "stopwords:Stopwords", "stop words removed from documents, or from l1's text")
