"""One step of each task's head in each of two processes (training/test_task_steps.py), with RANK and WORLD_SIZE set.

    python two_task_processes.py BASE OUT     writes NAME-RANK.safetensors into OUT
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from safetensors.torch import save_file
from torch import Tensor

from helpers import write_jsonl
from labelled import coloured, many_coloured
from llmtrain.config.load import load_config
from llmtrain.training.accelerator import start_accelerator
from llmtrain.training.build import build
from llmtrain.training.resolve import resolve
from llmtrain.training.run_folder.claim import RunFolder
from llmtrain.training.validate import score
from questions import questions
from running import gradients, take

Rows = list[dict[str, Any]]

# gradients are left as they are: no clipping, no movement
STILL = ("optim.clip_norm=0", "optim.base_lr=0", "optim.head_lr=0", "optim.weight_decay=0", "model.dropout=0",
         "head.dropout=0", "objective.mlm.fraction=0.6", "objective.mlm.warm_steps=0", "trainer.bucket=1")
LABEL = ("task=classification",)
QUESTION = ("task=question_answering", "data.max_question_tokens=8", "data.stride=8")
CASES = {
    "label": (*LABEL, "head.class_weights=balanced", "head.label_smoothing=0.1"),
    "labels": (*LABEL, "task.multi_label=true", "head.pooling=attention"),
    "span_mlm": (*QUESTION, "objective.base=mlm"),
    "span_denoise": (*QUESTION, "objective.base=denoise", "objective.denoise.warm_steps=0"),
    "span_alone": (*QUESTION, "objective.base=none", "head.hidden=16"),
}


def texts(make: Callable[[int], Rows]) -> Rows:
    """Rows of such lengths that a mean of means shows."""
    rows = make(24)
    for number, length in enumerate((3, 9, 1, 5)):
        for row in rows[number::4]:
            row["text"] = " ".join(row["text"].split()[:length])
    return rows


def contexts() -> Rows:
    """Contexts of several windows, of which one has the answer: a mean of means shows."""
    rows: Rows = questions(24, silent=True)
    for number, row in enumerate(rows):
        row["context"] *= 1 + number % 4
    return rows


def step(name: str, base: Path, folder: Path, overrides: Sequence[str]) -> dict[str, Tensor]:
    """The gradients of a run's first step, its losses, its validation, and what that settles."""
    rows = contexts() if name.startswith("span") else texts(coloured if name == "label" else many_coloured)
    files = [f"data.{split}={write_jsonl(folder / f'{split}.jsonl', rows)}" for split in ("train", "validation")]
    config = load_config("train", [
        f"model.path={base}", "data=files", *files, "data.max_test_rows=0", "trainer.max_steps=4",
        "trainer.batch_size=8", f"data.cache_dir={folder / 'cache'}", "data.max_source_tokens=32",
        f"run.root={folder / 'runs'}", f"run.name={name}{len(overrides)}", *CASES[name], *STILL, *overrides])
    claimed = RunFolder.claim(config)
    try:
        run = build(resolve(config), claimed, start_accelerator(config, None))
        # a row of a loader is a window of a context
        assert run.data.loader.steps_per_epoch > 24 // 8 or not name.startswith("span")
        run.model.module.train()
        (result,) = take(run)
        found = [value for name, value in sorted(score(run).items()) if isinstance(value, float)]
        settled = {name: value.clone() for name, value in run.model.task_model.head.named_buffers()}
        return {**gradients(run), "losses": torch.tensor(list(result.losses.values())), "scores": torch.tensor(found),
                **settled}
    finally:
        claimed.abandon()
        claimed.release()
        torch.use_deterministic_algorithms(False)


def main(base: Path, out: Path) -> None:
    torch.set_num_threads(1)
    own = out / f"rank{os.environ['RANK']}"
    own.mkdir()
    for name in CASES:
        save_file(step(name, base, own, ["trainer.processes=2"]), out / f"{name}-{os.environ['RANK']}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
