"""A case of a file that somebody else made to do harm, and the place where it is set up."""

from __future__ import annotations

import os
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SECRET = "hf_" + "C4n4ry" * 5  # in the environment and in a file beside everything


@dataclass
class Place:
    """Where a case is set up.

    Attributes:
        folder: Its own; runs are written below it.
        outside: A folder that nobody may write to; ``secret.txt`` in it, nobody may read.
        good: A train command that works.
        model: A trained run.
    """

    folder: Path
    outside: Path
    good: list[str]
    model: Path

    @property
    def executed(self) -> Path:
        """Stands there once foreign code has run."""
        return self.folder / "executed"

    def pickle(self) -> bytes:
        return pickle.dumps(_Payload(self.executed))

    def code(self) -> str:
        return f"open({str(self.executed)!r}, 'w').close()\nclass Evil: pass\n"

    def base(self) -> Path:
        """A copy of the tiny base."""
        path = self.folder / "base"
        if not path.is_dir():
            shutil.copytree(next(one.partition("=")[2] for one in self.good if one.startswith("model.path=")), path)
        return path

    def run(self) -> Path:
        """A copy of the trained run."""
        path = self.folder / "copied"
        if not path.is_dir():
            shutil.copytree(self.model, path)
        return path

    def step(self) -> Path:
        return self.run() / "checkpoints/step-2"


class _Payload:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self._path}",)


@dataclass(frozen=True)
class Case:
    """``make`` sets it up and returns the command; ``codes`` are right, 0 where the thing may simply not be used.

    Attributes:
        opens: The user names the file that links to the secret: it is opened, and must not be told.
        by: The same with another command, where what is left unread may lie there (code 0).
    """

    name: str
    make: Callable[[Place], list[str]]
    codes: tuple[int, ...] = (2, 3)
    opens: bool = False
    by: Callable[[str], Case] | None = None


assert re.fullmatch(r"hf_\w+", SECRET)
