"""What a run of a study gave, read from its folder: scores, speed, memory, and when it came to a score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmtrain.core.files import read_json
from llmtrain.study.plan import Plan, Run
from llmtrain.study.run_folders import RESULTS, is_finished, metrics_rows, scores_of

DONE, PRUNED, FAILED, UNFINISHED = "done", "pruned", "failed", "unfinished"


def run_of(plan: Plan, run: Run, problem: str | None, pruned: bool, more_is_better: bool) -> dict[str, Any]:
    """A run as study.json has it.

    Keys that begin with ``time.`` or ``memory.`` are measurements of the machine; everything else repeats.
    """
    folder = plan.folder / run.name
    found: dict[str, Any] = {"seed": run.seed, "folder": run.name, "state": _state(folder, problem, pruned),
                             "problem": problem, "steps": None, "skipped_steps": None, "metrics": {},
                             "precision": None, "lam": None, "steps_to_target": None,
                             "time.seconds": None, "time.tokens_per_second": None, "time.to_target": None,
                             "memory.peak_bytes": None}
    if found["state"] != DONE:
        return found
    results = read_json(folder / RESULTS)
    found |= {"steps": results["steps"], "skipped_steps": results["skipped_steps"], "metrics": scores_of(results),
              "precision": results["precision"], "lam": (results.get("lam") or {}).get("value"),
              "memory.peak_bytes": results["peak_memory_bytes"]}
    alone = plan.study.parallel == 1
    if alone:
        found |= {"time.seconds": results["seconds"], "time.tokens_per_second": results["tokens_per_second"]}
    if (target := plan.study.target_score) is not None:
        step = step_of_score(metrics_rows(folder), plan.metric, target, more_is_better)
        found["steps_to_target"] = step
        if step is not None and alone:
            found["time.to_target"] = seconds_until(metrics_rows(folder), step)
    return found


def _state(folder: Path, problem: str | None, pruned: bool) -> str:
    if is_finished(folder):
        return DONE
    return FAILED if problem else PRUNED if pruned else UNFINISHED


def score_at(folder: Path, metric: str, step: int) -> float | None:
    """The validation's score at a step; None where there was none."""
    found = [row[metric] for row in metrics_rows(folder)
             if row["split"] == "validation" and row["step"] == step and metric in row]
    return float(found[-1]) if found else None


def step_of_score(rows: list[dict[str, Any]], metric: str, target: float, more_is_better: bool) -> int | None:
    """The step of the first validation that came to a score; None where none did."""
    return next((int(row["step"]) for row in rows if row["split"] == "validation" and metric in row
                 and (row[metric] >= target if more_is_better else row[metric] <= target)), None)


def seconds_until(rows: list[dict[str, Any]], step: int) -> float:
    """Training time up to a step, from the mean step time of each logged window."""
    seconds, before = 0.0, 0
    for row in rows:
        if row["split"] == "train" and before < step:
            seconds += (min(step, int(row["step"])) - before) * float(row["time.step"])
            before = int(row["step"])
    return seconds
