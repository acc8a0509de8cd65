"""The key ``task``, and the sections whose keys depend on it: ``data`` and ``eval``."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from functools import cache
from typing import Any, get_type_hints

from llmtrain import registry
from llmtrain.config.keys import key
from llmtrain.config.plain import plain
from llmtrain.config.sections.data import DataConfig
from llmtrain.core.errors import ConfigError

DEFAULT = "summarization"  # also of configurations from before there was a choice
MEMBERS = "task.tasks"  # the key of several tasks that are learnt together
SAID_OF_ROWS = ("columns",)  # by a task's DataConfig
SAID_OF_TEXTS = ("max_target_tokens", "target_limit")  # also where targets are texts
OPTIONS = "task"  # the section of its options
SECTIONS = ("data", "eval")  # of which a task registers a class of its own: data=CLASS, eval=CLASS


@dataclass(kw_only=True, slots=True)
class TaskKeys:
    """What the section ``task`` has of every task; its own keys stand there and in the sections that it shapes."""

    name: str = key(DEFAULT, "registered name of the task", late=True)


def shared_sections() -> dict[str, type]:
    """The classes of the sections that a task shapes, with the keys of every task."""
    return {name: every_task(name) for name in (OPTIONS, *SECTIONS)}


def default_task() -> Any:
    """The options of the task of a configuration that names none."""
    return registry.get("task", DEFAULT).options()


def default_section(name: str) -> Any:
    """The section ``data`` or ``eval`` of the default task, at its defaults."""
    return registry.get("task", DEFAULT).requires[name]()


def chosen_task(values: Any) -> registry.RegisteredPart:
    """The task that a plain configuration names. Raises ConfigError for an unknown one."""
    section = values.get("task") if isinstance(values, dict) else None
    name = section.get("name") if isinstance(section, dict) else None
    return registry.get("task", DEFAULT if name is None else str(name))


def sections_of(task: registry.RegisteredPart) -> dict[str, type]:
    """The classes of the sections whose keys depend on the task.

    Raises:
        ConfigError: Its data class leaves open what every task must say of its rows.
    """
    found = {name: task.requires[name] for name in SECTIONS}
    data = found["data"]
    said = (*SAID_OF_ROWS, *(SAID_OF_TEXTS if has_text_targets(task) else ()))
    if missing := [name for name in said if getattr(data, name, None) in (None, getattr(DataConfig, name))]:
        raise ConfigError(f"{data.__name__}, the data of task {task.name!r}, does not say {' and '.join(missing)}; "
                          "derive it from DataConfig and write them")
    return found


def own_sections(task: registry.RegisteredPart) -> dict[str, type]:
    """The classes of all sections that a task shapes, its options among them."""
    return {OPTIONS: task.options} | sections_of(task)


def with_own_keys(values: dict[str, Any], task: registry.RegisteredPart) -> dict[str, Any]:
    """A plain configuration without the keys that other tasks alone have and that stand at their defaults.

    Raises:
        ConfigError: One of them was set: it would do nothing.
    """
    made, problems = dict(values), []
    for section in (OPTIONS, *SECTIONS):
        own = {one.name for one in fields(_keys_of(task, section))}
        others = {one.name: one for one in fields(every_task(section)) if one.name not in own}
        given = made.get(section)
        if not isinstance(given, dict):
            continue
        for name in given.keys() & others.keys():
            if plain(given[name]) != plain(_default(others[name])):
                belong = [part.name for part in registry.parts("task")
                          if name in {one.name for one in fields(_keys_of(part, section))}]
                problems.append(f"{section}.{name} is a key of task={' and '.join(belong)} and task is {task.name}; "
                                "leave it out, or choose that task")
        made[section] = {name: value for name, value in given.items() if name not in others}
    if problems:
        raise ConfigError(sorted(problems))
    return made


def every_task(section: str) -> type:
    """One class with the keys of every task's section, for what reads a configuration before the task is known.

    Raises:
        ConfigError: Two tasks have a key of one name that is not one key.
    """
    parts = sorted(registry.parts("task"), key=lambda part: (part.name != DEFAULT, part.name))
    first = ((DEFAULT, TaskKeys),) if section == OPTIONS else ()  # each calls itself by another name
    return _merged(section, (*first, *((part.name, _keys_of(part, section)) for part in parts)))


def _keys_of(task: registry.RegisteredPart, section: str) -> type:
    """A task's own class of one of the sections that it shapes."""
    return task.options if section == OPTIONS else task.requires[section]


@cache
def _merged(section: str, classes: tuple[tuple[str, type], ...]) -> type:
    (default, first), *others = classes
    types = get_type_hints(first)
    known = {one.name: (default, types[one.name], one) for one in fields(first)}
    added: list[tuple[str, Any, Any]] = []
    for task, schema in others:
        types = get_type_hints(schema)
        for one in fields(schema):
            if (section, one.name) == (OPTIONS, "name"):
                continue
            kind = types[one.name]
            owner, wanted, other = known.setdefault(one.name, (task, kind, one))
            if owner == task:
                added.append((one.name, kind, _copy(one)))
            elif (wanted, _default(other)) != (kind, _default(one)):
                raise ConfigError(f"task {task!r} has a key {section}.{one.name} of another type or default than "
                                  f"task {owner!r}; give it another name")
    return first if not added else make_dataclass(f"Every{section.title()}", added, bases=(first,), kw_only=True,
                                                  namespace={"__module__": first.__module__})


def _copy(one: Any) -> Any:
    """A field to make a class with, of another class's."""
    if one.default_factory is not MISSING:
        return field(default_factory=one.default_factory, metadata=one.metadata)
    return field(default=one.default, metadata=one.metadata)


def _default(one: Any) -> Any:
    return one.default if one.default is not MISSING else one.default_factory()


def has_text_targets(task: registry.RegisteredPart) -> bool:
    """Whether what a task learns to give are texts."""
    return bool(task.requires.get("text_targets", True))


def key_without_model(task: str) -> str | None:
    """The key of ``eval`` that asks for what a task gives without a model, if there is one."""
    found: str | None = registry.get("task", task).requires.get("without_model")
    return found


def asks_without_model(config: Any) -> bool:
    """Whether a configuration asks for that: its ``task`` and ``eval`` are read."""
    key = key_without_model(config.task.name)
    return key is not None and getattr(config.eval, key) is not None
