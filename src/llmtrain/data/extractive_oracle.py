"""Which sentences a selector should choose: the greedy oracle behind extraction labels and the extractive baseline.

After Nallapati, Zhai and Zhou 2017 (arXiv:1611.04230) and Liu and Lapata 2019 (arXiv:1908.08345): sentences are added
one by one, each time the one that raises ROUGE-1 F1 + ROUGE-2 F1 against the target most, until none does. N-grams are
those of ROUGE's own tokenizer for the language, counted as integers; a bigram does not cross the end of a sentence.

Shapes: N sentences, V distinct n-grams of the target.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmtrain.data.text.words import words

TIE = 1e-12  # scores that differ by less are the same, and the earlier sentence is taken
ASCII_WORD = re.compile(r"[a-z0-9]+")


class TokenIds:
    """Texts as ids of ROUGE's tokens; equal tokens (English: equal stems) have equal ids within one instance."""

    def __init__(self, language: str) -> None:
        from rouge_score.tokenizers import DefaultTokenizer

        self._language = language
        self._stemmer: Any = DefaultTokenizer(use_stemmer=True)
        self._ids: dict[str, int] = {}
        self._word_ids: dict[str, int] = {}

    def __call__(self, text: str) -> list[int]:
        if self._language != "en":
            return [self._ids.setdefault(word, len(self._ids)) for word in words(text, self._language)]
        return [self._english(word) for word in ASCII_WORD.findall(text.lower())]

    def _english(self, word: str) -> int:
        """Every distinct word is stemmed once."""
        if (known := self._word_ids.get(word)) is None:
            stem = self._stemmer.tokenize(word)[0]
            known = self._word_ids[word] = self._ids.setdefault(stem, len(self._ids))
        return known


@cache  # each process stems a word once
def token_ids_of(language: str) -> TokenIds:
    """The ids of a language's tokens, shared by all who ask in this process."""
    return TokenIds(language)


def greedy_oracle(sentences: Sequence[Sequence[int]], target: Sequence[int], most: int) -> list[int]:
    """Indices of the sentences the oracle takes, at most ``most``, in the order in which it takes them.

    None where no sentence shares a token with the target.
    """
    tables = [_Overlaps([list(zip(s)) for s in sentences], list(zip(target))),
              _Overlaps([list(pairwise(s)) for s in sentences], list(pairwise(target)))]
    chosen: list[int] = []
    best = 0.0
    while len(chosen) < min(most, len(sentences)):
        scores_N = tables[0].f1() + tables[1].f1()
        scores_N[chosen] = -1.0
        index = int((scores_N >= scores_N.max() - TIE).argmax())
        if scores_N[index] <= best + TIE:
            break
        best = float(scores_N[index])
        chosen.append(index)
        for table in tables:
            table.take(index)
    return chosen


class _Overlaps:
    """How the n-grams of some taken sentences and one more overlap with the target's."""

    def __init__(self, sentences: list[list[tuple[int, ...]]], target: list[tuple[int, ...]]) -> None:
        column: dict[tuple[int, ...], int] = {}
        for gram in target:
            column.setdefault(gram, len(column))
        self._goal_V = _counts([column[gram] for gram in target], len(column))
        self._counts_NV = np.zeros((len(sentences), len(column)), dtype=np.int64)
        for row, grams in enumerate(sentences):
            self._counts_NV[row] = _counts([column[gram] for gram in grams if gram in column], len(column))
        self._totals_N = np.array([len(grams) for grams in sentences], dtype=np.int64)
        self._held_V, self._held = np.zeros(len(column), dtype=np.int64), 0
        self._wanted = len(target)

    def f1(self) -> NDArray[np.float64]:
        """(N,) F1 of what is taken already with each sentence added."""
        overlap_N = np.minimum(self._held_V + self._counts_NV, self._goal_V).sum(axis=1)
        found: NDArray[np.float64] = 2.0 * overlap_N / np.maximum(1, self._held + self._totals_N + self._wanted)
        return found

    def take(self, index: int) -> None:
        self._held_V = self._held_V + self._counts_NV[index]
        self._held += int(self._totals_N[index])


def _counts(columns: list[int], size: int) -> NDArray[np.int64]:
    return np.bincount(np.array(columns, dtype=np.int64), minlength=size)
