"""What needs no model: the document's first words, and the best sentences a selector could choose."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

from llmtrain.data.examples import Example
from llmtrain.evaluation.language import sentences, words
from llmtrain.evaluation.rouge import Rouge

LENGTHS = (4, 6, 8, 10, 12, 15, 18, 22, 26, 30, 36, 42, 50, 60, 75, 90)
CHOOSING_ROWS = 200  # validation rows that choose the lead's length


def lead(document: str, length: int, language: str) -> str:
    """The first ``length`` words, or characters for CJK."""
    if language == "cjk":
        return document[:length]
    return " ".join(document.split()[:length])


def best_lead_length(examples: list[Example], rouge: Rouge) -> int:
    """The length whose lead scores the highest ROUGE-1 on validation rows."""
    rows = examples[:CHOOSING_ROWS]

    def total(length: int) -> float:
        return sum(rouge.score(lead(e.document, length, rouge.language), e.references)["rouge1"] for e in rows)

    return max(LENGTHS, key=total) if rows else 10


def oracle(example: Example, language: str) -> str:
    """Sentences chosen greedily for ROUGE-1 + ROUGE-2 F1 against the first reference (Nallapati et al. 2017)."""
    texts = sentences(example.document)
    units = [words(text, language) for text in texts]
    target = words(example.references[0], language)
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
