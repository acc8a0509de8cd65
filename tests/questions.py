"""Questions with contexts for tests: which word stands behind another one, drawn so that it can be learnt."""

from __future__ import annotations

import random
from typing import Any

KEYS = "red blue green small large fast slow open close left right up down empty full".split()  # noqa: SIM905
VALUES = "array list table matrix vector graph node edge tree file folder path line word text".split()  # noqa: SIM905


def questions(n: int, seed: int = 0, silent: bool = False, facts: int = 3, asked: str | None = None,
              ) -> list[dict[str, Any]]:
    """``n`` rows {"id", "context", "question", "answers"}; with ``silent`` every third has no answer.

    Args:
        asked: What all questions ask for; None: each asks for another key.
    """
    draw, rows = random.Random(seed), []
    for index in range(n):
        keys, values = draw.sample([key for key in KEYS if key != asked], facts + 1), draw.sample(VALUES, facts)
        place, none = draw.randrange(facts), silent and index % 3 == 0
        wanted = keys[facts if none else place] if asked is None else asked
        keys[facts if none else place] = wanted
        context = " ".join(f"The {key} is {value}." for key, value in zip(keys[:facts], values, strict=True))
        answer = {"text": values[place], "start": context.index(f" {values[place]}.") + 1}
        rows.append({"id": f"{seed}-{index}", "context": context, "question": f"what is {wanted}",
                     "answers": [] if none else [answer]})
    return rows


def squad(rows: list[dict[str, Any]], version: str = "v2.0") -> dict[str, Any]:
    """The rows as a file of SQuAD nests them, one paragraph a row."""
    def asked(row: dict[str, Any]) -> dict[str, Any]:
        answers = [{"text": one["text"], "answer_start": one["start"]} for one in row["answers"]]
        told = {"is_impossible": not answers} if version == "v2.0" else {}
        return {"id": row["id"], "question": row["question"], "answers": answers, **told}

    return {"version": version, "data": [{"title": "a title", "paragraphs": [
        {"context": row["context"], "qas": [asked(row)]} for row in rows]}]}
