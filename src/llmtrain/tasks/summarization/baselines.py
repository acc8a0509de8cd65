"""What needs no model: the document's first words, and the best sentences a selector could choose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any

from llmtrain.data.examples import Example
from llmtrain.data.text.sentences import sentences
from llmtrain.data.text.words import words
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
    """Sentences chosen greedily for ROUGE-1 + ROUGE-2 F1 against the summary (Nallapati et al. 2017)."""
    texts = sentences(example.source)
    units = [words(text, language) for text in texts]
    target = words(example.target, language)
    grams: list[tuple[Counter[Any], Counter[Any]]] = [(Counter(u), Counter(pairwise(u))) for u in units]
    goal: tuple[Counter[Any], Counter[Any]] = (Counter(target), Counter(pairwise(target)))
    chosen: list[int] = []
    held: tuple[Counter[Any], Counter[Any]] = (Counter(), Counter())
    best = 0.0
    while len(chosen) < len(texts):
        gains = [(sum(_f1(held[n] + grams[i][n], goal[n]) for n in (0, 1)), -i)
                 for i in range(len(texts)) if i not in chosen]
        score, index = max(gains)
        if score <= best:
            break
        best = score
        chosen.append(-index)
        held = (held[0] + grams[-index][0], held[1] + grams[-index][1])
    return " ".join(texts[i] for i in sorted(chosen))


def _f1(found: Counter[Any], goal: Counter[Any]) -> float:
    overlap = (found & goal).total()
    return 2 * overlap / (found.total() + goal.total()) if overlap else 0.0
