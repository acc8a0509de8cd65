"""What a study will do, settled and checked before anything runs: its cells, its seeds, where it lies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmtrain import registry
from llmtrain.config.bounds import out_of_range
from llmtrain.config.compose import parse, refuse_sweeps
from llmtrain.config.convert import build
from llmtrain.config.members import members_of
from llmtrain.config.overrides.paths import split_override
from llmtrain.config.overrides.texts import quote_overrides
from llmtrain.config.plain import plain
from llmtrain.config.presets import LENGTHS
from llmtrain.config.run_id import HASH_LENGTH, differing_keys, result_dict
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.study import Equal, StudyConfig
from llmtrain.config.stored import read_config
from llmtrain.core.errors import CheckpointError, ConfigError
from llmtrain.core.files import read_json, write_json
from llmtrain.study.axes import Axis, axes_of
from llmtrain.study.grid import BASE, Cell, LeftOut, grid, with_length

PLAN, STUDY = "plan.json", "study.json"
UNKNOWN = 1_000_000  # steps that stand for a length that is measured later
OWN = "study."
MEASURED = ("trainer.max_steps", "trainer.eval_every")  # lengths, which may be fixed later


@dataclass(frozen=True, slots=True)
class Run:
    """One training of a study.

    Attributes:
        steps: Of the whole run; None where it is told in epochs.
    """

    cell: Cell
    seed: int
    steps: int | None

    @property
    def name(self) -> str:
        return self.cell.run_name(self.seed)


@dataclass(frozen=True, slots=True)
class Plan:
    """A study.

    Attributes:
        typed: The command line without the study's own keys and without what a study sets itself.
        study: Its keys.
        axes: What differs between cells.
        cells: The base cell first.
        left_out: Combinations that cannot be trained.
        seeds: Of every cell.
        minutes: Training time of one run, where lengths are measured; None where they stand in the configuration.
        folder: Where everything lies.
        metric: The score that cells are judged by, as results.json names it.
    """

    typed: list[str]
    study: StudyConfig
    axes: list[Axis]
    cells: list[Cell]
    left_out: list[LeftOut]
    seeds: range
    minutes: float | None
    folder: Path
    metric: str

    @property
    def config(self) -> TrainConfig:
        """The base cell's configuration."""
        return self.cells[0].config

    @property
    def is_measured(self) -> bool:
        """Whether every run knows its length."""
        return self.minutes is None or bool(self.cells[0].length)

    def runs(self) -> list[Run]:
        """Every run: all cells with the first seed, then all with the next."""
        return [Run(cell, seed, cell.config.trainer.max_steps if self.is_measured else None)
                for seed in self.seeds for cell in self.cells]

    def without(self, failed: dict[str, str]) -> Plan:
        """The same without cells that cannot be trained here, and why, by their names."""
        return replace(self, cells=[cell for cell in self.cells if cell.name not in failed],
                       left_out=[*self.left_out, *(LeftOut(name, problem) for name, problem in failed.items())])

    def with_lengths(self, lengths: dict[str, tuple[str, ...]]) -> Plan:
        """The same with overrides that give each cell its length. Raises ConfigError where one does not fit."""
        return replace(self, cells=[with_length(cell, self.typed, lengths[cell.name]) for cell in self.cells])


def plan(overrides: Sequence[str]) -> Plan:
    """The study that a command line asks for; nothing is written and no data is read.

    Raises:
        ConfigError: With one line for each thing that is wrong with it.
    """
    study, typed = _split(overrides)
    axes = axes_of(study)
    _refuse_chosen_twice(typed, axes)
    measured = study.total_minutes is not None or study.equal is Equal.minutes
    given = [word for word in typed if not _is_length(word)] if measured else typed
    if measured:
        given = [*given, f"trainer.max_steps={UNKNOWN}"]
    cells, left_out = grid(given, axes)
    seeds = range(cells[0].config.run.seed, cells[0].config.run.seed + study.seeds)
    config = cells[0].config
    minutes = _minutes(study, typed, len(cells) * len(seeds)) if measured else None
    if not measured:
        _refuse_minutes(config)
    if study.halving is not None:
        _refuse_halving(study, config, len(cells))
    metric = _metric(study, config)
    root, name = Path(config.run.root).expanduser(), config.run.name
    if name is None:
        name = f"{config.experiment_name}-study-{_hash(study, axes, config, metric, measured)}"
    cells[0] = _as_begun(cells[0], root / name, seeds)
    return Plan(given[:-1] if measured else given, study, axes, cells, left_out, seeds, minutes, root / name, metric)


def _as_begun(base: Cell, folder: Path, seeds: Sequence[int]) -> Cell:
    """The base cell under the name that its runs have where the study began without it in its grid: they are not
    trained again once it has it."""
    path = folder / f"{BASE}-seed={seeds[0]}" / "config.yaml"
    if base.name == BASE or not path.is_file() or (folder / base.run_name(seeds[0])).exists():
        return base
    try:
        there = read_config(path)
    except CheckpointError:
        return base
    by_path = (result_dict(config, by_path=True) for config in (there, base.config))
    return replace(base, name=BASE) if {*differing_keys(*by_path)} <= {"run.seed", *MEASURED} else base


