"""How the runs of a report differ, by the tests of ``llmtrain compare``; runs of one setting are its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from llmtrain.core.errors import LlmtrainError
from llmtrain.evaluation.comparison import compare
from llmtrain.evaluation.comparison_report import comparison
from llmtrain.evaluation.confidence import Interval, value_of
from llmtrain.evaluation.outcome import Outcome, alike, is_stored, joined, stored_outcome
from llmtrain.report.ranking import SEED
from llmtrain.report.run_record import RunRecord
from llmtrain.report.task_parts import ScoredRun, TaskPart


def settings(part: TaskPart, unlike: Mapping[str, Sequence[str]]) -> dict[str, list[ScoredRun]]:
    """The runs by what they were configured as, the seed apart, where some have one setting and not all; else each run
    alone.

    Args:
        unlike: The keys by which the configurations of the part's runs differ, with the value of each run.
    """
    alone = {run.name: [run] for run in part.runs}
    keys = [key for key in unlike if key != SEED]
    if SEED not in unlike or not keys:
        return alone
    found: dict[str, list[ScoredRun]] = {}
    for place, run in enumerate(part.runs):
        found.setdefault(" ".join(f"{key}={unlike[key][place] or 'null'}" for key in keys), []).append(run)
    return found if len(found) < len(part.runs) else alone


def differences(part: TaskPart, runs: list[RunRecord], sides: Mapping[str, Sequence[ScoredRun]],
                ) -> tuple[dict[str, Any] | None, list[str]]:
    """All sides against the best one, as ``llmtrain compare --json`` tells it; or why there is no test.

    Which is the best is found on the same rows, and p-values have regard to that.
    """
    try:
        outcomes = [one for label, own in sides.items() if (one := _joined(label, runs, own)) is not None]
        if len(outcomes) < 2:
            return None, []
        metric = next((metric for metric in part.task.metrics if all(
            metric.is_there(rows) for one in outcomes for rows in one.rows)), part.task.metrics[0])
        values = {one.label: fmean(value_of(metric.columns(rows), metric.combine) for rows in one.rows)
                  for one in alike(outcomes)}
        best = (max if metric.more_is_better else min)(values, key=lambda label: values[label])
        return comparison(sorted(outcomes, key=lambda one: one.label != best), chosen=True), []
    except LlmtrainError as error:
        return None, error.problems


def mean_of_seeds(part: TaskPart, runs: list[RunRecord]) -> Interval | None:
    """What the setting of runs that differ in their seed alone gives, over rows and seeds; None where the runs were
    not scored on the same rows."""
    try:
        outcome = _joined("all", runs, part.runs)
        return None if outcome is None else compare([outcome], part.task.metrics[:1])[0].sides["all"]
    except LlmtrainError:
        return None


def _joined(label: str, runs: list[RunRecord], own: Sequence[ScoredRun]) -> Outcome | None:
    """A side's runs as its seeds; None where none of them was scored."""
    scored = [_outcome(run.name, run, runs[run.number]) for run in own
              if run.split is not None and is_stored(runs[run.number].path)]
    return joined(label, scored) if scored else None


def _outcome(label: str, run: ScoredRun, record: RunRecord) -> Outcome:
    member = next((name for name, scores in record.members().items() if scores is run.scores), "")
    return stored_outcome(label, record.path, member or None)


def told(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """A line for each side and metric."""
    return [{"run": label, "metric": metric["heading"], "told": metric["differences"][label]["verdict"]}
            for label in (side["label"] for side in found["sides"][1:]) for metric in found["metrics"].values()]


def method(found: Mapping[str, Any]) -> str:
    """How the tests were made, in a sentence or two."""
    notes = dict.fromkeys(note for notes in found["notes"].values() for note in notes)
    return (f"Bootstrap over the same {found['rows']:,} {found['split']} rows, {found['samples']:,} resamples, as "
            f"llmtrain compare makes it; {'; '.join(notes)}.")
