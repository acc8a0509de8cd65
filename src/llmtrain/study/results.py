"""study.json: every cell with its mean and spread over seeds, against the base cell and against itself in fp32."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from llmtrain.config.members import members_of
from llmtrain.config.plain import plain
from llmtrain.config.run_id import differing_keys, result_dict
from llmtrain.config.sections.objective import base_terms_of
from llmtrain.core.errors import DataError
from llmtrain.evaluation.comparison import ComparedMetric, compare
from llmtrain.evaluation.outcome import Outcome, alike, joined, stored_outcome
from llmtrain.evaluation.verdict import verdict
from llmtrain.study.grid import FP32, Cell
from llmtrain.study.measured import DONE, FAILED, run_of
from llmtrain.study.plan import MEASURED, Plan
from llmtrain.study.verdicts import time_verdicts, verdicts
from llmtrain.tasks.metric import Metric
from llmtrain.tasks.task import task_named

SCHEMA_VERSION = 1
READ_BY_L1 = ("data.label", "data.unlabelled", "data.preprocess")  # what base terms alone may read
MEANS = ("skipped_steps", "lam", "time.seconds", "time.tokens_per_second", "memory.peak_bytes")


@dataclass(frozen=True, slots=True)
class Scores:
    """The metrics of one of a run's tasks.

    Attributes:
        member: The task's name in the run; empty for the only one.
        metrics: By their names in results.json.
    """

    member: str
    metrics: dict[str, Metric]


def scores_of_plan(plan: Plan) -> list[Scores]:
    """The metrics of a study's runs, the judging one with the study's own margin."""
    found = []
    for member in members_of(plan.config):
        metrics = {member.named(one.name): one for one in task_named(member.config.task.name).metrics}
        if plan.study.margin is not None and plan.metric in metrics:
            metrics[plan.metric] = replace(metrics[plan.metric], margin=plan.study.margin)
        found.append(Scores(member.name, metrics))
    return found


def judge(plan: Plan) -> Metric:
    """The metric that cells are judged by."""
    return next(scores.metrics[plan.metric] for scores in scores_of_plan(plan) if plan.metric in scores.metrics)


def study_of(plan: Plan, problems: Mapping[str, str], pruned: Mapping[str, int],
             rung_scores: Mapping[str, list[float]]) -> dict[str, Any]:
    """The content of study.json.

    Args:
        problems: Why runs failed, by their names.
        pruned: The step at which cells were left, by their names.
        rung_scores: Of each cell at each rung that it came to.
    """
    metric = judge(plan)
    cells = [_cell(plan, cell, problems, pruned, rung_scores, metric) for cell in plan.cells]
    by_name = {cell["name"]: cell for cell in cells}
    done = [cell for cell in plan.cells if any(run["state"] == DONE for run in by_name[cell.name]["runs"])]
    _compare(plan, done, by_name)
    first = by_name[plan.cells[0].name]
    scored = None
    if done[:1] == plan.cells[:1]:
        judged = next(scores for scores in scores_of_plan(plan) if plan.metric in scores.metrics)
        scored = _outcome(plan, plan.cells[0], judged.member, first)
    found = {
        "kind": "study", "schema_version": SCHEMA_VERSION, "name": plan.folder.name, "task": plan.config.task.name,
        "metric": plan.metric, "more_is_better": metric.more_is_better, "unit": metric.unit, "digits": metric.digits,
        "margin": metric.margin, "split": scored.split if scored else None, "rows": scored.size if scored else None,
        "equal": plan.study.equal.value, "halving": plan.study.halving, "target_score": plan.study.target_score,
        "seeds": list(plan.seeds), "axes": {axis.name: [plain(value.shown) for value in axis.values]
                                            for axis in plan.axes},
        "base": plan.cells[0].name, "cells": cells,
        "left_out": [{"cell": one.name, "problem": one.problem} for one in plan.left_out],
        "time.pareto": front(cells, plan.metric, metric, "time.seconds"),
        "memory.pareto": front(cells, plan.metric, metric, "memory.peak_bytes"),
    }
    return found | {"verdicts": verdicts(found), "time.verdicts": time_verdicts(found)}


def _cell(plan: Plan, cell: Cell, problems: Mapping[str, str], pruned: Mapping[str, int],
          rung_scores: Mapping[str, list[float]], metric: Metric) -> dict[str, Any]:
    left = pruned.get(cell.name)
    runs = [run_of(plan, run, problems.get(run.name), left is not None, metric.more_is_better)
            for run in plan.runs() if run.cell.name == cell.name]
    done = [run for run in runs if run["state"] == DONE]
    failed = [run for run in runs if run["state"] == FAILED]
    problem = f"{len(failed)} of {len(runs)} seeds failed: {failed[0]['problem']}" if failed else None
    states = [run["state"] for run in runs]
    found: dict[str, Any] = {
        "name": cell.name, "base": cell.base, "axes": plain(cell.axes), "overrides": list(cell.overrides),
        "state": DONE if done else states[0], "problem": problem,
        "steps": done[0]["steps"] if done else left, "rung_scores": list(rung_scores.get(cell.name, ())), "runs": runs,
        "joint": bool(base_terms_of(cell.config.objective)), "beside_loss": _beside_loss(plan.cells[0], cell),
        "requested": cell.config.precision.name.value,
        "effective": sorted({str(run["precision"]["effective"]) for run in done}),
        "metrics": {}, "against_base": None, "against_fp32": None,
        "reached_target": sum(run["steps_to_target"] is not None for run in done)}
    found |= {key: _mean([run[key] for run in done]) for key in MEANS}
    reached = [run for run in done if run["steps_to_target"] is not None]
    everywhere = bool(done) and len(reached) == len(done)
    found |= {key: _mean([run[key] for run in reached]) if everywhere else None
              for key in ("steps_to_target", "time.to_target")}
    for name in done[0]["metrics"] if done else ():
        values = [run["metrics"][name] for run in done]
        found["metrics"][name] = {"mean": statistics.fmean(values),
                                  "spread": statistics.stdev(values) if len(values) > 1 else None,
                                  "low": None, "high": None}
    return found


def _beside_loss(base: Cell, cell: Cell) -> list[str]:
    """The keys by which a cell differs from the base cell that are neither its loss nor its number format nor its
    length."""
    found = differing_keys(result_dict(base.config), result_dict(cell.config))
    return sorted(key for key in found if key not in (*MEASURED, *READ_BY_L1)
                  and not key.startswith(("objective", "precision")))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def _compare(plan: Plan, done: Sequence[Cell], by_name: dict[str, dict[str, Any]]) -> None:
    """Put the differences to the base cell, and to the same cell in fp32, into the cells."""
    for scores in scores_of_plan(plan):
        outcomes = {cell.name: _outcome(plan, cell, scores.member, by_name[cell.name]) for cell in done}
        base = outcomes.get(plan.cells[0].name)
        if base is not None:
            _against_base(plan, scores, base, list(outcomes.values()), by_name)
        for cell in done:
            if (twin := twin_of(cell, done)) is not None:
                found = _compared(plan, scores, [outcomes[twin.name], outcomes[cell.name]])
                own = by_name[cell.name]
                own["against_fp32"] = own["against_fp32"] or {"cell": twin.name, "metrics": {}}
                own["against_fp32"]["metrics"] |= {name: _difference(one, cell.name) for name, one in found.items()}


def _against_base(plan: Plan, scores: Scores, base: Outcome, outcomes: Sequence[Outcome],
                  by_name: dict[str, dict[str, Any]]) -> None:
    same, unlike = [base], {}
    for one in outcomes:
        if one is base:
            continue
        try:
            alike([base, one])
            same.append(one)
        except DataError as error:
            unlike[one.label] = error.problems[0]
    for label, problem in unlike.items():
        by_name[label]["problem"] = by_name[label]["problem"] or f"not compared: {problem}"
    for name, found in _compared(plan, scores, same).items():
        for one in same:
            interval = found.sides[one.label]
            if name in by_name[one.label]["metrics"]:
                by_name[one.label]["metrics"][name] |= {"low": interval.low, "high": interval.high}
            if one is not base:
                own = by_name[one.label]
                own["against_base"] = (own["against_base"] or {}) | {name: _difference(found, one.label)}


def _compared(plan: Plan, scores: Scores, outcomes: Sequence[Outcome]) -> dict[str, ComparedMetric]:
    names = {id(metric): name for name, metric in scores.metrics.items()}
    found = compare(alike(outcomes), list(scores.metrics.values()), samples=plan.study.samples)
    return {names[id(one.metric)]: one for one in found}


def _difference(found: ComparedMetric, label: str) -> dict[str, Any]:
    return asdict(found.differences[label]) | {"better": found.better(label), "verdict": verdict(found, label)}


def _outcome(plan: Plan, cell: Cell, member: str, found: dict[str, Any]) -> Outcome:
    """The scored rows of a cell's finished runs."""
    return joined(cell.name, [stored_outcome(cell.name, plan.folder / run["folder"], member or None)
                              for run in found["runs"] if run["state"] == DONE])


def twin_of(cell: Cell, cells: Sequence[Cell]) -> Cell | None:
    """The cell that differs from a low-precision one by its number format alone, in fp32."""
    if cell.config.precision.name.value == FP32:
        return None
    own = result_dict(cell.config)
    return next((one for one in cells if one.config.precision.name.value == FP32 and all(
        key.startswith("precision") or key in MEASURED for key in differing_keys(own, result_dict(one.config)))), None)


def front(cells: Sequence[dict[str, Any]], name: str, metric: Metric, cost: str) -> list[str]:
    """The cells that no other beats both in score and in cost, the cheapest first."""
    known = [(cell[cost], cell["metrics"][name]["mean"] * (1 if metric.more_is_better else -1), cell["name"])
             for cell in cells if cell[cost] is not None and name in cell["metrics"]]
    front = [one for one in known if not any(
        other[0] <= one[0] and other[1] >= one[1] and other[:2] != one[:2] for other in known)]
    return [cell for _, _, cell in sorted(front)]
