"""Small rows for every task that is shipped, and the overrides under which tiny bases train on them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from helpers import WORDS

Rows = list[dict[str, Any]]


def documents(n: int, seed: int) -> Rows:
    """Documents of several sentences, and summaries made of words of one of them."""
    draw = random.Random(seed)
    rows = []
    for index in range(n):
        sentences = [draw.choices(WORDS, k=draw.randint(4, 8)) for _ in range(draw.randint(2, 4))]
        chosen = sentences[draw.randrange(len(sentences))]
        rows.append({"id": f"{seed}-{index}", "summary": " ".join(chosen[:4]),
                     "document": " ".join(" ".join(words).capitalize() + "." for words in sentences)})
    return rows


def translations(n: int, seed: int) -> Rows:
    """A few words, and the same in another order and with other endings."""
    draw = random.Random(seed)
    rows = []
    for index in range(n):
        words = draw.choices(WORDS, k=draw.randint(3, 6))
        rows.append({"id": f"{seed}-{index}", "source": " ".join(words),
                     "target": " ".join(f"{word[::-1]}en" for word in words)})
    return rows


def labelled(n: int, seed: int) -> Rows:
    """Texts of several words, labelled by the first of them."""
    draw = random.Random(seed)
    rows = []
    for index in range(n):
        words = draw.choices(WORDS, k=draw.randint(3, 8))
        rows.append({"id": f"{seed}-{index}", "text": " ".join(words),
                     "label": ("low", "middle", "high")[WORDS.index(words[0]) % 3]})
    return rows


def questions(n: int, seed: int) -> Rows:
    """Contexts, and the places of a word that is asked for; every fourth has no answer."""
    draw = random.Random(seed)
    rows = []
    for index in range(n):
        words = draw.choices(WORDS, k=draw.randint(5, 9))
        context, asked = " ".join(words), draw.randrange(1, len(words))
        answer = {"text": words[asked], "start": len(" ".join(words[:asked])) + 1}
        rows.append({"id": f"{seed}-{index}", "context": context, "question": f"what follows {words[asked - 1]}",
                     "answers": [answer] if index % 4 else []})
    return rows


ROWS: dict[str, Callable[[int, int], Rows]] = {
    "summarization": documents, "translation": translations, "classification": labelled,
    "question_answering": questions}
SMALL: dict[str, tuple[str, ...]] = {  # keys that a task has of its own, small
    "summarization": ("data.max_summary_tokens=8",),
    "translation": ("data.max_target_tokens=12", "data.target_vocabulary=300"),
    "question_answering": ("data.max_answer_tokens=8", "data.max_question_tokens=12", "data.stride=4")}
