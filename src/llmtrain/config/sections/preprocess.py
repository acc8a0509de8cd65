"""``data.preprocess``: a list of steps, each a name or ``{name: ..., option: value}``, typed from the registry.

What a step takes from a file is read once and kept in the configuration: a checkpoint needs no file but its own, and
the run's hash is of the words, not of the place they came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from llmtrain import registry
from llmtrain.config.bounds import out_of_range
from llmtrain.config.convert import build
from llmtrain.config.plain import plain
from llmtrain.core.errors import ConfigError, LlmtrainError

KIND = "preprocess"
KEY = "data.preprocess"
Steps = list[tuple[str, Any]]  # (name, typed options)


def typed_steps(steps: Any) -> Steps:
    """The steps of a configuration with their typed options. Raises ConfigError with one line for each problem."""
    if isinstance(steps, str | dict):
        steps = [steps]
    if not isinstance(steps, list):
        raise ConfigError(f"{KEY}={steps!r} is not a list; give steps as [nfkc,lowercase]")
    found: Steps = []
    problems: list[str] = []
    for index, step in enumerate(steps):
        path = f"{KEY}[{index}]"
        values = {"name": step} if isinstance(step, str) else step
        if not isinstance(values, dict) or not isinstance(values.get("name"), str):
            problems.append(f"{path}={step!r} is no step; give a name, or {{name: NAME, option: value}}")
            continue
        name = values["name"]
        try:
            options = build(registry.get(KIND, name).options, {k: v for k, v in values.items() if k != "name"}, path)
        except LlmtrainError as error:
            problems += [line if path in line else f"{path}: {line}" for line in error.problems]
            continue
        problems += [f"{path} ({name}): {line}" for line in (*out_of_range(options), *_own_problems(options))]
        found.append((name, options))
    if problems:
        raise ConfigError(problems)
    return found


def _own_problems(options: Any) -> Iterator[str]:
    """What a step's own options say of each other."""
    if hasattr(options, "problems"):
        yield from options.problems()


def settled(steps: Any) -> list[Any]:
    """The same steps in their shortest form: what they take from files and libraries filled in, defaults left out.

    Raises:
        ConfigError: A step is wrong, or a file or library that it needs is not there.
    """
    kept: list[Any] = []
    problems: list[str] = []
    for index, (name, options) in enumerate(typed_steps(steps)):
        try:
            if hasattr(options, "settle"):
                options.settle()
        except LlmtrainError as error:
            problems += [f"{KEY}[{index}] ({name}): {line}" for line in error.problems]
            continue
        changed = given(options)
        kept.append({"name": name, **changed} if changed else name)
    if problems:
        raise ConfigError(problems)
    return kept


def given(options: Any) -> dict[str, Any]:
    """The options that differ from their defaults, as plain values."""
    fresh = type(options)()
    names = [field.name for field in fields(options)]
    return {name: plain(value) for name in names if (value := getattr(options, name)) != getattr(fresh, name)}


def steps_for_l1(steps: Any) -> list[str]:
    """Names of the steps that shape the text of the base's own term l1 alone."""
    return [name for name, options in typed_steps(steps) if getattr(options, "apply", None) == "l1"]
