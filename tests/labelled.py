"""Rows with labels that can be learnt: a text of eight words, one of which tells the label."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from helpers import WORDS, Finished, warm_cli, write_jsonl

COLOURS = ("blue", "green", "red")


def coloured(n: int, seed: int = 0, labels: tuple[str, ...] = COLOURS) -> list[dict[str, Any]]:
    """One label a row: the colour among its words."""
    draw, rows = random.Random(seed), []
    plain = [word for word in WORDS if word not in COLOURS]
    for index in range(n):
        words, label = draw.choices(plain, k=draw.randint(4, 16)), draw.choice(labels)
        words.insert(draw.randrange(len(words)), label)
        rows.append({"id": f"{seed}-{index}", "text": " ".join(words), "label": label})
    return rows


def many_coloured(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Several labels a row, or none: the colours among its words."""
    draw, rows = random.Random(seed), []
    plain = [word for word in WORDS if word not in COLOURS]
    for index in range(n):
        labels = [colour for colour in COLOURS if draw.random() < 0.4]
        words = [*draw.choices(plain, k=8), *labels]
        draw.shuffle(words)
        rows.append({"id": f"{seed}-{index}", "text": " ".join(words), "label": labels})
    return rows


def place_rows(folder: Path, train: list[dict[str, Any]], held: list[dict[str, Any]]) -> Path:
    write_jsonl(folder / "train.jsonl", train)
    write_jsonl(folder / "held.jsonl", held)
    return folder


def arguments(base: Path, *more: str, run: str = "run") -> list[str]:
    """``train`` on the rows of :func:`place_rows`."""
    return ["train", "task=classification", f"model.path={base}", "data=files", "data.train=train.jsonl",
            "data.validation=held.jsonl", "data.test=held.jsonl", "data.cache_dir=cache", "data.max_source_tokens=32",
            "trainer.batch_size=8", "trainer.max_steps=4", "trainer.eval_every=2", "schedule.warmup_steps=1",
            "eval.bootstrap_samples=20", f"run.name={run}", *more]


def train(folder: Path, base: Path, *more: str, run: str = "run") -> Finished:
    return warm_cli(*arguments(base, *more, run=run), cwd=folder)
