"""What a check says: OK, WARN, FAIL, or that there was no time for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How it stands, the worst last."""

    skip = "SKIP"
    ok = "OK"
    warn = "WARN"
    fail = "FAIL"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of the table.

    Attributes:
        check: What was looked at.
        level: How it stands.
        found: What was seen, with its figures.
        remedy: What to do about it; empty where there is nothing to do.
        figures: The same figures for programs.
    """

    check: str
    level: Level
    found: str
    remedy: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"check": self.check, "level": self.level.value, "found": self.found, "remedy": self.remedy,
                "figures": self.figures}


def judged(check: str, found: str, *, fail: str = "", warn: str = "", **figures: Any) -> Verdict:
    """A line that fails or warns where a remedy is given for it, and is OK otherwise."""
    level = Level.fail if fail else Level.warn if warn else Level.ok
    return Verdict(check, level, found, fail or warn, figures)
