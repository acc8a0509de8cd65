"""What a user's file may hold in a cell or call a column, as far as it cannot be used or must be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmtrain.config.sections.data import EMPTY_CELLS, DataConfig
from llmtrain.core.errors import shown


@dataclass(frozen=True, slots=True)
class Unusable:
    """Stands for a value that is there and has no meaning; only rows that need it are bad."""

    why: str  # with the column's name in front


@dataclass(slots=True)
class Reading:
    """How files are read, and what there is to tell about it.

    Attributes:
        delimiter: Of tables; none: by the file's name, else by what its first lines show.
        empty_cells: Whole cells of a table that stand for no value.
        notes: Gains a line for whatever was guessed or left out.
        pair: What the two columns of paired text are called.
        parallel: Two plain-text files may be its two columns.
    """

    delimiter: str | None = None
    empty_cells: frozenset[str] = frozenset(EMPTY_CELLS)
    notes: list[str] = field(default_factory=list)
    pair: tuple[str, str] = ("source", "target")
    parallel: bool = False

    @classmethod
    def of(cls, config: DataConfig, notes: list[str]) -> Reading:
        columns = config.columns()
        return cls(config.delimiter, frozenset(config.empty_cells), notes, (columns.source, columns.target),
                   columns.parallel)


TWICE = Unusable("stands twice in the header")
UNREADABLE = Unusable("holds a value that cannot be read")


def names_in(row: Mapping[str, object], most: int = 12) -> str:
    """The names of a row's first columns, for a message."""
    return ", ".join(shown(name, 24) for name in list(row)[:most]) + (" ..." if len(row) > most else "")
