"""A page that is shown to readers, as tests read it: its commands, and its code."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from helpers import Finished, warm_cli

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Page:
    """A page by its name in the repository."""

    name: str

    @property
    def text(self) -> str:
        return (ROOT / self.name).read_text(encoding="utf-8")

    @property
    def commands(self) -> list[str]:
        """The lines of its bash blocks."""
        return [line for block in re.findall(r"```bash\n(.*?)```", self.text, re.S) for line in block.splitlines()
                if line]

    def run(self, command: str, place: Path, small: list[str]) -> Finished:
        """What one of its commands gives in a folder, cut short.

        Args:
            small: What is added to commands that train or show rows.
        """
        words = [word.replace("max_minutes=30", "max_minutes=0.01") for word in shlex.split(command)]
        return warm_cli(*words[1:], *(small if words[1] in ("train", "data") else ()), cwd=place)

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
