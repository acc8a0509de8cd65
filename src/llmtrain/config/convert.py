"""Plain dictionaries to typed configurations and back: strict, without Hydra and without interpolation.

Composed configurations and configurations stored in a checkpoint take the same way in, so both are held to the same
schema: every key must exist, every value must have its type.
"""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Iterable
from dataclasses import is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from llmtrain import registry
from llmtrain.config.plain import plain
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.objective import objective_schema
from llmtrain.config.sections.optim import optim_schema
from llmtrain.config.sections.task import chosen_task, own_sections
from llmtrain.core.errors import ConfigError, LlmtrainError

LARGEST = 10**300  # of whole numbers that are taken for a float, which ends a little later


@cache
def hints(schema: type) -> dict[str, Any]:
    """Resolved types of a dataclass's fields, by name."""
    return get_type_hints(schema)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name a user most likely meant: the same last part, then a similar whole, then a similar last part."""
    names = list(names)
    tail = name.rpartition(".")[2]
    for candidate in names:
        if candidate.rpartition(".")[2] == tail:
            return candidate
    if near := difflib.get_close_matches(name, names, n=1, cutoff=0.7):
        return near[0]
    tails: dict[str, str] = {}
    for candidate in names:
        tails.setdefault(candidate.rpartition(".")[2], candidate)
    if near := difflib.get_close_matches(tail, tails, n=1, cutoff=0.6):
        return tails[near[0]]
    parts = (candidate for last, candidate in tails.items() if tail in last.split("_"))  # lr -> optim.base_lr
    return next(parts, None)


def did_you_mean(name: str, names: Iterable[str], otherwise: str) -> str:
    """``did you mean X?``, or ``otherwise`` when nothing is near."""
    near = nearest(name, names)
    return f"did you mean {near}?" if near else otherwise


def build(schema: type, values: Any, path: str = "", **sections: type) -> Any:
    """An instance of ``schema`` from a plain mapping; missing keys take their defaults.

    ``sections`` gives the types of fields that the schema leaves open (see :func:`part_sections`).
    Raises ConfigError with every unknown key and every value of a wrong type.
    """
    problems: list[str] = []
    result = _build(schema, values, path, problems, sections)
    if problems:
        raise ConfigError(problems)
    return result


def _build(schema: type, values: Any, path: str, problems: list[str], sections: dict[str, type]) -> Any:
    if not isinstance(values, dict):
        problems.append(f"{path or 'the configuration'} must be a group of keys, not {values!r}")
        return None
    known = hints(schema) | sections
    for name in values:
        if name not in known:
            full = f"{path}.{name}" if path else str(name)
            prefix = f"{path}." if path else ""
            problems.append(f"unknown key {full}; "
                            + did_you_mean(full, [prefix + k for k in known], "`llmtrain config` lists the keys"))
    given = {name: _convert(known[name], value, f"{path}.{name}" if path else name, problems)
             for name, value in values.items() if name in known}
    return None if problems else schema(**given)


def convert(wanted: Any, value: Any, path: str, problems: list[str]) -> Any:
    """``value`` as the type ``wanted``, as :func:`build` does for a key; what is wrong with it goes to ``problems``."""
    return _convert(wanted, value, path, problems)


def _convert(wanted: Any, value: Any, path: str, problems: list[str]) -> Any:
    """``value`` as the type ``wanted``; a value that is not one is told in ``problems``."""
    if wanted is Any:
        return value
    origin = get_origin(wanted)
    if origin in (Union, types.UnionType):
        options = [option for option in get_args(wanted) if option is not type(None)]
        if value is None:
            if len(options) < len(get_args(wanted)):
                return None
            options = options[:1]
        for option in options[:-1]:
            attempt: list[str] = []
            result = _convert(option, value, path, attempt)
            if not attempt:
                return result
        if len(options) > 1 and all(option in (bool, int, float, str) for option in options) and (
                not isinstance(value, options[-1])):
            problems.append(f"{path}={value!r} is not {' or '.join(map(_article, options))}; give one")
            return None
        return _convert(options[-1], value, path, problems)
    if is_dataclass(wanted) and isinstance(wanted, type):
        return _build(wanted, value, path, problems, {})
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return _enum(wanted, value, path, problems)
    if origin in (list, tuple) and isinstance(value, list):
        item = (get_args(wanted) or (Any,))[0]
        return origin(_convert(item, entry, f"{path}[{i}]", problems) for i, entry in enumerate(value))
    if origin is dict and isinstance(value, dict):
        item = (get_args(wanted) or (str, Any))[1]
        return {str(k): _convert(item, entry, f"{path}.{k}", problems) for k, entry in value.items()}
    if wanted is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST:
        return float(value)
    if wanted is float and isinstance(value, float) and not math.isfinite(value):
        problems.append(f"{path}={value} is not a finite number; give one")
    elif isinstance(wanted, type) and isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool)):
        return value
    else:
        problems.append(f"{path}={value!r} is not {_article(wanted)}; give one")
    return None


def _enum(wanted: type[Enum], value: Any, path: str, problems: list[str]) -> Enum | None:
    for member in wanted:
        if value is member or value == member.value:
            return member
    names = [str(member.value) for member in wanted]
    problems.append(f"{path}={value} is not one of {', '.join(names)}; "
                    + did_you_mean(str(value), names, "choose one of them"))
    return None


def _article(wanted: Any) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text",
            list: "a list", dict: "a group of keys"}.get(get_origin(wanted) or wanted, f"of type {wanted}")


def to_dict(config: Any) -> dict[str, Any]:
    """A typed configuration as plain JSON types; :func:`from_dict` takes it back."""
    result: dict[str, Any] = plain(config)
    return result


def head_type(values: Any) -> type:
    """The options type of the head a plain ``head`` section names. Raises ConfigError for an unknown head."""
    if not isinstance(values, dict) or not isinstance(values.get("name"), str):
        names = ", ".join(part.name for part in registry.parts("head"))
        raise ConfigError(f"no head is chosen; use head=NAME with one of {names}")
    return registry.get("head", values["name"]).options


def part_sections(values: dict[str, Any]) -> dict[str, type]:
    """Types of the sections of a plain train configuration that come from the registry."""
    return task_sections(values) | {
        "head": head_type(values.get("head")), "objective": objective_schema(chosen_task(values).name),
        "optim": optim_schema()}


def task_sections(values: dict[str, Any]) -> dict[str, type]:
    """Types of the sections of any command's plain configuration that its task decides."""
    return own_sections(chosen_task(values))


