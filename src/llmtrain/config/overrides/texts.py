"""Overrides whose value is a text, kept as typed: Hydra's grammar would read ``695e0514`` as a number.

What a value is follows from the key it is given to, down into lists and groups; a number for a number's key is left to
Hydra.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, get_args, get_origin

from llmtrain import registry
from llmtrain.config.convert import hints
from llmtrain.config.overrides.paths import FUNCTION, PATH_KEYS, quote, quote_path, split_list, split_override
from llmtrain.config.reference import Key, annotated, keys
from llmtrain.config.sections.preprocess import KEY as PREPROCESS
from llmtrain.config.sections.preprocess import KIND as STEP_KIND
from llmtrain.config.sections.task import MEMBERS
from llmtrain.core.errors import LlmtrainError

_UNREADABLE = object()
_SWEEPS = ("choice(", "shuffle(")  # of these the values may be put in quotes: their order is not by value


def quote_overrides(overrides: list[str], command: str, multirun: bool = False) -> list[str]:
    """The overrides of a command with every path, and every text that Hydra would read as something else, in quotes."""
    known = keys(command)
    return [_quoted(override, known, multirun) for override in overrides]


def _quoted(override: str, known: dict[str, Key], multirun: bool) -> str:
    if (parts := split_override(override)) is None:
        return override
    prefix, name, value = parts
    if name in PATH_KEYS:
        return f"{prefix}{name}={quote_path(value, multirun)}"
    if (key := known.get(name)) is not None:
        return f"{prefix}{name}={_as(key.type, key.optional, name, value, multirun)}"
    if "." not in name and not value.startswith(("{", "[")):  # a group's option is a name
        return f"{prefix}{name}={_text(value, True, multirun)}"
    if value.startswith("{") and any(path.startswith(f"{name}.") for path in known):
        return f"{prefix}{name}={_section(value, name, known)}"
    return override


def _as(wanted: Any, optional: bool, name: str, value: str, multirun: bool = False) -> str:
    """A value as the type ``wanted``, every text in it in quotes where it needs them."""
    if wanted is str:
        return _text(value, optional, multirun)
    if multirun and len(pieces := split_list(value)) > 1:
        return ",".join(_as(wanted, optional, name, piece) for piece in pieces)
    if name == PREPROCESS:
        return _list(value, _step)
    if name == MEMBERS:
        return _list(value, lambda piece: _loose(piece, ""))
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin in (list, tuple) and arguments:
        entry, none = annotated(arguments[0])
        return _list(value, lambda piece: _as(entry, none, "", piece))
    if origin is dict and len(arguments) > 1:
        entry, none = annotated(arguments[1])
        return _group(value, lambda _: (entry, none))
    if is_dataclass(wanted) and isinstance(wanted, type):
        known = hints(wanted)
        return _group(value, lambda field: annotated(known.get(field, object)))
    return value


def _list(value: str, each: Callable[[str], str]) -> str:
    inside = value.strip()
    if not (inside.startswith("[") and inside.endswith("]")):
        return each(inside) if inside.startswith("{") else value
    inside = inside[1:-1].strip()
    return "[" + ",".join(map(each, split_list(inside))) + "]" if inside else "[]"


def _group(value: str, type_of: Callable[[str], tuple[Any, bool]]) -> str:
    inside = value.strip()
    if not (inside.startswith("{") and inside.endswith("}")):
        return value
    pieces = []
    for piece in split_list(inside[1:-1]):
        field, colon, entry = piece.partition(":")
        wanted, none = type_of(field.strip())
        pieces.append(f"{field}:{_as(wanted, none, '', entry.strip())}" if colon else piece)
    return "{" + ",".join(pieces) + "}"


def _step(value: str) -> str:
    """One step of data.preprocess: a name, or a group of its options."""
    if not value.startswith("{"):
        return _text(value, False, False)
    fields = dict(piece.partition(":")[::2] for piece in split_list(value[1:-1]))
    names = {field.strip(): entry.strip(" '\"") for field, entry in fields.items()}
    try:
        known = hints(registry.get(STEP_KIND, names.get("name", "")).options)
    except LlmtrainError:
        known = {}
    return _group(value, lambda field: (str, False) if field == "name" else annotated(known.get(field, object)))


def _loose(value: str, path: str) -> str:
    """A value whose type is not known here: groups and lists to their bottom, paths and what cannot be read in quotes.

    Args:
        path: The keys that it stands under, as far as they are those of a whole configuration.
    """
    inside = value.strip()
    if path in PATH_KEYS:
        return quote_path(inside)
    if inside.startswith("{") and inside.endswith("}"):
        pieces = []
        for piece in split_list(inside[1:-1]):
            field, colon, entry = piece.partition(":")
            below = f"{path}.{field.strip()}" if path else field.strip()
            pieces.append(f"{field}:{_loose(entry, below)}" if colon else piece)
        return "{" + ",".join(pieces) + "}"
    if inside.startswith("[") and inside.endswith("]"):
        listed = split_list(inside[1:-1])
        return "[" + ",".join(_loose(piece, path) for piece in listed if piece) + "]"
    return value if not inside or _read(inside) is not _UNREADABLE else quote(inside)


def _section(value: str, name: str, known: dict[str, Key]) -> str:
    """``objective={base: mlm}``: a group of keys under a key's name."""
    def type_of(field: str) -> tuple[Any, bool]:
        key = known.get(f"{name}.{field}")
        return (key.type, key.optional) if key is not None else (object, False)

    return _group(value, type_of)


def _text(value: str, optional: bool, multirun: bool) -> str:
    """A text as a value of Hydra's grammar; what it reads as that text already is left as it is."""
    if not value or (value == "null" and optional):
        return value
    if multirun:
        if FUNCTION.fullmatch(value):
            if not value.startswith(_SWEEPS):
                return value
            name, _, inside = value[:-1].partition("(")
            return f"{name}({','.join(_text(piece, optional, False) for piece in split_list(inside))})"
        if len(pieces := split_list(value)) > 1:
            return ",".join(_text(piece, optional, False) for piece in pieces)
    read = _read(value)
    return value if isinstance(read, str | list | dict) else quote(value)


def _read(value: str) -> Any:
    """What Hydra reads; a list for several values of a sweep."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(f"key={value}")
    except (HydraException, ValueError, RecursionError):  # Python itself reads no number of 5,000 digits
        return _UNREADABLE
    return [] if override.is_sweep_override() else override.value()
