"""What needs no model: the document's first words, and the best sentences a selector could choose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

from llmtrain.data.examples import Example
from llmtrain.data.extractive_oracle import greedy_oracle, token_ids_of
from llmtrain.data.text.sentences import sentences
from llmtrain.tasks.summarization.rouge import Rouge

LENGTHS = (*range(1, 31), *range(32, 61, 2), *range(65, 101, 5), *range(110, 301, 10))
CHOOSING_ROWS = 200  # validation rows that choose the lead's length


BY_CHARACTER = ("cjk", "characters", "zh_words")  # languages whose lead is counted in characters


def lead_unit(language: str) -> str:
    return "characters" if language in BY_CHARACTER else "words"


def lead(document: str, length: int, language: str) -> str:
    """The first ``length`` words, or characters for CJK."""
    if language in BY_CHARACTER:
        return document[:length]
    return " ".join(document.split()[:length])


def best_lead_length(examples: Sequence[Example], rouge: Rouge) -> int:
    """The length whose lead scores the highest ROUGE-1 on validation rows."""
    rows = [_lead_scores(example, rouge) for example in examples[:CHOOSING_ROWS]]
    totals = [sum(column) for column in zip(*rows, strict=True)]
    return LENGTHS[totals.index(max(totals))] if totals else 10


def _lead_scores(example: Example, rouge: Rouge) -> list[float]:
    """ROUGE-1 of the lead at each of LENGTHS; every word is tokenised once."""
    goals = [Counter(rouge.tokens(reference)) for reference in rouge.wanted(example)]
    if rouge.language in BY_CHARACTER:
        leads = [rouge.tokens(example.source[:length]) for length in LENGTHS]
    else:
        units = [rouge.tokens(word) for word in example.source.split()[:LENGTHS[-1]]]
        leads = [list(chain.from_iterable(units[:length])) for length in LENGTHS]
    return [rouge.join([_f1(Counter(tokens), goal) for goal in goals]) for tokens in leads]


def oracle(example: Example, language: str) -> str:
    """The sentences that :func:`greedy_oracle` takes, in the document's order: what a perfect selector would choose.

    They are chosen by the tokens that ROUGE counts, for the summary alone, as the labels of an extractive head are.
    """
    texts, ids = sentences(example.source), token_ids_of(language)
    chosen = greedy_oracle([ids(text) for text in texts], ids(example.target), len(texts))
    return " ".join(texts[i] for i in sorted(chosen))


def _f1(found: Counter[Any], goal: Counter[Any]) -> float:
    overlap = (found & goal).total()
    return 2 * overlap / (found.total() + goal.total()) if overlap else 0.0
