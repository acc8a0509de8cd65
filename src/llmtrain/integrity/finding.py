"""What one folder or file is, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

ADVICE = "use another checkpoint or restore this one"


@dataclass
class Finding:
    """What one folder or file (``path``) is.

    Attributes:
        what: In a few words, with counts.
        good_for: Commands and keys that take it; none while there are problems.
        problems: One line each.
    """

    path: Path
    what: str
    good_for: tuple[str, ...] = ()
    problems: list[str] = field(default_factory=list)

    def describe(self) -> str:
        if self.problems:
            return f"{self.path}: {self.what}; {len(self.problems)} problem{'s' * (len(self.problems) > 1)}"
        return f"{self.path}: {self.what}" + (f"; good for {', '.join(self.good_for)}" if self.good_for else "")
