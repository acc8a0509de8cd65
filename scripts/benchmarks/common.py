"""Shared by the benchmarks: one training in a fresh process, its results, and a markdown table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def train(root: Path, name: str, overrides: list[str]) -> Path:
    """``llmtrain train`` in a process of its own; returns the run folder. Exits with the command's code on failure."""
    command = [sys.executable, "-m", "llmtrain", "train", *overrides, f"run.root={root}", f"run.name={name}"]
    print("$ llmtrain", " ".join(command[3:]), file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return root / name


def results(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return content


def predictions(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def table(headings: list[str], rows: list[list[Any]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])