def from_dict(stored: dict[str, Any], at: str | None = None, error: type[LlmtrainError] = ConfigError,
              scoring: bool = False) -> TrainConfig:
    """The TrainConfig behind a stored dictionary, read strictly: no Hydra, no interpolation, nothing instantiated.

    ``at`` names the file in the message; ``error`` is the type raised when the dictionary does not fit the schema
    (CheckpointError for one that comes out of a checkpoint). Options of objectives that are not installed here are left
    out where the run does not use them, and where it is only scored: a published model holds no training code.
    """
    where = f" at {at}" if at else ""
    try:
        if not isinstance(stored, dict):
            raise ConfigError("a configuration is a group of keys")
        here = {name: _here(stored.get(name), schema, scoring)
                for name, schema in (("objective", objective_schema(chosen_task(stored).name)),
                                     ("optim", optim_schema()))}
        config: TrainConfig = build(TrainConfig, stored | here, "", **part_sections(stored))
    except ConfigError as problem:
        raise error(f"stored configuration{where} does not fit this version: {line}" for line in problem.problems
                    ) from problem
    return config


def _here(section: Any, schema: type, scoring: bool) -> Any:
    """A stored section without the options of parts that are unknown here and not needed."""
    if not isinstance(section, dict):
        return {} if section is None else section
    terms = section.get("terms")
    used: set[Any] = {value for value in section.values() if isinstance(value, str)}
    used |= {term.get("name") for term in (terms if isinstance(terms, list) else ()) if isinstance(term, dict)}
    known = hints(schema)
    return {name: value for name, value in section.items()
            if name in known or not isinstance(value, dict) or (name in used and not scoring)}
