"""A short run on few rows, for tests of what happens around its steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import Finished, pairs, warm_cli, write_jsonl


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    for seed, (name, count) in enumerate((("train", 40), ("validation", 4), ("test", 2))):
        write_jsonl(folder / f"{name}.jsonl", pairs(count, seed))
    return folder


@pytest.fixture
def train(tiny_base: Path, rows: Path, tmp_path: Path) -> Callable[..., Finished]:
    """``llmtrain train`` of 6 steps, validated at 2, 4 and 6, in the run folder runs/run."""
    def run(*overrides: str, cwd: Path = tmp_path) -> Finished:
        return warm_cli("train", f"model.path={tiny_base}", "head.layers=1", "data=files",
                        *(f"data.{name}={rows / name}.jsonl" for name in ("train", "validation", "test")),
                        f"data.cache_dir={rows / 'cache'}", "data.max_source_tokens=32", "data.max_summary_tokens=8",
                        "trainer.batch_size=8", "trainer.log_every=4", "trainer.eval_rows=4", "trainer.eval_every=2",
                        "schedule.warmup_steps=2", "generation.max_new_tokens=4", "eval.bootstrap_samples=5",
                        "eval.baselines=false", "run.name=run", "trainer.max_steps=6", "trainer.best_metric=loss.total",
                        "trainer.best_mode=min", *overrides, cwd=cwd)
    return run
