"""What the report says of several runs, in words: which is best, and whether that may be chance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import stdev
from typing import Any

from llmtrain.evaluation.confidence import Interval
from llmtrain.report.headline import GOOD, LUCK, NOTE, WARNING, Sentence, beside_baselines, best_run, figures
from llmtrain.report.task_parts import TaskPart
from llmtrain.tasks.metric import Metric

SEED = "run.seed"
LEVEL = 0.05  # of p-values


def of_sides(part: TaskPart, found: Mapping[str, Any]) -> Iterator[Sentence]:
    """Which of several settings or runs is best, and whether that may be chance.

    Args:
        found: What :func:`llmtrain.evaluation.comparison_report.comparison` tells.
    """
    metric = part.task.metrics[0]
    if metric.name not in found["metrics"]:
        metric = next(one for one in part.task.metrics if one.name in found["metrics"])
    compared = found["metrics"][metric.name]
    sides, tests, first = compared["sides"], compared["differences"], found["sides"][0]["label"]
    best = (max if metric.more_is_better else min)(sides, key=lambda label: sides[label]["value"])
    tested = {best: tests[best]} if best != first else tests
    sure = [label for label, one in tested.items() if one["p_holm"] < LEVEL]
    over = "" if best == first else f" over {first}"
    seeds = {side["label"]: len(side["seeds"]) for side in found["sides"]}
    most = max(seeds.values())
    alone = next((run for run in part.runs if run.name == best), None)  # as the tables show it
    value = (alone.value(metric.name) if alone is not None else None) or sides[best]
    rows = f"{found['rows']:,} {found['split']} rows" + (f" and up to {most} seeds" if most > 1 else "")
    told = _certainty(sure, tested, over, LUCK_OF[seeds_known(seeds.values())])
    won = len(sure) == len(tested)
    place = "is best" if won else "is in front, and no winner is shown"
    yield Sentence(GOOD if won else LUCK, f"{best} {place}: {metric.heading} {figures(value, metric)} on {rows}{told}.")
    for label, one in tests.items():
        if best == first:
            yield _ahead(best, label, one, metric, LUCK_OF[seeds_known((seeds[best], seeds[label]))])
        else:
            better = (one["value"] > 0) is metric.more_is_better
            kind = LUCK if one["p_holm"] >= LEVEL else GOOD if better else NOTE
            yield Sentence(kind, f"{label} against {first}: {one['verdict']}.")


LUCK_OF = {"none": "the luck of these rows", "all": "the luck of rows and seeds",
           "some": "the luck of these rows, and of the seeds where there are several,"}


def seeds_known(numbers: Iterable[int]) -> str:
    """Whether all, some or none of several sides have more seeds than one, so that tests know the chance of them."""
    several = [number > 1 for number in numbers]
    return "all" if all(several) else "some" if any(several) else "none"


def _certainty(sure: Sequence[str], tested: Mapping[str, Any], over: str, luck: str) -> str:
    if len(sure) == len(tested):
        return f", and its lead{over} is more than {luck}"
    if not sure:
        return f", but its lead{over} may be luck"
    return f"; its lead over {', '.join(sure)} is more than {luck}, over the others it may be luck"


def _ahead(best: str, other: str, one: Mapping[str, Any], metric: Metric, luck: str) -> Sentence:
    if one["value"] == 0:
        return Sentence(LUCK, f"{best} and {other} have the same {metric.heading}.")
    gap = {"value": -one["value"], "low": 0 - one["high"], "high": 0 - one["low"]} if metric.more_is_better else one
    told = f"{best} is ahead of {other} by {figures(gap, metric)} {metric.heading}, p {probability(one)}"
    if one["p_holm"] < LEVEL:
        return Sentence(GOOD, f"{told}: more than {luck}.")
    return Sentence(LUCK, f"{told}: {luck} explains that.")


def of_seeds(part: TaskPart, mean: Interval) -> Iterator[Sentence]:
    """What a setting gives whose seeds alone the runs are.

    Args:
        mean: Over the seeds, with its interval over rows and seeds.
    """
    metric = part.task.metrics[0]
    values = [one["value"] for run in part.runs if (one := run.value(metric.name))]
    best, value = best_run(part, metric), asdict(mean)
    if best is None or len(values) < 2:
        return
    rows = best.scores["rows"][best.split]
    yield Sentence(GOOD, f"{metric.heading[0].upper()}{metric.heading[1:]} {figures(value, metric)} on {rows:,} "
                         f"{best.split} rows: the mean of {len(values)} runs that differ in {SEED} alone, with a "
                         f"standard deviation of {stdev(values):.{metric.digits}f} from seed to seed.")
    yield Sentence(LUCK, f"{best.name} is best with {figures(best.value(metric.name) or value, metric)}, and that is "
                         "the luck of its seed: all other settings are the same, and the mean is what they give.")
    yield from beside_baselines(part, value, "The mean")


def of_several_runs(part: TaskPart, found: Mapping[str, Any] | None, mismatch: Sequence[str]) -> Iterator[Sentence]:
    """Which run or setting is best, and whether that may be chance.

    Args:
        found: What the comparison tells.
        mismatch: Why there is none.
    """
    metric = part.task.metrics[0]
    best = best_run(part, metric)
    value = best.value(metric.name) if best is not None else None
    if best is None or value is None:
        return
    name = best.name
    if found is not None:
        yield from of_sides(part, found)
        if metric.name in found["metrics"] and len(found["sides"]) < len(part.runs):  # of settings the best one
            name = found["sides"][0]["label"]
            value = found["metrics"][metric.name]["sides"][name]
    else:
        yield Sentence(NOTE, f"{name} has the best value: {metric.heading} {figures(value, metric)} on "
                             f"{best.scores['rows'][best.split]:,} {best.split} rows.")
    for problem in mismatch:
        yield Sentence(WARNING, f"No test between these runs is possible: {problem}")
    single = [side["label"] for side in found["sides"] if len(side["seeds"]) == 1] if found is not None else []
    if found is not None and len(single) == len(found["sides"]):
        yield Sentence(NOTE, "There is one run of each setting: these tests know the chance of the rows and not that "
                             "of the seed, which moves a score too. Two more seeds of each would tell.")
    elif single:
        yield Sentence(NOTE, f"There is one run of {', '.join(single)}: the chance of its seed is in no test. Two more "
                             "seeds would tell.")
    yield from beside_baselines(part, value, name)


def probability(one: Mapping[str, Any]) -> str:
    """A p-value, adjusted for the number of runs."""
    return "< 0.001" if one["p_holm"] < 0.001 else f"= {one['p_holm']:.3f}"
