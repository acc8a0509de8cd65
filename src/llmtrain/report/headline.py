"""What the report says first, in words: how good the runs are, which is best, and whether that may be chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from llmtrain.report.prediction_rows import Compared
from llmtrain.report.run_record import RunRecord
from llmtrain.report.task_parts import ScoredRun, TaskPart
from llmtrain.tasks.metric import Metric

GOOD, LUCK, NOTE, WARNING = "good", "luck", "note", "warning"
SEED = "run.seed"
MUCH = 0.2  # share of sources that are cut, from which on it is told
LEVEL = 0.05  # of p-values
NAMED = 4  # runs whose shares are told one by one
FEW = 100  # rows, below which an interval is told to be rough


@dataclass(frozen=True, slots=True)
class Sentence:
    """Something that the report says.

    Attributes:
        kind: ``good``, ``luck`` (it may be chance), ``note`` or ``warning``.
        goes_to: The order of the predictions that shows it, where one does; ``part``: whose predictions those are.
    """

    kind: str
    text: str
    goes_to: str = ""
    part: str = ""


def figures(value: Mapping[str, float], metric: Metric, signed: bool = False) -> str:
    """A value with its interval."""
    sign = "+" if signed else ""
    point, low, high = (f"{value[name]:{sign}.{metric.digits}f}" for name in ("value", "low", "high"))
    return f"{point} [{low}, {high}]"


def best_run(part: TaskPart, metric: Metric) -> ScoredRun | None:
    """The run with the best value, on the rows that are kept."""
    scored = [(value["value"], run) for run in part.runs if (value := run.value(metric.name)) is not None]
    return (max if metric.more_is_better else min)(scored, key=lambda pair: pair[0])[1] if scored else None


def of_one_run(part: TaskPart) -> Iterator[Sentence]:
    """How good the only run of a part is, beside what trivial methods give."""
    run, metric = part.runs[0], part.task.metrics[0]
    value = run.value(metric.name)
    if value is None:
        return
    rows = run.scores["rows"][run.split]
    heading = f"{metric.heading[0].upper()}{metric.heading[1:]}"
    yield Sentence(GOOD, f"{heading} {figures(value, metric)} on {rows:,} {run.split} rows.")
    yield from _beside_baselines(part, run, "It")
    if rows < FEW:
        yield Sentence(WARNING, f"{rows} rows are few: the interval itself is rough.")


def _beside_baselines(part: TaskPart, run: ScoredRun, name: str) -> Iterator[Sentence]:
    """A run beside what trivial methods give on the same rows."""
    metric = part.task.metrics[0]
    value = run.value(metric.name)
    for baseline, scores in (run.scores.get("baselines") or {}).items():
        other = scores.get(metric.name)
        if value is None or other is None:
            continue
        which = f"the {part.task.baseline_labels.get(baseline, baseline)} ({figures(other, metric)})"
        gap = value["value"] - other["value"]
        better = (gap > 0) is metric.more_is_better
        if value["low"] <= other["high"] and other["low"] <= value["high"]:
            yield Sentence(LUCK, f"{name} cannot be told from {which}: the intervals overlap.")
        else:
            yield Sentence(GOOD if better else NOTE, f"{name} is {abs(gap):.{metric.digits}f} "
                           f"{'better' if better else 'worse'} than {which}, and the intervals do not overlap.")


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
    several = max(len(side["seeds"]) for side in found["sides"])
    alone = next((run for run in part.runs if run.name == best), None)  # as the tables show it
    value = (alone.value(metric.name) if alone is not None else None) or sides[best]
    rows = f"{found['rows']:,} {found['split']} rows" + (f" and up to {several} seeds" if several > 1 else "")
    yield Sentence(GOOD if len(sure) == len(tested) else LUCK, f"{best} is best: {metric.heading} "
                   f"{figures(value, metric)} on {rows}{_certainty(sure, tested, over)}.")
    for label, one in tests.items():
        if best == first:
            yield _ahead(best, label, one, metric, several > 1)
        else:
            better = (one["value"] > 0) is metric.more_is_better
            kind = LUCK if one["p_holm"] >= LEVEL else GOOD if better else NOTE
            yield Sentence(kind, f"{label} against {first}: {one['verdict']}.")


def _certainty(sure: Sequence[str], tested: Mapping[str, Any], over: str) -> str:
    if len(sure) == len(tested):
        return f", and its lead{over} is not luck"
    if not sure:
        return f", but its lead{over} may be luck"
    return f"; its lead over {', '.join(sure)} is not luck, over the others it may be"


def _ahead(best: str, other: str, one: Mapping[str, Any], metric: Metric, seeds: bool) -> Sentence:
    gap = {"value": -one["value"], "low": -one["high"], "high": -one["low"]} if metric.more_is_better else one
    told = f"{best} is ahead of {other} by {figures(gap, metric)} {metric.heading}, p {probability(one)}"
    which = "rows and seeds" if seeds else "the rows"
    if one["p_holm"] < LEVEL:
        return Sentence(GOOD, f"{told}: not luck with {which}.")
    return Sentence(LUCK, f"{told}: luck with {which} explains that.")


def of_several_runs(part: TaskPart, found: Mapping[str, Any] | None, mismatch: Sequence[str], unlike: Sequence[str],
                    ) -> Iterator[Sentence]:
    """Which run is best, whether that may be chance, and what the runs' settings have to do with it.

    Args:
        found: What the comparison tells.
        mismatch: Why there is none.
        unlike: The keys by which the runs' configurations differ.
    """
    metric = part.task.metrics[0]
    best = best_run(part, metric)
    value = best.value(metric.name) if best is not None else None
    if best is None or value is None:
        return
    if found is not None:
        yield from of_sides(part, found)
    else:
        yield Sentence(NOTE, f"{best.name} has the most: {metric.heading} {figures(value, metric)} on "
                             f"{best.scores['rows'][best.split]:,} {best.split} rows.")
    for problem in mismatch:
        yield Sentence(WARNING, f"No test between these runs is possible: {problem}")
    alone = found is not None and all(len(side["seeds"]) == 1 for side in found["sides"])
    if unlike == [SEED]:
        values = [one["value"] for run in part.runs if (one := run.value(metric.name))]
        yield Sentence(LUCK, f"The runs differ in {SEED} alone, so which of them is best is chance: what the setting "
                             f"gives is their mean, {mean(values):.{metric.digits}f}, with a standard deviation of "
                             f"{stdev(values):.{metric.digits}f} from seed to seed.")
    elif alone:
        yield Sentence(NOTE, "There is one run of each setting: these tests know the chance of the rows and not that "
                             "of the seed, which moves a score too. Two more seeds of each would tell.")
    yield from _beside_baselines(part, best, best.name)


def probability(one: Mapping[str, Any]) -> str:
    """A p-value, adjusted for the number of runs."""
    return "< 0.001" if one["p_holm"] < 0.001 else f"= {one['p_holm']:.3f}"


def of_training(runs: Sequence[RunRecord], metrics: Mapping[str, Metric]) -> Iterator[Sentence]:
    """What of the runs' course a reader should know; what is true of several is said once."""
    said: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        for sentence in (*_of_one(run), *_course(run, metrics)):
            said.setdefault((sentence.kind, sentence.text), []).append(run.name)
    for (kind, text), names in said.items():
        shared = len(names) == len(runs)
        yield Sentence(kind, f"{text[0].upper()}{text[1:]}" if shared else f"{', '.join(names)}: {text}")


