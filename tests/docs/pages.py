"""A page of docs/ as tests read it: its commands, and its code."""

from __future__ import annotations

import contextlib
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


@dataclass(frozen=True)
class Page:
    """A page by its name below docs/."""

    name: str

    @property
    def text(self) -> str:
        return (DOCS / self.name).read_text(encoding="utf-8")

    @property
    def commands(self) -> list[str]:
        """The lines of its bash blocks."""
        return [line for block in re.findall(r"```bash\n(.*?)```", self.text, re.S) for line in block.splitlines()
                if line]

    def run_code(self, place: Path) -> str:
        """What its one Python block prints in a folder."""
        (code,) = re.findall(r"```python\n(.*?)```", self.text, re.S)
        before, printed = Path.cwd(), io.StringIO()
        os.chdir(place)
        try:
            with contextlib.redirect_stdout(printed):
                exec(compile(code, self.name, "exec"), {})
        finally:
            os.chdir(before)
        return printed.getvalue()
