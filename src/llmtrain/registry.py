"""Named parts: (kind, name) -> a torch-free options dataclass and the class that implements it.

The configuration schema is built from this table before Hydra composes, so a part is one dataclass, one
class, one ``register`` line and one yaml. The implementation is named by a "module:Class" string and is
imported by :func:`resolve` only after the whole configuration has been validated.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, is_dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from llmtrain.errors import ConfigError

KINDS = ("head", "objective", "optimizer", "preprocess")
ENTRY_POINT_GROUP = "llmtrain.plugins"
BUILTIN_MODULES = (  # torch-free, imported late
    "llmtrain.heads.transformer.config", "llmtrain.heads.rnn.config", "llmtrain.heads.prefix_lm.config",
    "llmtrain.objectives.options", "llmtrain.data.preprocess.options",
    "llmtrain.optim.options")


@dataclass(frozen=True, slots=True)
class Part:
    """One registered part.

    Attributes:
        kind: One of :data:`KINDS`.
        name: The name used on the command line.
        options: Dataclass *type* of its options (all with defaults; no torch import needed to load it).
        target: ``"module:Class"``.
        summary: One line for ``llmtrain list``.
        requires: Facts other parts check before any weight is read, e.g. ``{"writes": True}`` for a head.
    """

    kind: str
    name: str
    options: type
    target: str
    summary: str
    requires: dict[str, Any] = field(default_factory=dict)


_parts: dict[tuple[str, str], Part] = {}
_loaded = False


def register(
    kind: str, name: str, options: type, target: str, summary: str, **requires: Any
) -> Part:
    """Register a part. Raises ConfigError for an unknown kind, a bad options type or a name already taken."""
    if kind not in KINDS:
        raise ConfigError(f"cannot register {kind!r} {name!r}; the kinds are {', '.join(KINDS)}")
    if not (isinstance(options, type) and is_dataclass(options)):
        raise ConfigError(f"options of {kind} {name!r} must be a dataclass type, got {options!r}")
    part = Part(kind, name, options, target, summary, requires)
    known = _parts.get((kind, name))
    if known is not None and known.target != target:
        raise ConfigError(
            f"{kind} {name!r} is registered twice, by {known.target} and {target}; rename one of them"
        )
    _parts[kind, name] = part
    return part


def _load() -> None:
    """Once, before the first look-up: register our own parts, then those of installed plugin packages."""
    global _loaded
    if _loaded:
        return
    _loaded = True
    for module in BUILTIN_MODULES:
        import_module(module)
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry.load()
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"plugin {entry.name!r} at {entry.value} cannot be imported ({error}); repair or "
                              "uninstall it") from error


def parts(kind: str) -> list[Part]:
    """All parts of a kind, by name."""
    _load()
    return sorted((p for p in _parts.values() if p.kind == kind), key=lambda part: part.name)


def get(kind: str, name: str) -> Part:
    """The part named, or ConfigError with the nearest name."""
    _load()
    if (part := _parts.get((kind, name))) is not None:
        return part
    names = [p.name for p in parts(kind)]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(names)}"
    raise ConfigError(f"unknown {kind} {name!r}; {hint}")


def resolve(kind: str, name: str) -> Any:
    """Import and return the class behind a part."""
    module, _, attribute = get(kind, name).target.partition(":")
    return getattr(import_module(module), attribute)
