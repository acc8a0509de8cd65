"""What a user's file may hold in a cell or call a column, as far as it cannot be used or must be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmtrain.errors import cut, redact

SHOWN = 60  # characters of a name or an id; a stray line break makes them as long as the file


@dataclass(frozen=True, slots=True)
class Unusable:
    """Stands for a value that is there and has no meaning; only rows that need it are bad."""

    why: str  # with the column's name in front


TWICE = Unusable("stands twice in the header")
UNREADABLE = Unusable("holds a value that cannot be read")


def shown(name: str, most: int = SHOWN) -> str:
    """A name between quotes, shortened to so many characters."""
    return cut(repr(redact(name)), most + 2)


def columns_of(row: Mapping[str, object], most: int = 12) -> str:
    """The names of a row's first columns, for a message."""
    return ", ".join(shown(name, 24) for name in list(row)[:most]) + (" ..." if len(row) > most else "")
