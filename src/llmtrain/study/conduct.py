"""A study from its plan to its results: measure paces, tell the cost, train, compare, write."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from llmtrain.config.sections.study import Equal
from llmtrain.core.children import Forwarding
from llmtrain.core.errors import ConfigError, LlmtrainError, Stopped
from llmtrain.core.files import clear_staged, write_json, write_text
from llmtrain.core.lock import FolderLock
from llmtrain.core.logging import say, warn
from llmtrain.core.signals import tell_unhandled
from llmtrain.core.started_as import command
from llmtrain.study.halving import going_on, rungs_of
from llmtrain.study.measured import score_at
from llmtrain.study.paces import STEPS, Pace, Paces, lengths
from llmtrain.study.plan import STUDY, Plan, Run, begin
from llmtrain.study.run_folders import is_finished, refuse_others
from llmtrain.study.starting import check_parallel, run_of_pace
from llmtrain.study.work import StudyRuns

CSV = "study.csv"
WORTH_MEASURING = 10  # times the steps of a measurement that runs must have for one, where only the estimate needs it


@dataclass(slots=True)
class Course:
    """How a study went.

    Attributes:
        pruned: The step at which successive halving left a cell.
        scores: Of each cell at each rung.
    """

    pruned: dict[str, int] = field(default_factory=dict)
    scores: dict[str, list[float]] = field(default_factory=dict)


def conduct(plan: Plan, only_plan: bool = False) -> int:
    """Do a study, or what is left of it; 0, or the exit code of the first run that failed.

    Args:
        only_plan: Measure the paces that lengths need, tell the cost, and train nothing.

    Raises:
        ConfigError: It cannot be done here, or its folder belongs to another one.
        Stopped: A signal asked to stop; the same command goes on.
    """
    from llmtrain.study.results import judge, study_of

    check_parallel(plan)
    metric = judge(plan)
    if only_plan and plan.minutes is None:  # nothing to measure: nothing is written
        found = Paces(plan.folder)
        known = {cell.name: pace for cell in plan.cells if (pace := found.get(cell)) is not None}
        for line in costs(with_lengths(plan, known), known, metric.margin):
            say(line)
        return 0
    with FolderLock(plan.folder):
        clear_staged(plan.folder)
        begin(plan, metric.margin)
        tell_unhandled()
        with Forwarding(also=(signal.SIGUSR1,)) as forwarding:
            paces, plan = measured(plan, forwarding)
            refuse_others(plan, plan.runs())
            for line in costs(plan, paces, metric.margin):
                say(line)
            if only_plan:
                return 0
            work = StudyRuns(plan, forwarding, paces)
            course = Course()
            if plan.study.halving is None:
                work.train(plan.runs())
            else:
                halve(plan, work, course, metric.more_is_better)
        study = study_of(plan, work.problems, course.pruned, course.scores)
        write_text(plan.folder / CSV, _csv(study))
        write_json(plan.folder / STUDY, study)
        show(study)
        say(f"all of it: {plan.folder / STUDY} and {CSV} (a line a run); drawn: {command('report', plan.folder)}")
    return work.codes[0] if work.codes else 0


def _csv(found: dict[str, Any]) -> str:
    from llmtrain.study.cell_table import csv_of

    return csv_of(found)


def show(found: dict[str, Any]) -> None:
    """Print the table and the verdicts of a study.json."""
    from rich.console import Console

    from llmtrain.evaluation.report import PLAIN_WIDTH
    from llmtrain.study.cell_table import print_study

    print_study(Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH), found)


def measured(plan: Plan, forwarding: Forwarding) -> tuple[dict[str, Pace], Plan]:
    """The pace of each cell, and the plan with its lengths; no paces where neither needs them."""
    paces = Paces(plan.folder)
    rounds = plan.study.rounds if plan.minutes is not None else _rounds_for_estimate(plan)
    missing = paces.missing(plan.cells, rounds)
    if missing:
        say(f"measuring the pace of {len(plan.cells)} cells, {rounds} x {STEPS} steps each")
    failed: dict[str, str] = {}
    for number, (cell, turn) in enumerate(missing, 1):
        if cell.name in failed:
            continue
        try:
            paces.measure(cell, turn, partial(run_of_pace, plan, forwarding, Run(cell, plan.seeds[0], STEPS)))
        except LlmtrainError as error:
            if isinstance(error, Stopped) or cell.base:
                raise
            failed[cell.name] = error.problems[0]
            say(f"  {number} of {len(missing)}: {error.problems[0]}; the cell is left out")
            continue
        pace = paces.get(cell)
        assert pace is not None
        say(f"  {number} of {len(missing)}: {cell.name}  {pace.step:.3f} s a step")
    plan = plan.without(failed)
    known = {cell.name: pace for cell in plan.cells if (pace := paces.get(cell)) is not None}
    return known, with_lengths(plan, known)


def with_lengths(plan: Plan, paces: dict[str, Pace]) -> Plan:
    """The plan with as many steps as the minutes of each run hold, or as its rungs can be counted in."""
    cells, halving = plan.cells, plan.study.halving
    if halving is None:
        if plan.minutes is None:
            return plan
        steps = lengths(cells, paces, plan.minutes, plan.study.equal is Equal.steps)
        return plan.with_lengths({name: (f"trainer.max_steps={count}",) for name, count in steps.items()})
    rungs = rungs_of(len(cells) - 1, halving)
    if plan.minutes is None:
        steps = {cell.name: cell.config.trainer.max_steps or 0 for cell in cells}
    else:
        minutes = plan.minutes
        if plan.study.total_minutes is not None:
            minutes = plan.study.total_minutes / len(plan.seeds) / rungs.cost(len(cells) - 1)
        steps = lengths(cells, paces, minutes, plan.study.equal is Equal.steps)
    unit = halving ** len(rungs.shares)
    if (least := min(steps.values())) < unit:
        raise ConfigError(f"runs of {least} steps cannot be halved {len(rungs.shares)} times; give them {unit} steps "
                          "or more, or leave out study.halving")
    return plan.with_lengths({
        name: (f"trainer.max_steps={count // unit * unit}", f"trainer.eval_every={count // unit}")
        for name, count in steps.items()})


def _rounds_for_estimate(plan: Plan) -> int:
    """Once where it costs little beside the study itself."""
    steps = plan.config.trainer.max_steps
    return 1 if steps is not None and steps >= WORTH_MEASURING * STEPS else 0


def costs(plan: Plan, paces: dict[str, Pace], margin: float) -> list[str]:
    """What the study will do and take, before it starts."""
    runs = plan.runs()
    done = sum(is_finished(plan.folder / run.name) for run in runs)
    lines = [f"study: {len(plan.cells)} cells x {len(plan.seeds)} seeds = {len(runs)} runs in {plan.folder}"
             + (f", {done} of them done" if done else "")]
    for cell in plan.cells:
        pace = paces.get(cell.name)
        steps = cell.config.trainer.max_steps if plan.is_measured else None
        length = "" if steps is None else f"  {steps:,} steps"
        timed = "" if pace is None else f" of {pace.step:.3f} s"
        base = "  (base cell: the task term alone in fp32)" if cell.base else ""
        lines.append(f"  {cell.name}{length}{timed}{base}")
    lines += [f"  left out: {one.name}: {one.problem}" for one in plan.left_out]
    lines.append(f"judged by {plan.metric}; a difference below {margin:g} does not matter (fixed from here on)")
    if plan.study.halving is not None:
        rungs = rungs_of(len(plan.cells) - 1, plan.study.halving)
        told = ", ".join(f"{share:.0%}" for share in rungs.shares)
        lines.append(f"successive halving: one in {plan.study.halving} cells goes on at {told} of the steps; the base "
                     "cell always does")
    return [*lines, _estimate(plan, paces, [run for run in runs if not is_finished(plan.folder / run.name)])]


def _estimate(plan: Plan, paces: dict[str, Pace], runs: list[Run]) -> str:
    if not runs:
        return "cost: nothing is left to train"
    share = 1.0
    if plan.study.halving is not None:
        cells = len(plan.cells) - 1
        share = rungs_of(cells, plan.study.halving).cost(cells) / (cells + 1)
    if not plan.is_measured:
        return (f"cost: {(plan.minutes or 0) * len(runs):.3g} min of training; paces are measured first, then lengths "
                "are fixed")
    known = [(paces[run.cell.name], run.steps) for run in runs if run.cell.name in paces and run.steps is not None]
    if len(known) < len(runs):
        steps = [run.steps for run in runs if run.steps is not None]
        total = f"{sum(steps) * share:,.0f} steps" if len(steps) == len(runs) else (
            f"{sum(run.cell.config.trainer.max_epochs or 0 for run in runs):g} passes over the training rows")
        return f"cost: {total}; the time left is told after the first run"
    training = sum(pace.step * steps for pace, steps in known) * share / plan.study.parallel
    starts = sum(pace.start for pace, _ in known) / plan.study.parallel
    beside = " each on a GPU or cores of its own," if plan.study.parallel > 1 else ""
    return (f"cost:{beside} about {_time(training)} of training and {_time(starts)} of starting runs; validations and "
            "the final scoring come on top")


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else (
        f"{seconds / 3600:.1f} h")


def halve(plan: Plan, work: StudyRuns, course: Course, more_is_better: bool) -> None:
    """Train by successive halving; the base cell goes on at every rung."""
    assert plan.study.halving is not None
    rungs = rungs_of(len(plan.cells) - 1, plan.study.halving)
    unit = rungs.factor ** len(rungs.shares)
    alive = [cell.name for cell in plan.cells]
    base = plan.cells[0].name
    for rung in range(len(rungs.shares)):
        pause = {run.cell.name: rungs.step(rung, (run.steps or 0) // unit) for run in plan.runs()}
        runs = [run for run in plan.runs() if run.cell.name in alive]
        say(f"rung {rung + 1} of {len(rungs.shares)}: {len(alive)} cells")
        work.train(runs, pause)
        scores = _scores(plan, work, runs, pause)
        for name, score in scores.items():
            course.scores.setdefault(name, []).append(score)
        contest = {name: score for name, score in scores.items() if name != base}
        ahead = [base, *going_on(contest, rungs.factor, more_is_better)]
        for name in alive:
            if name in contest and name not in ahead:
                course.pruned[name] = pause[name]
                say(f"  {name} goes no further: {plan.metric} {scores[name]:.2f} at step {pause[name]}")
        alive = [name for name in alive if name in ahead]
    work.train([run for run in plan.runs() if run.cell.name in alive])


def _scores(plan: Plan, work: StudyRuns, runs: list[Run], pause: dict[str, int]) -> dict[str, float]:
    """The mean score of each cell at a rung, over its seeds; cells of which a run failed have none."""
    found: dict[str, list[float]] = {}
    lost = set()
    for run in runs:
        value = score_at(work.folder(run), plan.metric, pause[run.cell.name])
        if run.name in work.problems or value is None:
            lost.add(run.cell.name)
        else:
            found.setdefault(run.cell.name, []).append(value)
    for name in lost:
        if name not in {run.cell.name for run in runs if run.name in work.problems}:
            warn(f"{name} has no {plan.metric} at step {pause[name]}; it goes no further")
    scores = {name: sum(values) / len(values) for name, values in found.items() if name not in lost}
    if not scores:
        raise ConfigError(f"no cell has a {plan.metric} at the first rung; look at the logs in {plan.folder / 'logs'}")
    return scores
