"""The cells of a study: every combination of its axes, the base cell, and what is wrong with any of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmtrain.config.choices import PrecisionName
from llmtrain.config.job_name import job_name
from llmtrain.config.load import load, load_config
from llmtrain.config.run_id import result_dict
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.objective import terms_of, trains_task
from llmtrain.core.errors import ConfigError
from llmtrain.study.axes import LAM, NONE, PRECISION, RECIPE, Axis, Value, text_of

BASE = "base"
OF_LOSS = "objective."  # begins the keys of what the base cell, the task term alone, has none of
FP32 = PrecisionName.fp32.value


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination, trained once for each seed.

    Attributes:
        name: Its runs' names begin with it.
        axes: The value of each axis, as JSON has it; null where it has none.
        overrides: What makes it, behind what was typed.
        base: It is the task term alone in fp32, which the others are compared with.
        config: Of its first seed.
        length: Overrides that make it as long as the study has decided; none where that is as typed.
    """

    name: str
    axes: dict[str, Any]
    overrides: tuple[str, ...]
    base: bool
    config: TrainConfig
    length: tuple[str, ...] = ()

    def run_name(self, seed: int) -> str:
        """The name, and so the folder, of one of its runs."""
        return f"{self.name}-seed={seed}"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A combination that cannot be trained, and why."""

    name: str
    problem: str


def grid(typed: list[str], axes: Sequence[Axis]) -> tuple[list[Cell], list[LeftOut]]:
    """The cells, the base cell first, and the combinations that are left out.

    Args:
        typed: The command line without what belongs to the study.

    Raises:
        ConfigError: What was typed cannot be trained; a value of an axis fits no combination; the base cell cannot be
            trained; two cells are one and the same run; or there is nothing to compare.
    """
    common = load("train", typed).config
    assert isinstance(common, TrainConfig)
    if not trains_task(common.objective):
        raise ConfigError("a study compares a task's scores and this configuration trains the base alone; choose an "
                          "objective with the task's term, objective=joint or task_only")
    alone = _alone(common)
    base = _base(typed, axes, alone)
    cells, left_out, problems = [base], [], []
    known = _identity(base.config)
    combinations = list(itertools.product(*(axis.values for axis in axes)))
    failed: dict[tuple[str, str], str] = {}
    worked: set[tuple[str, str]] = set()
    for values in combinations if axes else ():
        name = job_name([(axis.name, value.name) for axis, value in zip(axes, values, strict=True)])
        shown = {axis.name: value.shown for axis, value in zip(axes, values, strict=True)}
        pairs = [(axis.name, value.name) for axis, value in zip(axes, values, strict=True)]
        overrides = _overrides(values, alone)
        try:
            config = load_config("train", [*typed, *overrides])
        except ConfigError as error:
            left_out.append(LeftOut(name, "; ".join(error.problems)))
            failed |= dict.fromkeys(pairs, error.problems[0])
            continue
        worked |= set(pairs)
        if _identity(config) == known and cells[0].name == BASE:
            cells[0] = Cell(name, shown, overrides, True, config)
        else:
            cells.append(Cell(name, shown, overrides, False, config))
    problems += [f"{axis}={value} fits no combination: {told}" for (axis, value), told in failed.items()
                 if (axis, value) not in worked]
    problems += _twice(cells)
    if problems:
        raise ConfigError(problems)
    if len(cells) < 2:
        raise ConfigError("a study needs a cell beside the base cell, the task term alone in fp32; give study.lam, "
                          "study.precision, study.axes or study.recipes more values")
    return cells, left_out


def with_length(cell: Cell, typed: list[str], length: tuple[str, ...]) -> Cell:
    """The cell with its length in its configuration. Raises ConfigError where it does not fit."""
    try:
        return replace(cell, config=load_config("train", [*typed, *cell.overrides, *length]), length=length)
    except ConfigError as error:
        raise ConfigError(f"{cell.name}: {problem}" for problem in error.problems) from error


def _base(typed: list[str], axes: Sequence[Axis], alone: tuple[str, ...]) -> Cell:
    """The task term alone in fp32, with the first value of every other axis."""
    first = [axis.values[0] for axis in axes if axis.key != RECIPE and axis.name not in (LAM, PRECISION)]
    shown: dict[str, Any] = {axis.name: None for axis in axes} | {
        axis.name: axis.values[0].shown for axis in axes
        if axis.values[0] in first and not axis.key.startswith(OF_LOSS)}
    shown |= {axis.name: {LAM: NONE, PRECISION: FP32}[axis.name] for axis in axes if axis.name in (LAM, PRECISION)}
    overrides = last_of_each([*_overrides(first, ()), *alone, f"precision={FP32}"])
    try:
        return Cell(BASE, shown, overrides, True, load_config("train", [*typed, *overrides]))
    except ConfigError as error:
        raise ConfigError(f"the base cell, the task term alone in fp32, cannot be trained: {problem}"
                          for problem in error.problems) from error


def _overrides(values: Sequence[Value], alone: tuple[str, ...]) -> tuple[str, ...]:
    made = [override for value in values for override in value.overrides]
    return last_of_each([*made, *(alone if any(value.alone for value in values) else ())])


def last_of_each(overrides: Sequence[str]) -> tuple[str, ...]:
    """Of several overrides of a key the last, which is the one that counts."""
    return tuple({override.partition("=")[0]: override for override in overrides}.values())


def _alone(config: TrainConfig) -> tuple[str, ...]:
    """What takes every base term out of a configuration, and what only they read."""
    data = config.data
    found = ["objective.base=none", "objective.terms=null", "objective.lam=0.5", "objective.weighting=fixed",
             "objective.lam_start=null", "objective.lam_steps=0"]
    if data.label is not None and data.columns().target_key != "data.label":
        found.append("data.label=null")
    if data.unlabelled is not None:
        found.append("data.unlabelled=null")
    if isinstance(data.preprocess, list) and any(_for_l1(step) for step in data.preprocess):
        kept = [step for step in data.preprocess if not _for_l1(step)]
        found.append(f"data.preprocess={text_of(kept)}")
    return tuple(found)


def _for_l1(step: Any) -> bool:
    return isinstance(step, dict) and step.get("apply") == "l1"


def _identity(config: TrainConfig) -> dict[str, Any]:
    return result_dict(config)


def _twice(cells: Sequence[Cell]) -> Iterator[str]:
    """Cells that are one and the same run, whatever they are called, and names that stand for two."""
    for one, other in itertools.combinations(cells, 2):
        if _identity(one.config) == _identity(other.config):
            unused = LAM in one.axes and not any(not term.of_task for term in terms_of(one.config.objective))
            why = ", for objective.base=none leaves lambda unused" if unused else ""
            yield f"{one.name} and {other.name} are one and the same run{why}; leave one of them out"
        elif one.name == other.name:
            yield f"{one.name} would be the name of two cells; write their values otherwise"
