"""What the report says first, in words: how good a run is, how it was trained, where its words come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from llmtrain.report.prediction_rows import Compared
from llmtrain.report.run_record import RunRecord
from llmtrain.report.task_parts import ScoredRun, TaskPart
from llmtrain.tasks.metric import Metric

GOOD, LUCK, NOTE, WARNING = "good", "luck", "note", "warning"
MUCH = 0.2  # share of sources that are cut, from which on it is told
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
    yield from beside_baselines(part, value, "It")
    if rows < FEW:
        yield Sentence(WARNING, f"{rows} rows are few: the interval itself is rough.")


def beside_baselines(part: TaskPart, value: Mapping[str, float], name: str) -> Iterator[Sentence]:
    """A value of the first metric beside what trivial methods give on the same rows."""
    metric = part.task.metrics[0]
    for baseline, scores in part.baselines().items():
        if (other := scores.get(metric.name)) is None:
            continue
        which = f"the {part.task.baseline_labels.get(baseline, baseline)} ({figures(other, metric)})"
        gap = value["value"] - other["value"]
        better = (gap > 0) is metric.more_is_better
        if value["low"] <= other["high"] and other["low"] <= value["high"]:
            yield Sentence(LUCK, f"{name} cannot be told from {which}: the intervals overlap.")
        else:
            yield Sentence(GOOD if better else NOTE, f"{name} is {abs(gap):.{metric.digits}f} "
                           f"{'better' if better else 'worse'} than {which}, and the intervals do not overlap.")


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
    if any((results.get("metrics") or {}).values()) and not run.rows:
        yield Sentence(WARNING, "no predictions lie beside the results (predictions.jsonl): none are shown, and no "
                                "other run is tested against these.")
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