def _split(overrides: Sequence[str]) -> tuple[StudyConfig, list[str]]:
    """The study's own keys, typed, and the rest of the command line."""
    own = [word for word in overrides if word.startswith(OWN)]
    parsed = parse(own)
    refuse_sweeps(parsed, "list the values in brackets: 'study.KEY=[A,B]'")
    values: dict[str, Any] = {}
    for override in parsed:
        key, value = override.key_or_group.removeprefix(OWN), override.value()
        group, dot, entry = key.partition(".")
        if group in ("axes", "recipes") and dot:  # study.axes.head=[gru,lstm]
            values.setdefault(group, {})[entry] = value
        else:
            values[key] = value
    study: StudyConfig = build(StudyConfig, values, "study")
    if problems := [*out_of_range(study, "study"), *study.problems()]:
        raise ConfigError(problems)
    rest = [word for word in overrides if not word.startswith(OWN)]
    taken = {"run.extend_from": "a run is extended by itself and a study begins its runs; leave it out",
             "run.resume": "a study goes on with each of its runs; leave it out"}
    if problems := [f"{word}: {taken[key]}" for word in rest if (key := _key(word)) in taken]:
        raise ConfigError(problems)
    return study, rest


def _key(word: str) -> str:
    split = split_override(word)
    return split[1] if split else word


def _is_length(word: str) -> bool:
    return _key(word) in {f"trainer.{name}" for name in LENGTHS}


def _refuse_chosen_twice(typed: list[str], axes: Sequence[Axis]) -> None:
    """Raise ConfigError for an override of what an axis goes through."""
    keys = {axis.key.lstrip("+"): axis for axis in axes}
    if problems := [f"{word} and the axis {keys[_key(word)].name} both choose {_key(word)}; leave one of them out"
                    for word in typed if _key(word) in keys]:
        raise ConfigError(problems)


def _minutes(study: StudyConfig, typed: list[str], runs: int) -> float:
    """The training time of one run. Raises ConfigError where none is given."""
    if study.total_minutes is not None:
        return study.total_minutes / runs
    found = [override.value() for override in parse(quote_overrides(typed, "train"))
             if override.key_or_group == "trainer.max_minutes" and override.value() is not None]
    if not found:
        raise ConfigError("study.equal=minutes needs a time; give study.total_minutes, shared by all runs, or "
                          "trainer.max_minutes of each")
    return float(found[-1])


def _refuse_minutes(config: TrainConfig) -> None:
    if config.trainer.max_minutes is not None:
        raise ConfigError(f"trainer.max_minutes={config.trainer.max_minutes:g} gives each run other steps each time; "
                          "use study.equal=minutes, which measures how many they are once, or trainer.max_steps")


def _refuse_halving(study: StudyConfig, config: TrainConfig, cells: int) -> None:
    """Raise ConfigError unless there are cells to halve, and steps that can be counted beforehand."""
    from importlib.util import find_spec

    problems = []
    assert study.halving is not None
    if cells - 1 < study.halving:
        problems.append(f"study.halving={study.halving} keeps one in {study.halving} cells and there are {cells - 1} "
                        "beside the base cell; leave it out")
    if config.trainer.max_steps is None:
        problems.append("study.halving needs a length in steps; give trainer.max_steps or study.total_minutes")
    if find_spec("optuna") is None:
        problems.append("study.halving needs optuna, which is not installed; run pip install 'llmtrain[study]'")
    if problems:
        raise ConfigError(problems)


def metric_names(config: TrainConfig) -> list[str]:
    """The metrics of a run's tasks, as results.json names them."""
    return [member.named(metric) for member in members_of(config)
            for metric in registry.get("task", member.config.task.name).requires["metrics"]]


def _metric(study: StudyConfig, config: TrainConfig) -> str:
    names = metric_names(config)
    if study.metric is None:
        return config.trainer.best_metric if config.trainer.best_metric in names else names[0]
    if study.metric not in names:
        raise ConfigError(f"study.metric={study.metric} is no score of this task; choose from {', '.join(names)}")
    return study.metric


def fixed(study: StudyConfig, metric: str, margin: float | None) -> dict[str, Any]:
    """What must not change once a study has begun."""
    return {"equal": study.equal.value, "total_minutes": study.total_minutes, "halving": study.halving,
            "metric": metric, "margin": margin}


def _hash(study: StudyConfig, axes: Sequence[Axis], config: TrainConfig, metric: str, measured: bool) -> str:
    """Of what a study is of. Axes and seeds do not count, so that one that grows goes on with what is done, but where
    lengths or rungs depend on how many there are."""
    content = {key: value for key, value in result_dict(config).items() if key != "run.seed"}
    content |= {f"study.{key}": value for key, value in fixed(study, metric, study.margin).items()}
    if measured or study.halving is not None:
        content |= {"study.seeds": study.seeds, "study.axes": [[axis.key, [plain(value.shown) for value in axis.values]]
                                                               for axis in axes]}
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def begin(made: Plan, margin: float) -> None:
    """Note what is fixed from here on; call it under the folder's lock.

    Raises:
        ConfigError: The folder holds a study for which something else was fixed.
        CheckpointError: Its plan cannot be read.
    """
    path, now = made.folder / PLAN, fixed(made.study, made.metric, margin)
    if path.exists():
        try:
            before = read_json(path)["fixed"]
            changed = differing_keys(before, now)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"no plan of a study at {path}; remove the file, or choose another run.name"
                                  ) from error
        if changed:
            told = ", ".join(f"study.{key} was {before.get(key)} and is {now.get(key)} here" for key in changed)
            raise ConfigError(f"the study at {made.folder} has begun and {told}; take that back, or choose another "
                              "run.name")
        return
    write_json(path, {"kind": "plan", "fixed": now})
