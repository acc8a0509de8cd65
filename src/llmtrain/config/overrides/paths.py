"""Overrides as a shell user types them, quoted for Hydra's grammar.

A path may hold spaces, brackets, ``~``, ``=`` or Chinese characters. The order of reading: an existing file wins,
then a Hydra list ``[a,b]``, then a glob, which stays a text and is expanded by the data source.
"""

from __future__ import annotations

import re
from pathlib import Path

PATH_KEYS = frozenset({
    "model.path", "model.init_from", "run.root", "run.extend_from", "data.folder", "data.train", "data.validation",
    "data.test", "data.unlabelled", "data.selector", "data.cache_dir", "data.hub.name", "eval.output", "checkpoint",
    "predictions", "input"})
_OVERRIDE = re.compile(r"(?P<prefix>\+\+|\+|~)?(?P<key>[^=\s@]+)=(?P<value>.*)", re.DOTALL)
FUNCTION = re.compile(r"(choice|glob|range|interval|tag|sort|shuffle|str|int|float|bool)\(.*\)", re.DOTALL)


def split_override(override: str) -> tuple[str, str, str] | None:
    """(prefix, key, value) of ``+key=value``; None for an override without a value."""
    match = _OVERRIDE.fullmatch(override)
    return (match["prefix"] or "", match["key"], match["value"]) if match else None


def quote(text: str) -> str:
    """A text in Hydra's single quotes."""
    return "'" + re.sub(r"(\\*)('|\Z)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text) + "'"


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # a name too long, or one with a NUL, is no file
        return False


def expand(value: str) -> str:
    """``value`` with a leading ``~`` or ``~user`` expanded where such a home exists."""
    try:
        return str(Path(value).expanduser()) if value.startswith("~") else value
    except RuntimeError:
        return value


def split_list(text: str) -> list[str]:
    """Pieces of ``a,'b, c',[d,e]`` at its top-level commas, stripped."""
    pieces, depth, quoted, piece, escaped = [], 0, "", "", False
    for char in text:
        if char == "," and not depth and not quoted:
            pieces.append(piece.strip())
            piece = ""
            continue
        piece += char
        if quoted:
            quoted = "" if char == quoted and not escaped else quoted
            escaped = char == "\\" and not escaped
        elif char in "'\"" and piece.strip() == char:
            quoted, escaped = char, False
        else:
            depth += (char in "[({") - (char in "])}")
    return [*pieces, piece.strip()]


def quote_path(value: str, multirun: bool = False) -> str:
    """A path as typed, as a value of Hydra's grammar."""
    expanded = expand(value)
    if value and _exists(expanded):
        return quote(re.sub(r"\$\{", r"\\${", expanded))  # a file's own name is no interpolation
    if value in ("", "null") or value[0] in "'\"":
        return value
    if value[0] == "[" and value[-1] == "]":
        inside = value[1:-1].strip()
        return "[" + ",".join(quote_path(piece) for piece in split_list(inside)) + "]" if inside else "[]"
    if multirun:
        if FUNCTION.fullmatch(value):
            return value
        if len(pieces := split_list(value)) > 1:
            return ",".join(quote_path(piece) for piece in pieces)
    return quote(expanded)


def path_value(overrides: list[str], key: str) -> str | None:
    """The path that the last ``key=PATH`` of the command line gives, ``~`` expanded and quotes removed; else None."""
    found = None
    for override in overrides:
        if (parts := split_override(override)) is None or parts[1] != key:
            continue
        value = parts[2]
        if not _exists(expand(value)) and len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]:
            value = re.sub(r"\\(['\"\\])", r"\1", value[1:-1])
        found = None if value in ("", "null") else expand(value)
    return found
