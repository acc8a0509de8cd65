"""The rows of the page's predictions: what every run gave for one example, side by side, bounded in size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from llmtrain.report.excerpt import Excerpt, excerpt, harmless
from llmtrain.report.task_parts import TaskPart
from llmtrain.report.word_origins import WordOrigins, origins_of
from llmtrain.tasks.evidence import PREDICTION, Evidence, Mark
from llmtrain.tasks.metric import Metric

NOTE = "note"  # the kind of the marks on words about a cut
MOST_ROWS = 2_000
LONGEST_ID = 80
MOST_CHANCES = 12  # of a prediction, the likeliest
MOST_REFERENCES = 10


@dataclass(frozen=True, slots=True)
class RunOutput:
    """What one run gave for an example."""

    row: dict[str, Any]
    evidence: Evidence
    origins: WordOrigins | None


@dataclass(frozen=True, slots=True)
class Compared:
    """An example with what each run gave for it; None for a run that did not have it."""

    identity: str
    outputs: list[RunOutput | None]

    @property
    def first(self) -> RunOutput:
        return next(output for output in self.outputs if output is not None)

    def value(self, run: int, metric: str) -> float | None:
        output = self.outputs[run]
        found = output.row.get(metric) if output is not None else None
        return float(found) if isinstance(found, int | float) else None

    def change(self, metric: str) -> float:
        """How far the runs' values lie apart."""
        values = [value for run in range(len(self.outputs)) if (value := self.value(run, metric)) is not None]
        return max(values) - min(values) if len(values) > 1 else 0.0


def compared_rows(part: TaskPart) -> list[Compared]:
    """The examples of a part's runs; those of several are one when they have the same id and the same inputs."""
    found: dict[tuple[str, Any], Compared] = {}
    for place, run in enumerate(part.runs):
        for row in run.rows:
            evidence = part.task.evidence(row)
            key = (str(row.get("id")), tuple(evidence.inputs.items()))
            if key not in found:
                found[key] = Compared(key[0], [None] * len(part.runs))
            inputs = list(evidence.inputs.values())
            shared = origins_of(evidence.prediction, inputs, evidence.references) if part.task.writes else None
            found[key].outputs[place] = RunOutput(row, evidence, shared)
    return list(found.values())


def chosen(rows: list[Compared], metric: str | None, more_is_better: bool, most: int = MOST_ROWS) -> list[Compared]:
    """At most so many of the rows, in their order: of more a quarter each of the worst, the best and the most changed,
    and the rest evenly."""
    if len(rows) <= most:
        return rows
    order = list(range(len(rows)))
    kept: set[int] = set()
    if metric is not None:
        def score(index: int) -> float:
            value = next((v for run in range(len(rows[index].outputs))
                          if (v := rows[index].value(run, metric)) is not None), 0.0)
            return value if more_is_better else -value

        ranked = sorted(order, key=score)
        kept |= {*ranked[:most // 4], *ranked[-(most // 4):]}
        changed = sorted(order, key=lambda index: -rows[index].change(metric))
        kept |= {index for index in changed[:most // 4] if rows[index].change(metric) > 0}
    rest = [index for index in order if index not in kept]
    missing = most - len(kept)
    kept |= {rest[place * len(rest) // missing] for place in range(missing)}
    return [rows[index] for index in sorted(kept)]


def as_json(rows: Iterable[Compared], metrics: Sequence[Metric], limit: int) -> list[dict[str, Any]]:
    """The rows as the page reads them, under short names (the page has thousands):

    ``i`` id; ``x`` inputs ``[name, text, places of words about a cut]``; ``r`` references; ``o`` what each run gave:
    ``t`` text, ``s`` scores, ``m`` marks ``[input or -1, start, end, kind, number, weight]``, ``c`` chances, ``k``
    ``w`` ``n`` places of words that are copied, copied wrongly, new, ``h`` the shares of those in percent.
    """
    return [_row(row, metrics, limit) for row in rows]


def _row(row: Compared, metrics: Sequence[Metric], limit: int) -> dict[str, Any]:
    inputs = row.first.evidence.inputs
    marks = [mark for output in row.outputs if output is not None for mark in output.evidence.marks]
    shown = {name: excerpt(text, limit, [(mark.start, mark.end) for mark in marks if mark.where == name])
             for name, text in inputs.items()}
    return {"i": harmless(row.identity[:LONGEST_ID]),
            "x": [[name, one.text, *([_flat(one.counted(*note) for note in one.notes)] if one.notes else [])]
                  for name, one in shown.items()],
            "r": [excerpt(text, limit).text for text in row.first.evidence.references[:MOST_REFERENCES]],
            "o": [None if output is None else _output(output, shown, metrics, limit) for output in row.outputs]}


def _output(output: RunOutput, inputs: dict[str, Excerpt], metrics: Sequence[Metric], limit: int) -> dict[str, Any]:
    text, evidence, shared = excerpt(output.evidence.prediction, limit), output.evidence, output.origins
    made: dict[str, Any] = {"t": text.text, "s": [_number(output.row.get(metric.name)) for metric in metrics]}
    marks = _marks(evidence.marks, text, inputs)
    marks += [[-1, *text.counted(*note), NOTE, None, None] for note in text.notes]
    if marks:
        made["m"] = marks
    if evidence.chances:
        likely = sorted(evidence.chances.items(), key=lambda item: -item[1])[:MOST_CHANCES]
        made["c"] = [[harmless(name[:LONGEST_ID]), round(chance, 4)] for name, chance in likely]
    if shared is not None:
        for key, places in (("k", shared.copied), ("w", shared.wrong), ("n", shared.new)):
            if places:
                made[key] = _flat(found for place in places if (found := text.place(*place)) is not None)
        made["h"] = [round(100 * share) for share in shared.shares]
    return made


def _marks(marks: Iterable[Mark], text: Excerpt, inputs: dict[str, Excerpt]) -> list[list[Any]]:
    names, made = list(inputs), []
    for mark in marks:
        where = text if mark.where == PREDICTION else inputs.get(mark.where)
        place = where.place(mark.start, mark.end) if where is not None else None
        if place is not None:
            weight = None if mark.weight is None else round(mark.weight, 2)
            number = -1 if mark.where == PREDICTION else names.index(mark.where)
            made.append([number, *place, mark.kind, mark.number, weight])
    return made


def _flat(places: Iterable[tuple[int, int]]) -> list[int]:
    return [number for place in places for number in place]


def _number(value: Any) -> float | None:
    return round(float(value), 3) if isinstance(value, int | float) else None
