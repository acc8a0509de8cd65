"""What is compared: the scored predictions of one or several seeds of a model, as runs and ``llmtrain eval`` keep them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from llmtrain.config.sections.task import DEFAULT
from llmtrain.core.errors import ConfigError, DataError, shorten, shown
from llmtrain.core.files import read_json

PREDICTIONS, RESULTS = "predictions.jsonl", "results.json"
Row = dict[str, Any]  # a line of predictions.jsonl: id, the task's columns, prediction, scores, and what else is told
SHOWN_IDS = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """The scored predictions of a model.

    Attributes:
        label: What tables call it.
        task: A registered name.
        split: Which rows they are of; empty where nobody knows.
        scorer: What decides a score: tools, versions and rules.
        decoding: How each seed's predictions were made.
        seeds: ``run.seed`` of each; None where it is not known.
        rows: Those of each seed, all of the same ids in the same order.
        paths: Where each seed's were read.
    """

    label: str
    task: str
    split: str
    scorer: str
    decoding: tuple[str, ...]
    seeds: tuple[int | None, ...]
    rows: tuple[list[Row], ...]
    paths: tuple[str, ...]

    @property
    def several(self) -> bool:
        return len(self.rows) > 1

    @property
    def size(self) -> int:
        """How many rows each seed has."""
        return len(self.rows[0])

    @property
    def ids(self) -> list[str]:
        return [row["id"] for row in self.rows[0]]


def is_stored(path: Path) -> bool:
    """Whether scored predictions lie there: a run, a folder that ``llmtrain eval`` wrote, or its predictions.jsonl."""
    folder = path.parent if path.name == PREDICTIONS else path
    return (folder / RESULTS).is_file() and (folder / PREDICTIONS).is_file()


def stored_outcome(label: str, path: Path, task: str | None = None) -> Outcome:
    """What a run or ``llmtrain eval`` left.

    Args:
        path: A folder for which :func:`is_stored` holds, or the predictions.jsonl in it.
        task: Of a run of several tasks, the one that is meant.

    Raises:
        ConfigError: Which of several tasks is meant is not said, or there is none of that name.
        DataError: Nothing was scored there, or a file is damaged.
    """
    folder = path.parent if path.name == PREDICTIONS else path
    try:
        results = read_json(folder / RESULTS)
    except ValueError as error:
        raise DataError(f"unreadable results ({shorten(str(error), 80)}) at {folder / RESULTS}; score the checkpoint "
                        "again: llmtrain eval checkpoint=PATH") from error
    rows = _rows(folder / PREDICTIONS)
    seed = results.get("seed", (results.get("config") or {}).get("run", {}).get("seed"))
    if members := results.get("members"):
        if task not in members:
            which = f"no task {task!r}" if task else "several tasks"
            raise ConfigError(f"{which} in the results at {folder}; name one of {', '.join(members)}, task=NAME")
        results, rows = members[task], [row for row in rows if row.get("task") == task]
    if not rows:
        raise DataError(f"no scored predictions at {folder}; name a run, or a folder that llmtrain eval wrote")
    split = next((name for name in ("test", "validation") if results["metrics"].get(name)), "")
    scorer, decoding = _signature(results)
    return Outcome(label, results.get("task", DEFAULT), split, scorer, (decoding,), (seed,), (rows,), (str(path),))


def run_configuration(path: Path) -> dict[str, Any] | None:
    """The configuration of the run that scored predictions are of; None where no run is around them."""
    folder = path.parent if path.name == PREDICTIONS else path
    for place in (folder, *list(folder.absolute().parents)[:2]):  # llmtrain eval writes to RUN/eval/NAME
        if (place / RESULTS).is_file() and (found := read_json(place / RESULTS).get("config")):
            return dict(found)
    return None


def joined(label: str, outcomes: Sequence[Outcome]) -> Outcome:
    """Several seeds of a model as one outcome, in the order of their seeds.

    Raises:
        DataError: They are not of the same rows, or were not scored by the same rules.
    """
    known = sorted(outcomes, key=lambda one: (one.seeds[0] is None, one.seeds[0] or 0))
    refuse_unlike(known)
    first = known[0]
    return replace(first, label=label, decoding=tuple(text for one in known for text in one.decoding),
                   seeds=tuple(seed for one in known for seed in one.seeds),
                   rows=tuple(in_order_of(first, rows) for one in known for rows in one.rows),
                   paths=tuple(path for one in known for path in one.paths))


def alike(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes with all rows in the first one's order.

    Raises:
        DataError: As :func:`refuse_unlike`.
    """
    refuse_unlike(outcomes)
    return [replace(one, rows=tuple(in_order_of(outcomes[0], rows) for rows in one.rows)) for one in outcomes]


