"""The range of a number: it stands at the number's key, is shown with it, and is checked here."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from llmtrain.core.errors import shorten

LARGEST = 2**63 - 1  # of whole numbers: torch and the system's calls take no larger one


@dataclass(frozen=True, slots=True)
class Bounds:
    """The range of a number; an end that is None is open.

    Attributes:
        min: The smallest number of the range.
        max: The largest number of the range.
        above: What every number of the range is more than.
        below: What every number of the range is less than.
    """

    min: float | None = None
    max: float | None = None
    above: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        for one, other in (("min", "above"), ("max", "below")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"{one}={getattr(self, one)} and {other}={getattr(self, other)} bound the same end; "
                                 "give one of them")

    def __bool__(self) -> bool:
        return self != Bounds()

    def __str__(self) -> str:
        """The range in words, ``from 0 to less than 1``; empty when it is open at both ends."""
        low, high = self._low(), self._high()
        if self.min is None or not high:
            return " and ".join(filter(None, (low, high)))
        return f"from {_number(self.min)} to {high.removeprefix('at most ')}"

    def problem(self, value: float) -> str | None:
        """What ``value`` must be and is not; None when it is in the range.

        A number with both ends in its range is told the whole range, as ``from 0 to 1``; a whole number, of which the
        largest is often a limit far away, the end that it is beyond.
        """
        whole = isinstance(value, int)
        both_ends = str(self) if self.min is not None and self.max is not None and not whole else ""
        if not self._reaches(value):
            low = "more than 0" if whole and self.min == 1 else self._low()
            return f"must be {both_ends or low or 'a number'}"
        if value in (float("inf"), -float("inf")):
            return "must be finite"
        if (self.max is not None and value > self.max) or (self.below is not None and value >= self.below):
            return f"must be {both_ends or self._high()}"
        if whole and abs(value) > LARGEST:
            return f"must be at most {LARGEST}" if value > 0 else f"must be {-LARGEST} or more"
        return None

    def _reaches(self, value: float) -> bool:
        """Whether ``value`` is a number beyond the lower end."""
        return value == value and (self.min is None or value >= self.min) and (
            self.above is None or value > self.above)

    def _low(self) -> str:
        if self.min is not None:
            return f"{_number(self.min)} or more"
        return "" if self.above is None else f"more than {_number(self.above)}"

    def _high(self) -> str:
        if self.max is not None:
            open_below = self.min is None and self.above is None
            return f"{_number(self.max)} or less" if open_below else f"at most {_number(self.max)}"
        return "" if self.below is None else f"less than {_number(self.below)}"


OPEN = Bounds()


def bounds_of(field: Any) -> Bounds:
    """The range of a dataclass's field; an open one when it was declared without."""
    found: Bounds = field.metadata.get("bounds", OPEN)
    return found


def out_of_range(options: Any, path: str = "", unread: Collection[str] = ()) -> Iterator[str]:
    """One line for each number of a typed configuration that is out of its key's range.

    Numbers in lists, in groups of keys and in lists of groups count too.

    Args:
        options: The configuration or a section of it: an instance of a dataclass whose fields are made by ``key``.
        path: Dotted path of ``options`` itself, for the lines.
        unread: Paths of the sections that nothing reads in this configuration, which are not checked.
    """
    for field in fields(options):
        where = f"{path}.{field.name}" if path else field.name
        if where not in unread:
            yield from _problems(getattr(options, field.name), where, bounds_of(field), unread)


def _problems(value: Any, path: str, bounds: Bounds, unread: Collection[str]) -> Iterator[str]:
    if is_dataclass(value) and not isinstance(value, type):
        yield from out_of_range(value, path, unread)
    elif isinstance(value, list | tuple):
        for index, entry in enumerate(value):
            yield from _problems(entry, f"{path}[{index}]", bounds, unread)
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield from _problems(entry, f"{path}.{name}", bounds, unread)
    elif isinstance(value, int | float) and not isinstance(value, bool) and (said := bounds.problem(value)):
        yield f"{path}={_number(value)} {said}; change it"


def _number(value: float) -> str:
    """A number as it may stand in a line; an int may have thousands of digits, which no float holds."""
    return shorten(str(value), 40) if isinstance(value, int) else f"{value:g}"
