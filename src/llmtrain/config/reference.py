"""Every key of a command with its meaning, unit, default and type: one table for help, checks and completion."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, Union, get_args, get_origin

from llmtrain import registry
from llmtrain.config.bounds import OPEN, Bounds, bounds_of
from llmtrain.config.convert import hints
from llmtrain.config.keys import RESULTS
from llmtrain.config.plain import plain
from llmtrain.config.schema import SCHEMAS, TrainConfig
from llmtrain.config.sections.objective import AUTO, objective_schema
from llmtrain.config.sections.optim import optim_schema
from llmtrain.config.sections.task import own_sections, shared_sections


@dataclass(frozen=True, slots=True)
class Key:
    """One documented key. ``type`` is the annotation without None; ``optional`` says whether null is a value;
    ``bounds`` is the range of a number, and of each in a list."""

    path: str
    meaning: str
    unit: str
    default: Any
    affects: str
    type: Any
    optional: bool
    bounds: Bounds = OPEN

    @property
    def open(self) -> bool:
        """Whether further keys may stand below this one."""
        return self.type is Any or get_origin(self.type) is dict or self.type is dict

    @property
    def range(self) -> str:
        """The range of a number in words; of a list of groups, that of each number in them."""
        entry = (get_args(self.type) or (None,))[0]
        if isinstance(entry, type) and is_dataclass(entry):
            return ", ".join(f"{field.name} {bounds}" for field in fields(entry) if (bounds := bounds_of(field)))
        return str(self.bounds)

    @property
    def choices(self) -> list[str]:
        """Values to choose from, where there are only a few."""
        if isinstance(self.type, type) and issubclass(self.type, Enum):
            return [str(member.value) for member in self.type]
        if self.type is bool:
            word = "never" if self.path == "generation.early_stopping" else self.default  # auto, of a key that has it
            return ["true", "false", *([word] if isinstance(word, str) else [])]
        if self.path == "objective.base":
            return ["none", *(part.name for part in registry.parts("objective"))]
        if self.path == "optim.name":
            return [part.name for part in registry.parts("optimizer")]
        if self.path == "task.name":
            return [part.name for part in registry.parts("task")]
        if self.path == "objective.weighting":
            return [part.name for part in registry.parts("weighting")]
        return []

    @property
    def word(self) -> str | None:
        """The word that may stand in the place of a number."""
        return AUTO if self.path == "objective.lam" else None

    @property
    def expects(self) -> str:
        """What a value must be, for messages."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        entry = (get_args(self.type) or (None,))[0]
        if isinstance(entry, type) and is_dataclass(entry):
            return f"a list of {{{', '.join(f'{field.name}: ...' for field in fields(entry))}}}"
        kinds = {int: "a whole number", float: "a number", str: "a text", list: "a list"}
        kind = kinds.get(get_origin(self.type) or self.type, "a value of this key's type")
        return kind if self.word is None else f"{kind} or {self.word}"


def annotated(annotation: Any) -> tuple[Any, bool]:
    """A field's type without None, and whether null is a value."""
    if get_origin(annotation) in (Union, types.UnionType):
        left = [a for a in get_args(annotation) if a is not type(None)]
        whole = next((one for one in (bool, float) if one in left), Any)  # or a word: see Key.choices and Key.word
        return (left[0] if len(left) == 1 else whole), len(left) < len(get_args(annotation))
    return annotation, annotation is Any


def _walk(schema: type, prefix: str, sections: dict[str, type]) -> Iterator[Key]:
    known = hints(schema) | sections
    for field in fields(schema):
        annotation, optional = annotated(known[field.name])
        path = f"{prefix}{field.name}"
        if is_dataclass(annotation) and isinstance(annotation, type):
            yield from _walk(annotation, f"{path}.", {})
            continue
        default = field.default
        if default is MISSING:
            default = None if field.default_factory is MISSING else field.default_factory()
        yield Key(path, field.metadata.get("meaning", ""), field.metadata.get("unit", ""), plain(default),
                  field.metadata.get("affects", RESULTS), annotation, optional, bounds_of(field))


def keys(command: str, head: str | None = None, task: str | None = None) -> dict[str, Key]:
    """All keys of a command by dotted path; ``head`` limits head options to one head (default: every head's), ``task``
    the keys of data and eval to one task."""
    shared = shared_sections() | ({} if task is None else own_sections(registry.get("task", task)))
    if command != "train":
        return {key.path: key for key in _walk(SCHEMAS[command], "", shared)}
    first, *others = [part.name for part in registry.parts("head")] if head is None else [head]
    sections = shared | {"head": registry.get("head", first).options, "objective": objective_schema(),
                         "optim": optim_schema()}
    found = {key.path: key for key in _walk(TrainConfig, "", sections)}
    for other in others:  # only what stands below head differs
        for key in _walk(registry.get("head", other).options, "head.", {}):
            found.setdefault(key.path, key)
    return found


def section_keys(schema: type, prefix: str) -> list[Key]:
    """The keys of one section, as those of a command that takes another's overrides beside its own."""
    return list(_walk(schema, prefix, {}))