def in_order_of(first: Outcome, rows: list[Row]) -> list[Row]:
    """Rows of the same ids in the order of an outcome's."""
    by_id = {row["id"]: row for row in rows}
    return [by_id[name] for name in first.ids]


def refuse_unlike(outcomes: Sequence[Outcome]) -> None:
    """Raise DataError, naming what differs, unless all are of the same task, rules of scoring and rows."""
    problems = [problem for other in outcomes[1:] for problem in _differences(outcomes[0], other)]
    if problems:
        raise DataError(problems)


def _differences(first: Outcome, other: Outcome) -> Iterator[str]:
    both = f"at {first.paths[0]} and {other.paths[0]}"
    if first.task != other.task:
        yield f"two tasks, {first.task} and {other.task}, {both}; compare models of one task"
        return
    if first.scorer != other.scorer:
        one, two = _unlike(first.scorer, other.scorer)
        yield (f"scored by other rules, {one!r} and {two!r}, {both}; score both anew with the same eval.* keys and "
               "versions")
    have, wanted = {row["id"]: row for row in other.rows[0]}, {row["id"]: row for row in first.rows[0]}
    yield from _missing(first, other, [name for name in wanted if name not in have])
    if have.keys() & wanted.keys():
        yield from _missing(other, first, [name for name in have if name not in wanted])
    for name, row in wanted.items():
        if name in have and (column := _other_column(row, have[name])):
            yield (f"the row of id {shown(name)} has another {column} {both}; compare predictions of the same rows")
            return


def _missing(first: Outcome, other: Outcome, names: list[str]) -> Iterator[str]:
    """One line about rows that the other one lacks."""
    if names:
        told = ", ".join(shown(name) for name in names[:SHOWN_IDS]) + (" ..." if len(names) > SHOWN_IDS else "")
        split = f" ({first.split} and {other.split} rows)" if first.split != other.split else ""
        yield (f"no row of id {told} ({len(names)} of {first.size}) at {other.paths[0]}, which {first.paths[0]} has"
               f"{split}; compare predictions of the same rows")


def _other_column(first: Row, other: Row) -> str | None:
    """The first of the task's columns that two rows of one id do not have in common."""
    return next((name for name, value in asked(first).items() if asked(other).get(name) != value), None)


def asked(row: Row) -> Row:
    """What a line says of the example alone: its id and the task's columns, which stand before the prediction."""
    return {name: row[name] for name in takewhile(lambda name: name != "prediction", row) if name != "task"}


def _unlike(first: str, other: str) -> tuple[str, str]:
    """The parts of two lists of rules that the other one lacks."""
    one, two = first.split(", "), other.split(", ")
    return (", ".join(part for part in one if part not in two) or first,
            ", ".join(part for part in two if part not in one) or other)


def _rows(path: Path) -> list[Row]:
    found: list[Row] = []
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                found.append(json.loads(line))
                found[-1]["id"], found[-1]["prediction"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"damaged line ({shorten(str(error), 80)}) at {path}:{len(found) + 1}; score the checkpoint "
                        "again: llmtrain eval checkpoint=PATH") from error
    [((_, name), times)] = Counter((row.get("task"), row["id"]) for row in found).most_common(1) or [((None, ""), 1)]
    if times > 1:
        raise DataError(f"the id {shown(name)} stands {times} times at {path}; rows are compared by their ids, and "
                        "each has one of its own")
    return found


def _signature(results: dict[str, Any]) -> tuple[str, str]:
    """The rules of scoring, and how predictions were made; an older results.json has both in one text alone."""
    if results.get("scorer"):
        return results["scorer"], results["decoding"]
    told = re.sub(r"; llmtrain \d.*", "", results.get("signature") or "")
    scorer, decoding, *_ = [*re.split(r"; (?![^(]*\))", told, maxsplit=1), ""]  # outside of brackets
    return scorer, decoding
