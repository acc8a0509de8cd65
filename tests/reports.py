"""Run folders as training leaves them, without any training: real scores of given predictions, and a made log."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers import write_jsonl
from llmtrain import registry
from llmtrain.data.examples import Example
from llmtrain.evaluation.evaluate import score_split
from llmtrain.evaluation.report import build_results, write_outputs
from llmtrain.tasks.task import task_named

STEPS = 12


def log_of(scores: dict[str, float], term: str = "summary", skipped: int = 0) -> list[dict[str, Any]]:
    """A short log whose losses fall, with a validation at each third."""
    rows: list[dict[str, Any]] = []
    for step in range(1, STEPS + 1):
        loss = 4 * math.exp(-step / 6)
        base = {"step": step, "epoch": 0}
        rows.append({**base, "split": "train", "loss.total": 1.5 * loss, "loss.select": loss, "grad_norm": 1 / step,
                     "loss.select.weighted": loss, f"loss.{term}": loss, f"loss.{term}.weighted": loss / 2,
                     "lr.base": step / 1e4, "lr.head": step / 1e3, "scaler.scale": 65536.0 / (2 if step > 5 else 1),
                     "scaler.skipped": skipped if step > 5 else 0, "tokens": 90 * step, "time.step": 0.5,
                     "time.tokens_per_second": 180.0 + step})
        if step % 4 == 0:
            rows.append({**base, "split": "probe", "probe.select.norm": loss, f"probe.{term}.norm": 2 * loss,
                         f"probe.cosine.select.{term}": 0.1, "probe.lam.select": 1.0, f"probe.lam.{term}": 0.5})
            held = {name: value * step / STEPS for name, value in scores.items()}
            ends = {f"{name}.{end}": value + add for name, value in held.items() for end, add in (("low", -1),
                                                                                                  ("high", 1))}
            rows.append({**base, "split": "validation", "loss.total": 1.7 * loss, "loss.select": loss,
                         f"loss.{term}": 1.2 * loss, **held, **ends})
    return rows


def write_run(folder: Path, task: str, examples: Sequence[Example], predictions: Sequence[str], *,
              details: list[dict[str, Any]] | None = None, seed: int = 0, skipped: int = 0, baselines: bool = True,
              config: dict[str, Any] | None = None) -> Path:
    """A finished run's folder: the predictions are scored as a run's are."""
    made = task_named(task)
    settings = registry.get("task", task).requires["eval"](bootstrap_samples=50)
    scores = score_split(made, list(examples), list(predictions), settings, decoding="greedy", baselines=baselines,
                         details=details)
    scores.truncation = {"max_source_tokens": 64, "sources": 0.25, "targets": 0.0, "max_target_tokens": 16}
    results = build_results(made, validation=None, test=scores, precision={"requested": "bf16",
                                                                           "effective": "bfloat16"},
                            steps=STEPS, skipped_steps=skipped, seconds=6.0, tokens_per_second=180.0,
                            peak_memory_bytes=2**30)
    first = made.metrics[0].name
    results |= {"best_step": STEPS, "data_hash": "abc", "config": {
        "task": {"name": task}, "run": {"seed": seed, "name": folder.name}, "experiment_name": "made",
        "trainer": {"best_metric": first}, "command": ["train", f"run.seed={seed}", "data.train=a b.jsonl"],
        **(config or {})}}
    write_outputs(folder, results, scores.rows)
    write_jsonl(folder / "metrics.jsonl", log_of({first: scores.metrics[first].value}, skipped=skipped))
    (folder / "environment.json").write_text(json.dumps({"llmtrain": "0.1.0", "packages": {"torch": "2.13.0"}}))
    return folder


def documents(rows: int, length: int = 24) -> list[Example]:
    """Documents of distinct words, whose wanted output is their first four."""
    found = []
    for row in range(rows):
        words = [f"word{row}x{place}" for place in range(length)]
        found.append(Example(f"row-{row}", f"{' '.join(words)}.", " ".join(words[:4]), (" ".join(words[:4]),)))
    return found


def written(examples: Sequence[Example], right: int) -> list[str]:
    """Outputs for those: of every ``right``-th row the wanted one, of the others a stretch from the document's end."""
    return [one.target if place % right == 0 else " ".join(one.source.rstrip(".").split()[-4:])
            for place, one in enumerate(examples)]
