"""Documents of several sentences whose summary is one of them, in English and in Chinese."""

from __future__ import annotations

import random

from helpers import WORDS

CHARACTERS = "天地人你我他大小上下左右前后东西南北山水火木金土日月年时分秒书车门手口目耳心田雨云风电花草"


def english(n: int, seed: int = 0) -> list[dict[str, str]]:
    """Rows whose summary is the sentence that begins with ``Check``."""
    draw, rows = random.Random(seed), []
    for index in range(n):
        made = [" ".join(draw.choices(WORDS, k=draw.randint(3, 8))).capitalize() for _ in range(draw.randint(1, 5))]
        chosen = draw.randrange(len(made))
        made[chosen] = f"Check {made[chosen].lower()}"
        rows.append({"id": f"{seed}-{index}", "document": " ".join(f"{sentence}." for sentence in made),
                     "summary": made[chosen]})
    return rows


def chinese(n: int, seed: int = 0) -> list[dict[str, str]]:
    draw, rows = random.Random(seed), []
    for index in range(n):
        made = ["".join(draw.choices(CHARACTERS, k=draw.randint(4, 9))) for _ in range(draw.randint(2, 4))]
        rows.append({"id": f"{seed}-{index}", "document": "。".join(made) + "。", "summary": draw.choice(made)})
    return rows
