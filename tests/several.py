"""Runs of several tasks at once, as commands train them, and what they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from helpers import Finished, warm_cli


def options(base: Path, folder: Path, *more: str, tasks: str) -> list[str]:
    return ["task=multi", tasks, f"model.path={base}", f"data.cache_dir={folder / 'cache'}",
            "data.max_source_tokens=40", "trainer.batch_size=16", "trainer.max_steps=4", "trainer.eval_every=2",
            "generation.max_new_tokens=4", "eval.bootstrap_samples=5", "schedule.warmup_steps=1", *more]


def train(base: Path, folder: Path, *more: str, tasks: str) -> Finished:
    return warm_cli("train", *options(base, folder, *more, tasks=tasks), cwd=folder)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
