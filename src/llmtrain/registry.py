"""Named parts: (kind, name) -> a torch-free options dataclass and the class that implements it.

The configuration schema is built from this table before Hydra composes, so a part is one dataclass, one
class, one ``register`` line and one yaml. The implementation is named by a "module:Class" string and is
imported by :func:`resolve` only after the whole configuration has been validated.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules
from typing import Any

from llmtrain.core.errors import ConfigError

KINDS = ("head", "objective", "weighting", "optimizer", "preprocess", "task", "architecture")
FACTS = {"task": ("term", "head", "data", "eval", "metrics")}  # what a kind must be registered with
ENTRY_POINT_GROUP = "llmtrain.plugins"
TASKS = "llmtrain.tasks"
BUILTIN_MODULES = (  # torch-free, imported late; tasks are found by their folders
    "llmtrain.models.architectures",
    "llmtrain.models.heads.transformer.options", "llmtrain.models.heads.rnn.options",
    "llmtrain.models.heads.prefix_lm.options",
    "llmtrain.models.heads.extractive.options", "llmtrain.models.heads.ext_abs.options",
    "llmtrain.models.heads.classifier.options", "llmtrain.models.heads.span.options",
    "llmtrain.models.heads.several.options",
    "llmtrain.objectives.options", "llmtrain.objectives.weighting.options",
    "llmtrain.data.text.preprocess.options",
    "llmtrain.optim.options")


@dataclass(frozen=True, slots=True)
class RegisteredPart:
    """One registered part.

    Attributes:
        kind: One of :data:`KINDS`.
        name: The name used on the command line.
        options: Dataclass *type* of its options (all with defaults; no torch import needed to load it).
        target: ``"module:Class"``.
        about: One line for ``llmtrain list``.
        requires: Facts other parts check before any weight is read, e.g. ``{"writes": True}`` for a head.
        origin: Where it comes from: "" for our own, else a plugin file's name or ``"distribution version"``.
    """

    kind: str
    name: str
    options: type
    target: str
    about: str
    requires: dict[str, Any] = field(default_factory=dict)
    origin: str = ""


_parts: dict[tuple[str, str], RegisteredPart] = {}
_loaded = False
_origin = ""


def register(
    kind: str, name: str, options: type, target: str | type, about: str, **requires: Any
) -> RegisteredPart:
    """Register a part. ``target`` is ``"module:Class"``, or the class itself where importing torch first is no matter.

    Raises ConfigError for an unknown kind, a bad options type or a name already taken.
    """
    if kind not in KINDS:
        raise ConfigError(f"cannot register {kind!r} {name!r}; the kinds are {', '.join(KINDS)}")
    if not name.isidentifier():
        raise ConfigError(f"{kind} {name!r} cannot be named on the command line; use letters, digits and _")
    if (problem := _options_problem(kind, name, options)) is not None:
        raise ConfigError(f"options of {kind} {name!r} {problem}")
    if missing := [fact for fact in FACTS.get(kind, ()) if not requires.get(fact)]:
        raise ConfigError(f"{kind} {name!r} is registered without {' and '.join(missing)}; add "
                          f"{', '.join(f'{fact}=...' for fact in missing)} to its register line")
    if isinstance(target, type):
        target = f"{target.__module__}:{target.__qualname__}"
    part = RegisteredPart(kind, name, options, target, about, requires, _origin or _package_of(target))
    known = _parts.get((kind, name))
    if known is not None and known.target != target:
        raise ConfigError(
            f"{kind} {name!r} is registered twice, by {known.target} and {target}; rename one of them"
        )
    _parts[kind, name] = part
    return part


def _options_problem(kind: str, name: str, options: Any) -> str | None:
    if not (isinstance(options, type) and is_dataclass(options)):
        return f"must be a dataclass type, got {options!r}; write @dataclass(kw_only=True)"
    for option in fields(options):
        if option.default is MISSING and option.default_factory is MISSING:
            return f"have no default for {option.name}; write {option.name}: TYPE = key(DEFAULT, MEANING)"
    named = any(option.name == "name" and option.default == name for option in fields(options))
    if kind in ("head", "task") and not named:
        return f'must know their name; write name: str = key("{name}", "registered name of the {kind}")'
    return None


def _package_of(target: str) -> str:
    package = target.partition(":")[0].partition(".")[0]
    return "" if package == "llmtrain" else package


@contextmanager
def registering(origin: str) -> Iterator[None]:
    """What is registered inside comes from ``origin``."""
    global _origin
    before, _origin = _origin, origin
    try:
        yield
    finally:
        _origin = before


def drop(origin: str) -> None:
    """Forget the parts that came from ``origin``."""
    for part in [part for part in _parts.values() if part.origin == origin]:
        del _parts[part.kind, part.name]


def _load() -> None:
    """Once, before the first look-up: register our own parts, then those of installed plugin packages."""
    global _loaded
    if _loaded:
        return
    _loaded = True
    for module in (*_modules_of_tasks(), *BUILTIN_MODULES):
        import_module(module)
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            with registering(_named(entry)):
                entry.load()
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError(f"plugin {entry.name!r} at {entry.value} cannot be imported ({type(error).__name__}: "
                              f"{error}); repair or uninstall it") from error


def _modules_of_tasks() -> list[str]:
    """tasks/NAME/options.py of every task: a task is a folder, and nothing outside it names one."""
    folders = import_module(TASKS).__path__
    return [f"{TASKS}.{found.name}.options" for found in iter_modules(folders) if found.ispkg]


def _named(entry: EntryPoint) -> str:
    return entry.name if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def parts(kind: str) -> list[RegisteredPart]:
    """All parts of a kind, by name."""
    _load()
    return sorted((p for p in _parts.values() if p.kind == kind), key=lambda part: part.name)


def get(kind: str, name: str) -> RegisteredPart:
    """The part named, or ConfigError with the nearest name."""
    _load()
    if (part := _parts.get((kind, name))) is not None:
        return part
    names = [p.name for p in parts(kind)]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else (
        f"choose from {', '.join(names)}, or name a plugin that has it with --plugin FILE")
    raise ConfigError(f"unknown {kind} {name!r}; {hint}")


def resolve(kind: str, name: str) -> Any:
    """Import and return the class behind a part. Raises ConfigError when its target names none."""
    part = get(kind, name)
    module, _, attribute = part.target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        if not part.origin:
            raise
        raise ConfigError(f"{kind} {name!r} of {part.origin} names the class {part.target}, which is not there "
                          f"({error}); mend its register line") from error