def _of_one(run: RunRecord) -> Iterator[Sentence]:
    precision, results = run.results.get("precision") or {}, run.results
    if not results:
        step = run.last_step
        yield Sentence(WARNING, f"not finished; the log ends at step {step:,}." if step is not None else
                       "not finished, and nothing is logged yet.")
    requested, effective = precision.get("requested"), precision.get("effective")
    if requested and effective and not _is_same(requested, effective):
        yield Sentence(WARNING, f"{requested} was asked for and {effective} is what ran.")
    if results.get("skipped_steps"):
        yield Sentence(NOTE, f"{results['skipped_steps']:,} of {results['steps']:,} steps were skipped for values that "
                             "are not finite.")
    cut = ((results.get("truncation") or {}).get("test") or {}).get("sources", 0)
    if cut > MUCH:
        yield Sentence(WARNING, f"{percent(cut)} of the test sources were cut to "
                                f"{results['truncation']['test']['max_source_tokens']} tokens "
                                "(data.max_source_tokens): the model never saw the rest.")


def _is_same(requested: str, effective: str) -> bool:
    return {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}.get(requested, requested) == effective


def _course(run: RunRecord, metrics: Mapping[str, Metric]) -> Iterator[Sentence]:
    """Whether the best checkpoint is the last one: then more steps may give more."""
    wanted = str((run.config.get("trainer") or {}).get("best_metric") or "")
    metric, steps = metrics.get(wanted), run.results.get("steps")
    course = [row[wanted] for row in run.log if row.get("split") == "validation" and wanted in row]
    best = run.results.get("best_step")
    if metric is None or not steps or best is None or len(course) < 3:
        return
    gain = (course[-1] - course[-2]) * (1 if metric.more_is_better else -1)
    if best == steps and gain > 0:
        yield Sentence(NOTE, f"the last checkpoint is the best one, and {metric.heading} still gained "
                             f"{gain:.{metric.digits}f} since the validation before: more steps may help.")
    elif best < steps:
        yield Sentence(NOTE, f"the checkpoint of step {best:,} of {steps:,} was the best one; it is what was scored.")


def of_copying(part: TaskPart, rows: Sequence[Compared], identity: str) -> Iterator[Sentence]:
    """How much of what is written was copied, and wrongly.

    Args:
        identity: The part's on the page.
    """
    shares = {}
    for place, run in enumerate(part.runs):
        found = [one.origins for row in rows if (one := row.outputs[place]) is not None and one.origins is not None]
        words = sum(one.words for one in found)
        if words:
            wrong = sum(one.wrong_words for one in found)
            copied = wrong + sum(one.copied_words for one in found)
            shares[run.name] = (copied / words, wrong / words, sum(len(one.new) for one in found) / words)
    if not shares:
        return

    def each(place: int) -> str:
        if len(part.runs) == 1:
            return percent(next(iter(shares.values()))[place])
        if len(shares) > NAMED:
            ends = sorted(three[place] for three in shares.values())
            least, most = percent(ends[0]), percent(ends[-1])
            return least if least == most else f"{least} to {most}"
        return ", ".join(f"{name} {percent(three[place])}" for name, three in shares.items())

    if len(part.runs) == 1:
        yield Sentence(NOTE, f"Of the words that it writes, {each(0)} are copied from the source in stretches, "
                             f"{each(1)} in stretches that are not in a reference (copied wrongly), and {each(2)} "
                             "stand in neither.", "wrong", identity)
    else:
        yield Sentence(NOTE, f"Of the words of each run, copied from the source in stretches: {each(0)}; in stretches "
                             f"that are not in a reference (copied wrongly): {each(1)}; in neither: {each(2)}.",
                       "wrong", identity)


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"
