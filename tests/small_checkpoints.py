"""Small real checkpoints for tests, also for those that save in a process of their own."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from llmtrain import checkpoint


def write_model(folder: Path, step: int = 1) -> None:
    save_file({"weight": torch.arange(256.0)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "test"}))
    (folder / "llmtrain.json").write_text(json.dumps({"step": step, "config": {"model": {"path": "base"}}}))


def parts_of(step: int, size: int = 64) -> checkpoint.Parts:
    return {"progress": ({}, {"step": step}), "optimizer": ({"exp_avg": torch.full((size,), float(step))}, {})}


def save_step(checkpoints: Path, step: int, size: int = 64) -> Path:
    return checkpoint.save(checkpoints, step, write_model=lambda folder: write_model(folder, step),
                           parts=parts_of(step, size), meta={"step": step})
