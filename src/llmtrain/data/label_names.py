"""What a label is called: a text, a number, true or false of a user's row, or a list of them, as plain names."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

from llmtrain.core.errors import shown
from llmtrain.core.files import SURROGATE

TEXT, NUMBER, TRUTH = "a text", "a number", "true or false"
LONGEST = 200  # characters of a label's name
PYTHON_LIST = re.compile(r"\[\s*'.*'\s*\]", re.DOTALL)  # a cell that pandas wrote
NUMERAL = re.compile(r"-?[0-9]+(\.[0-9]*)?(e-[0-9]+)?|-?\.[0-9]+")


class NoLabel(ValueError):
    """Something that is no label; its text says what it is instead."""


def label_name(value: Any) -> tuple[str, str]:
    """(name, kind) of one label: 1 and 1.0 are "1", True is "true", spaces around a text are none of it.

    Raises:
        NoLabel: It is none.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise NoLabel("is empty (data.empty_cells counts as empty)")
    if isinstance(value, bool):
        return str(value).lower(), TRUTH
    if isinstance(value, int | float):
        if isinstance(value, float) and not math.isfinite(value):
            raise NoLabel(f"is {value}, which is no label")
        name = str(int(value)) if value == int(value) else repr(float(value))
        return _short(name, "number"), NUMBER
    if not isinstance(value, str):
        raise NoLabel(f"is {_kind(value)}, not a label")
    name = value.strip()
    if not name:
        raise NoLabel("is empty (data.empty_cells counts as empty)")
    if "\0" in name or SURROGATE.search(name):
        raise NoLabel("holds half a character or a NUL; save the file as UTF-8")
    if PYTHON_LIST.match(name):
        raise NoLabel(f'is {shown(name, 32)}, a list as Python prints it; write it as JSON, ["one", "other"], or '
                      "with a character between labels and name that, data.label_separator")
    return _short(name, "text"), TEXT


def _short(name: str, kind: str) -> str:
    if len(name) > LONGEST:
        raise NoLabel(f"is a {kind} of {len(name)} characters ({shown(name, 24)}), longer than any label")
    return name


def label_names(value: Any, separator: str | None = None) -> tuple[list[str], str]:
    """(names, kind) of a row's labels: a list of them, a mapping of labels to 0 or 1, or a text that lists them.

    Args:
        separator: Between the labels of a text; a text that is a JSON list is one without it too.

    Raises:
        NoLabel: It is no list of labels, or of two kinds.
    """
    listed = listed_in(value, separator)
    if listed is None:
        raise NoLabel(f"is {_kind(value)}, not a list of labels")
    found = [label_name(one) for one in listed]
    kinds = sorted({kind for _, kind in found})
    if len(kinds) > 1:
        raise NoLabel(f"lists labels of two kinds, {' and '.join(kinds)}")
    return list(dict.fromkeys(name for name, _ in found)), kinds[0] if kinds else ""


def listed_in(value: Any, separator: str | None = None) -> list[Any] | None:
    """What a value lists; None where it is one label, or none at all.

    Raises:
        NoLabel: It is a mapping with other values than 0 and 1.
    """
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, dict):
        if odd := [name for name, on in value.items() if on not in (0, 1, None)]:
            raise NoLabel(f"maps {shown(str(odd[0]), 24)} to something else than 0 or 1")
        return [name for name, on in value.items() if on]
    if isinstance(value, str):
        if separator is not None:
            return [part for part in value.split(separator) if part.strip()]
        if value.lstrip().startswith("["):
            try:
                found = json.loads(value)
            except (ValueError, RecursionError):
                return None
            return found if isinstance(found, list) else None
    return None


def as_text(names: Iterable[str]) -> str:
    """Several labels as one text, which :func:`listed_in` takes apart again."""
    return json.dumps(list(names), ensure_ascii=False)


def in_order(names: Iterable[str]) -> list[str]:
    """Labels in a stable order: numbers by their size, else by their letters."""
    every = set(names)

    if all(map(NUMERAL.fullmatch, every)):
        return sorted(every, key=lambda name: (float(name), name))
    return sorted(every)


def _kind(value: Any) -> str:
    return {"list": "a list", "dict": "a group of keys"}.get(name := type(value).__name__, f"of type {name}")
