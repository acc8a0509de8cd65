"""The curves of runs: which of metrics.jsonl's values stand in which chart, as columns of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmtrain.report.run_record import RunRecord
from llmtrain.tasks.metric import Metric

MOST_POINTS = 600  # of a curve; more lines of a log are joined, some to a point
DIGITS = 6  # of a value that is told
TRAIN, HELD_OUT, PROBE = "train", "validation", "probe"
STATE = ("step", "epoch", "tokens", "scaler.skipped", "scaler.scale")  # of several lines the last one's counts
SKIPPED = "scaler.skipped"


@dataclass(frozen=True, slots=True)
class Line:
    """One value of the log as a line of a chart; ``low`` and ``high`` name the ends of its interval."""

    key: str
    split: str
    label: str
    low: str = ""
    high: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """Values that are drawn together.

    Attributes:
        lines: What is drawn; ``weighted`` is drawn instead where terms are wanted as they count in the loss.
        logarithmic: Whether the scale goes by powers of two, as a loss scale does.
        marks: The key of a count; where it grows, the chart is marked.
    """

    group: str
    title: str
    unit: str
    lines: tuple[Line, ...]
    weighted: tuple[Line, ...] = ()
    logarithmic: bool = False
    marks: str = ""


def charts(runs: Sequence[RunRecord], metrics: Mapping[str, Metric]) -> list[Chart]:
    """What is worth drawing of these runs' logs.

    Args:
        metrics: Of their tasks, by the names that they have in metrics.jsonl.
    """
    keys = {(row.get("split"), key) for run in runs for row in run.log for key in row}
    return [chart for chart in (*_losses(keys), *_scores(keys, metrics), *_rates(keys), *_gradients(keys),
                                *_weights(keys), *_precision(runs, keys), *_speed(keys)) if chart.lines]


Keys = set[tuple[Any, str]]


def _named(keys: Keys, prefix: str, split: str, dots: int) -> list[str]:
    return sorted(key for where, key in keys if where == split and key.startswith(prefix) and key.count(".") == dots)


def _both(keys: Keys, key: str) -> tuple[Line, ...]:
    return tuple(Line(key, split, label) for split, label in ((TRAIN, "train"), (HELD_OUT, "held-out"))
                 if (split, key) in keys)


def _losses(keys: Keys) -> Iterator[Chart]:
    terms = {key for split in (TRAIN, HELD_OUT) for key in _named(keys, "loss.", split, 1)} - {"loss.total"}
    if len(terms) != 1:
        yield Chart("Loss", "all terms together", "", _both(keys, "loss.total"))
    for key in sorted(terms):
        yield Chart("Loss", f"term {key.removeprefix('loss.')}", "", _both(keys, key),
                    weighted=_both(keys, f"{key}.weighted"))


def _scores(keys: Keys, metrics: Mapping[str, Metric]) -> Iterator[Chart]:
    for name, metric in metrics.items():
        if (HELD_OUT, name) in keys:
            ends = (f"{name}.low", f"{name}.high") if (HELD_OUT, f"{name}.low") in keys else ("", "")
            member = name.removesuffix(metric.name).rstrip(".")
            yield Chart(f"{member}: {metric.heading}" if member else metric.heading, "on held-out rows",
                        metric.unit, (Line(name, HELD_OUT, "held-out", *ends),))


def _rates(keys: Keys) -> Iterator[Chart]:
    yield Chart("Learning rate", "by group of weights", "", tuple(
        Line(key, TRAIN, key.removeprefix("lr.")) for key in _named(keys, "lr.", TRAIN, 1)))


def _gradients(keys: Keys) -> Iterator[Chart]:
    yield Chart("Gradients", "norm of all, before clipping", "", tuple(
        Line("grad_norm", TRAIN, "norm") for _ in range((TRAIN, "grad_norm") in keys)))
    yield Chart("Gradients", "norm of each term on the base", "", tuple(
        Line(key, PROBE, key.split(".")[1]) for key in _named(keys, "probe.", PROBE, 2) if key.endswith(".norm")))
    yield Chart("Gradients", "cosine between two terms", "-1 to 1", tuple(
        Line(key, PROBE, " and ".join(key.split(".")[2:])) for key in _named(keys, "probe.cosine.", PROBE, 3)))
    yield Chart("Gradients", "weight of each term that would balance them", "", tuple(
        Line(key, PROBE, key.split(".")[2]) for key in _named(keys, "probe.lam.", PROBE, 2)))


def _weights(keys: Keys) -> Iterator[Chart]:
    yield Chart("Weights of the terms", "as the weighting sets them", "", tuple(
        Line(key, TRAIN, key.removeprefix("weight.")) for key in _named(keys, "weight.", TRAIN, 1)))


def _precision(runs: Sequence[RunRecord], keys: Keys) -> Iterator[Chart]:
    """The loss scale where one is at work: of a run without one nothing is drawn."""
    scales = {row.get("scaler.scale") for run in runs for row in run.log if "scaler.scale" in row}
    skipped = any(row.get(SKIPPED) for run in runs for row in run.log)
    if skipped or len(scales) > 1:
        yield Chart("Precision", "loss scale; steps that were skipped are marked", "", tuple(
            Line("scaler.scale", TRAIN, "scale") for _ in range((TRAIN, "scaler.scale") in keys)),
            logarithmic=True, marks=SKIPPED)


def _speed(keys: Keys) -> Iterator[Chart]:
    for key, title in (("time.tokens_per_second", "tokens a second"), ("time.step", "seconds of a step")):
        yield Chart("Speed", title, "", tuple(Line(key, TRAIN, "train") for _ in range((TRAIN, key) in keys)))


def columns_of(log: Sequence[Mapping[str, Any]], wanted: Iterable[Line]) -> dict[str, dict[str, list[Any]]]:
    """By split, the wanted values as columns beside ``step``, ``minutes`` of training and ``tokens`` so far."""
    names: dict[str, list[str]] = {TRAIN: [SKIPPED], HELD_OUT: [], PROBE: []}
    for line in wanted:
        names[line.split] += [name for name in (line.key, line.low, line.high) if name and name not in
                              names[line.split]]
    made: dict[str, dict[str, list[Any]]] = {}
    for split, keys in names.items():
        rows = _joined([row for row in _with_time(log) if row.get("split") == split])
        if rows:
            columns = {key: [_short(row.get(key)) for row in rows] for key in ("step", "minutes", "tokens", *keys)}
            made[split] = {key: column for key, column in columns.items() if any(value is not None for value in column)}
    return made


def _with_time(log: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The lines with the minutes of training steps and the tokens up to each, in the log's own order."""
    seconds = last = 0.0
    tokens: Any = 0
    for row in log:
        if row.get("split") == TRAIN and "time.step" in row:
            seconds, last = seconds + row["time.step"] * max(0, row["step"] - last), row["step"]
        tokens = row.get("tokens", tokens)
        yield {**row, "minutes": seconds / 60, "tokens": tokens}


def _joined(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most ``MOST_POINTS`` of them: means of neighbours, and the last of what counts up."""
    size = -(-len(rows) // MOST_POINTS) if rows else 1
    if size == 1:
        return rows
    made = []
    for start in range(0, len(rows), size):
        part = rows[start:start + size]
        row = {}
        for key in {key for one in part for key in one}:
            values = [one[key] for one in part if key in one]
            number = isinstance(values[-1], int | float) and key not in STATE and key != "minutes"
            row[key] = sum(values) / len(values) if number else values[-1]
        made.append(row)
    return made


def _short(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")
