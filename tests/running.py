"""Runs built in the test's own process, and single steps taken with them."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from helpers import WORDS, pairs, write_jsonl
from llmtrain.config.load import load_config
from llmtrain.config.schema import TrainConfig
from llmtrain.training.accelerator import start_accelerator
from llmtrain.training.build import Training, build
from llmtrain.training.resolve import resolve
from llmtrain.training.run_folder.claim import RunFolder
from llmtrain.training.step import StepResult


def uneven(n: int, seed: int = 0) -> list[dict[str, str]]:
    """Rows whose documents and summaries differ much in length: a mean of means shows."""
    draw = random.Random(seed)
    rows = []
    for index in range(n):
        words = draw.choices(WORDS, k=draw.randint(4, 28))
        rows.append({"id": f"u{index}", "document": " ".join(words), "summary": " ".join(words[:1 + index % 9])})
    return rows


class Runs:
    """Makes runs on ``base`` inside ``folder``, with dropout off; :meth:`close` gives their folders free."""

    def __init__(self, base: Path, folder: Path, rows: list[dict[str, str]] | None = None) -> None:
        self.base, self.folder = base, folder
        self.train = write_jsonl(folder / "train.jsonl", pairs(40) if rows is None else rows)
        self.validation = write_jsonl(folder / "validation.jsonl", pairs(8, 1))
        self._claimed: list[RunFolder] = []

    def config(self, *overrides: str) -> TrainConfig:
        return load_config("train", [
            f"model.path={self.base}", "head.layers=1", "data=files", f"data.train={self.train}",
            f"data.validation={self.validation}", "data.max_test_rows=0", "trainer.max_steps=8",
            f"data.cache_dir={self.folder / 'cache'}", "trainer.batch_size=8", "schedule.warmup_steps=1",
            "data.max_source_tokens=64", "model.dropout=0", "head.dropout=0", f"run.root={self.folder / 'runs'}",
            f"run.name=r{len(self._claimed)}", *overrides])

    def __call__(self, *overrides: str) -> Training:
        return self.build(self.config(*overrides))

    def build(self, config: TrainConfig) -> Training:
        folder = RunFolder.claim(config)
        self._claimed.append(folder)
        accelerator = start_accelerator(config, None)
        run = build(resolve(config), folder, accelerator)
        run.model.module.train()
        return run

    def close(self) -> None:
        for folder in self._claimed:
            folder.abandon()
            folder.release()
        torch.use_deterministic_algorithms(False)


def take(run: Training, steps: int = 1) -> list[StepResult]:
    """The next steps of a run, without its loop."""
    results: list[StepResult] = []
    for batch in run.data.loader.iterate(run.state.progress.step):
        if len(results) == steps:
            break
        micro = [run.to_device(part) for part in batch.micro]
        step, progress = run.optimization.step, run.state.progress
        agreed = step.agree(micro, 0.0, 0, False)
        results.append(step(micro, agreed, progress.step, progress.updates))
        progress.step += 1
        progress.skipped += results[-1].skipped
    return results


def copies(run: Training) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in run.model.module.named_parameters()}


def gradients(run: Training) -> dict[str, torch.Tensor]:
    return {name: p.grad.detach().clone() for name, p in run.model.module.named_parameters() if p.grad is not None}
