"""What data are like, as the model will read them: lengths, cuts, sentences, copied words, and rows in two splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llmtrain.config.sections.data import DataConfig
from llmtrain.data.control_tokens import finder, first_spelled, unwritable
from llmtrain.data.examples import Example, Splits
from llmtrain.data.features import clean
from llmtrain.data.text.language import detect
from llmtrain.data.text.preprocess.pipeline import Pipeline
from llmtrain.data.text.sentences import sentences
from llmtrain.data.text.words import words
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.data.truncation import cut_of, token_ids

NEAR_WORDS = 8  # words of an n-gram
NEAR_SHARE = 0.8  # of a document's n-grams in the training documents: a near-duplicate
NEAR_GRAMS = 20_000_000  # of training documents kept in memory (about 1.5 GB); further rows are not looked at


Shorten = Callable[[list[str]], list[str]]


@dataclass(frozen=True, slots=True)
class RowAsRead:
    """One row as the model reads it: texts after preprocessing, their tokens, and which of the source's are kept."""

    document: str
    l1_document: str | None
    target: str
    tokens: list[str]
    kept: list[int]
    target_tokens: list[str]
    kept_target: int


@dataclass(frozen=True, slots=True)
class Profile:
    """Counts of some rows of a split, an entry a row; tokens with the tokenizer's special ones. What is told of
    targets has an entry for each row that has one.

    ``copied`` is the share of a target's tokens that stand in its source, ``copied_read`` in the part that is read;
    ``spelled`` the first control token of each row that spells any, ``unwritable`` the number of targets that hold
    what no token stands for.
    """

    source_tokens: NDArray[np.int64]
    target_tokens: NDArray[np.int64]
    sentences: NDArray[np.int64]
    copied: NDArray[np.float64]
    copied_read: NDArray[np.float64]
    spelled: list[str] = field(default_factory=list)
    unwritable: int = 0


class Reader:
    """Preprocessing and tokenizer of a configuration; loads no weights.

    Args:
        shorten: What a selector makes of documents that are too long.
        writes: The tokenizer of targets; None: the same. What is copied is counted in the tokens of sources.
    """

    def __init__(self, tokenizer: Tokenizer, config: DataConfig, shorten: Shorten | None = None,
                 writes: Tokenizer | None = None) -> None:
        self._tokenizer, self._config, self._writes = tokenizer, config, writes or tokenizer
        self._shorten = shorten or list
        self._pipeline = Pipeline(config.preprocess)
        self._cut = cut_of(tokenizer, config)

    def read(self, example: Example) -> RowAsRead:
        (chosen,) = self._shorten([clean(example.source)])
        document = self._pipeline.source(chosen)
        target = self._pipeline.target(clean(example.target))
        ids = token_ids(document, self._tokenizer)
        written = self._writes(target, add_special_tokens=False, verbose=False)["input_ids"]
        l1 = self._pipeline.l1_source(chosen) if self._pipeline.has_l1 else None
        return RowAsRead(document, l1, target, _named(self._tokenizer, ids), self._cut(list(range(len(ids)))),
                         _named(self._writes, written), min(len(written), self._config.max_target_tokens - 1))

    def profile(self, examples: list[Example]) -> Profile:
        """Counts of every given row."""
        if not examples:
            none, nothing = np.zeros(0, np.int64), np.zeros(0)
            return Profile(none, none, none, nothing, nothing)
        texts = [clean(e.source) for e in examples]
        documents = [self._pipeline.source(text) for text in texts]
        given = [row for row, e in enumerate(examples) if e.target]
        targets = [self._pipeline.target(clean(examples[row].target)) for row in given]
        shown = [self._pipeline.source(text) for text in self._shorten(texts)]
        written = self._writes(targets, add_special_tokens=False, verbose=False)["input_ids"] if given else []
        same = written if self._writes is self._tokenizer or not given else self._tokenizer(
            targets, add_special_tokens=False, verbose=False)["input_ids"]
        of_row = dict(zip(given, same, strict=True))
        controls = finder(self._tokenizer)
        named = [first_spelled(controls, text) for text in documents]
        for row, text in zip(given, targets, strict=True):
            named[row] = named[row] or first_spelled(controls, text)
        lengths, copied, copied_read = [], [], []
        for row, document in enumerate(documents):  # one by one: the tokens of all may be more than memory holds
            ids = token_ids(document, self._tokenizer)
            lengths.append(len(ids))
            if row in of_row:
                read = self._cut(ids if shown[row] == document else token_ids(shown[row], self._tokenizer))
                copied.append(share_in(of_row[row], set(ids)))
                copied_read.append(share_in(of_row[row], set(read)))
        return Profile(np.array(lengths), np.array([len(ids) + 1 for ids in written]),
                       np.array([len(sentences(text)) for text in documents]), np.array(copied), np.array(copied_read),
                       [name for name in named if name], sum(unwritable(ids, self._writes) for ids in written))


def _named(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    """Tokens as texts: byte-level ones are decoded, since their own names are no letters."""
    if not tokenizer.is_fast or any(token.startswith("##") for token in tokenizer.get_vocab()):
        return list(tokenizer.convert_ids_to_tokens(ids))
    return [tokenizer.decode([one]) for one in ids]


def share_in(ids: list[int], known: set[int]) -> float:
    """The share of ``ids`` that are known; 0 for none at all."""
    return sum(one in known for one in ids) / len(ids) if ids else 0.0


@dataclass(frozen=True, slots=True)
class Overlap:
    """Rows of a split that stand in another one too: equal documents, near-duplicates, equal targets.

    ``rows`` counts those of the split, ``looked_at`` the training rows whose n-grams were compared.
    """

    split: str
    rows: int
    documents: int
    near: int
    targets: int
    looked_at: int


def overlaps_with_train(splits: Splits) -> list[Overlap]:
    """What validation and test share with train, of the rows in use.

    A near-duplicate has more than 80 % of its 8-grams of words in the training documents, taken together.
    """
    others = [(name, getattr(splits, name)) for name in ("validation", "test") if getattr(splits, name)]
    if not splits.train or not others:
        return []
    language = detect(e.source for e in splits.train)
    documents = {e.source for e in splits.train}
    targets = {e.target for e in splits.train if e.target}
    known: set[int] = set()
    looked_at = 0
    for example in splits.train:
        if len(known) > NEAR_GRAMS:
            break
        known |= grams(example.source, language)
        looked_at += 1
    found = []
    for name, examples in others:
        own = [grams(e.source, language) for e in examples]
        found.append(Overlap(name, len(examples), sum(e.source in documents for e in examples),
                             sum(len(some & known) > NEAR_SHARE * len(some) for some in own),
                             sum(e.target in targets for e in examples), looked_at))
    return found


def grams(text: str, language: str) -> set[int]:
    """Hashes of the n-grams of a text's words; a shorter text is one."""
    found = words(text, language)
    last = max(1, len(found) - NEAR_WORDS + 1)
    return {hash(tuple(found[i:i + NEAR_WORDS])) for i in range(last)}
