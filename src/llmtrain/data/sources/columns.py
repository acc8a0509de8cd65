"""The columns that a user names, found in a row: by name, inside a nested one, or nearly by name."""

from __future__ import annotations

import re
from typing import Any

from llmtrain.core.errors import shown

GAPS = re.compile(r"[\s_\-]+")
MISSING = object()


class Columns:
    """Gives rows their columns under the names that were asked for, and tells once where a name is not the very one.

    Args:
        named: The asked names, by the key each stands in.
        notes: Gains a line for each name that was found another way.
    """

    def __init__(self, named: dict[str, str], notes: list[str]) -> None:
        self._named, self._notes = named, notes
        self._told: set[tuple[str, str]] = set()

    def find(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row itself where it has every name, else with what stands for the others."""
        added = {}
        for key, name in self._named.items():
            if name in row:
                continue
            value = _nested(row, name)
            if value is not MISSING:
                added[name] = value
            elif len(near := near_names(row, name)) == 1:
                added[name] = row[near[0]]
                self._tell(key, f"column {shown(near[0])} is read as {shown(name)} ({key})", near[0])
        return row | added if added else row

    def join(self, row: dict[str, Any], key: str) -> dict[str, Any]:
        """A list of paragraphs as one text, told once."""
        name = self._named[key]
        value = row.get(name)
        if not isinstance(value, list) or not value or not all(isinstance(part, str) for part in value):
            return row
        self._tell(key, f"lists of texts in column {shown(name)} are joined by line breaks ({key})", "")
        return row | {name: "\n".join(value)}

    def _tell(self, key: str, line: str, by: str) -> None:
        if (key, by) not in self._told:
            self._told.add((key, by))
            self._notes.append(line)


def near_names(row: dict[str, Any], name: str) -> list[str]:
    """Columns that differ from a name by case, spaces around it, a byte order mark, or underscores for spaces."""
    wanted = plain(name)
    return [one for one in row if isinstance(one, str) and plain(one) == wanted]


def plain(name: str) -> str:
    return GAPS.sub(" ", name.replace("\ufeff", "")).strip().strip("\"'").strip().casefold()


def _nested(row: dict[str, Any], name: str) -> Any:
    """What ``article.text`` names: a literal column with a dot was looked for before."""
    value: Any = row
    for part in name.split(".") if "." in name else ():
        if not isinstance(value, dict) or part not in value:
            return MISSING
        value = value[part]
    return MISSING if value is row else value
