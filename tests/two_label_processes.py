"""One step of a classifier in each of two processes (training/test_label_steps.py), started with RANK and WORLD_SIZE.

    python two_label_processes.py BASE OUT     writes NAME-RANK.safetensors (gradients and losses) into OUT
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

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
from running import gradients, take

# gradients are left as they are: no clipping, no movement
STILL = ("optim.clip_norm=0", "optim.base_lr=0", "optim.head_lr=0", "optim.weight_decay=0", "model.dropout=0",
         "head.dropout=0", "objective.mlm.fraction=0.6", "objective.mlm.warm_steps=0", "trainer.bucket=1")
CASES = {"one": ("head.class_weights=balanced", "head.label_smoothing=0.1"),
         "several": ("task.multi_label=true", "head.pooling=attention")}


def step(name: str, base: Path, folder: Path, overrides: Sequence[str]) -> dict[str, Tensor]:
    """The gradients of a run's first step, and its losses."""
    rows = (coloured if name == "one" else many_coloured)(24)
    for number, length in enumerate((3, 9, 1, 5)):  # a mean of means shows
        for row in rows[number::4]:
            row["text"] = " ".join(row["text"].split()[:length])
    files = [f"data.{split}={write_jsonl(folder / f'{split}.jsonl', rows)}" for split in ("train", "validation")]
    config = load_config("train", [
        "task=classification", f"model.path={base}", "data=files", *files, "data.max_test_rows=0",
        "trainer.max_steps=4", "trainer.batch_size=8", f"data.cache_dir={folder / 'cache'}",
        "data.max_source_tokens=32", f"run.root={folder / 'runs'}", f"run.name={name}{len(overrides)}", *CASES[name],
        *STILL, *overrides])
    claimed = RunFolder.claim(config)
    try:
        run = build(resolve(config), claimed, start_accelerator(config, None))
        run.model.module.train()
        (result,) = take(run)
        return {**gradients(run), "losses": torch.tensor(list(result.losses.values()))}
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
