"""The axes of a study: what each value changes on the command line, and how it is called."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmtrain.config.job_name import short_keys
from llmtrain.config.overrides.paths import PATH_KEYS, quote, split_override
from llmtrain.config.sections.objective import AUTO
from llmtrain.config.sections.study import StudyConfig
from llmtrain.core.errors import ConfigError, shorten

NONE = "none"  # of study.lam: the task term alone
LAM, PRECISION, RECIPE = "lam", "precision", "recipe"
KEYS = {"objective.lam": LAM, "precision": PRECISION, "precision.name": PRECISION}
PLAIN = re.compile(r"[A-Za-z_][\w./+-]*")
FIXED = {  # what a study sets itself, or could not compare over, with what to do instead
    "run.": "each run has a folder and a seed of its own; leave it out (run.seed is the first seed)",
    "trainer.max_": "lengths are equal in a study; use study.equal and study.total_minutes",
    "task": "runs of different tasks have no common score; make a study of each",
    "data.test": "scores of other rows cannot be compared; make a study of each",
    "data.validation": "scores of other rows cannot be compared; make a study of each",
    "study.": "it belongs to the study itself; choose a key of `llmtrain config train`"}


@dataclass(frozen=True, slots=True)
class Value:
    """One value of an axis.

    Attributes:
        shown: As JSON and tables have it.
        overrides: What it changes.
        alone: It trains the task term alone.
    """

    shown: Any
    overrides: tuple[str, ...]
    alone: bool = False

    @property
    def name(self) -> str:
        """As the name of a run has it."""
        if isinstance(self.shown, float):
            return f"{self.shown:.15g}"
        return text_of(self.shown).replace("'", "")


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis.

    Attributes:
        key: The key or group that it changes, or ``recipe``.
        name: What tables and names call it.
    """

    key: str
    name: str
    values: tuple[Value, ...]


def axes_of(study: StudyConfig) -> list[Axis]:
    """Every axis, in the order of names.

    Raises:
        ConfigError: With one line for each axis that cannot be one.
    """
    problems: list[str] = []
    listed: list[tuple[str, str, Any]] = [("study.recipes", RECIPE, study.recipes)] if study.recipes else []
    listed += [(f"study.axes.{key}", key, values) for key, values in study.axes.items()]
    listed += [(f"study.{name}", key, values) for name, key, values in (
        (LAM, "objective.lam", study.lam), (PRECISION, PRECISION, study.precision)) if values is not None]
    axes = []
    for where, key, values in listed:
        problems += _problems(where, key, values)
        if not problems:
            axes.append(Axis(key, KEYS.get(key, key.lstrip("+")), tuple(_values(where, key, values))))
    problems += [f"two axes change {name}; leave one of them out" for name in dict.fromkeys(
        axis.name for axis in axes if sum(other.name == axis.name for other in axes) > 1)]
    if problems:
        raise ConfigError(problems)
    return _shortened(axes)


def _fixed(key: str) -> str | None:
    """What to do instead of changing a key from cell to cell; None: it may change."""
    return next((instead for start, instead in FIXED.items()
                 if key == start or (key.startswith(start) and not start[-1].isalpha())), None)


def _problems(where: str, key: str, values: Any) -> Iterator[str]:
    if (instead := _fixed(key)) is not None:
        yield f"{where} cannot be an axis: {instead}"
        return
    if not values:
        yield f"{where} lists no values; give two or more, or leave it out"
    shown = [text_of(value) for value in values]
    if twice := sorted({one for one in shown if shown.count(one) > 1}):
        yield f"{where} lists {', '.join(twice)} twice; keep one of them"
    if KEYS.get(key) == LAM:
        yield from (f"{where} has {shorten(text_of(value), 40)}, which is no lambda; give numbers, auto (measured) or "
                    "none (the task term alone)" for value in values if not _is_lam(value))
    if key == RECIPE:
        yield from _recipe_problems(where, values)


def _is_lam(value: Any) -> bool:
    if isinstance(value, str):
        return value in (AUTO, NONE)
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _recipe_problems(where: str, recipes: dict[str, str]) -> Iterator[str]:
    for name, text in recipes.items():
        for word in _words(text):
            split = split_override(word)
            if split is None and not word.startswith("~"):
                yield (f"{where}.{name} has {shorten(word, 60)!r}, which is not KEY=VALUE; write overrides with spaces "
                       "between")
            elif split is not None and (instead := _fixed(split[1])) is not None:
                yield f"{where}.{name} has {split[1]}, which cannot differ between cells: {instead}"


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # an open quote: the whole is told as no override
        return [text]


def _values(where: str, key: str, values: Any) -> Iterator[Value]:
    if key == RECIPE:
        yield from (Value(name, tuple(_words(text))) for name, text in values.items())
    elif KEYS.get(key) == LAM:
        for value in values:
            alone = value == NONE
            shown = value if isinstance(value, str) else float(value)
            yield Value(shown, () if alone else (f"objective.lam={text_of(shown)}",), alone)
    else:
        yield from (Value(value, (f"{key}={override_text(key.lstrip('+'), value)}",)) for value in values)


def override_text(key: str, value: Any) -> str:
    """A value as it is typed: a path stays as it is, for it is quoted where overrides are read."""
    return value if isinstance(value, str) and key in PATH_KEYS else text_of(value)


def text_of(value: Any) -> str:
    """A plain value in Hydra's grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(text_of, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{text_of(entry)}" for name, entry in value.items()) + "}"
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) and value.lower() not in ("null", "true", "false") else quote(value)
    return repr(value)


def _shortened(axes: list[Axis]) -> list[Axis]:
    """The axes by the last part of their key, where no other has the same."""
    return [Axis(axis.key, short, axis.values)
            for axis, short in zip(axes, short_keys([axis.name for axis in axes]), strict=True)]
