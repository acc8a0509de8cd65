"""What a person may want to see of a prediction beside its score: where it comes from, and how sure it was.

A task says it (:meth:`llmtrain.tasks.task.Task.evidence`); the report and other pages show it without knowing the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PREDICTION = "prediction"  # the place of a mark in the output itself
COPIED, CITED, CHOSEN, ANSWER, EXPECTED = "copied", "cited", "chosen", "answer", "expected"


@dataclass(frozen=True, slots=True)
class Mark:
    """A stretch of a text that has to do with a prediction: ``text[start:end]``.

    Attributes:
        where: The name of the input it stands in, or ``PREDICTION``.
        kind: What it is, in one word, for the legend: ``copied``, ``cited``, ``answer`` ...
        number: Marks of one number belong together, as a sentence and those that it cites; None: to nothing.
        weight: How much it had to do with the prediction, 0 to 1; None where nobody knows.
    """

    where: str
    start: int
    end: int
    kind: str
    number: int | None = None
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """A prediction as a page shows it.

    Attributes:
        inputs: What the model read, by the names of the columns.
        references: What it may give.
        prediction: What it gave.
        marks: Stretches of the inputs and of the prediction.
        chances: The probability of each thing that it could have given, where it had a choice.
    """

    inputs: Mapping[str, str]
    references: tuple[str, ...]
    prediction: str
    marks: tuple[Mark, ...] = ()
    chances: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Picture:
    """Points that tell something of all predictions together, as a calibration.

    Attributes:
        points: x, y, and how many rows stand behind the point.
        diagonal: Whether points on the line x = y are the ideal.
    """

    title: str
    x: str
    y: str
    points: tuple[tuple[float, float, int], ...]
    diagonal: bool = False
    about: str = ""


def texts_of(row: Mapping[str, Any], but: tuple[str, ...] = ()) -> dict[str, str]:
    """The texts of a line of predictions.jsonl that the model read, by their names.

    Args:
        but: Names of columns that hold something else.
    """
    return {name: value for name, value in row.items()
            if isinstance(value, str) and name not in ("id", "task", PREDICTION, *but)}


def marks_of_texts(row: Mapping[str, Any], source: str) -> list[Mark]:
    """What a line tells of where a written text comes from: sentences that it cites or was made of, and copied words.

    Args:
        source: The name of the input that it was made of.
    """
    marks = []
    for number, cited in enumerate(row.get("citations") or (), start=1):
        marks.append(Mark(PREDICTION, cited["start"], cited["end"], CITED, number))
        marks += [Mark(source, one["start"], one["end"], CITED, number, one["weight"]) for one in cited["sources"]]
    if not marks:
        marks += [Mark(source, one["start"], one["end"], CHOSEN, None, one["weight"])
                  for one in row.get("sentences") or ()]
    if row.get("read") is None:  # else the places are those of another text
        marks += [Mark(source, one["start"], one["end"], COPIED, None, one["probability"])
                  for one in row.get("copied") or ()]
    return marks
