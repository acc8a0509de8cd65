"""What is broken: the modules, their mutants with what became of each, and the tests that are tried on them."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "llmtrain"


@dataclass
class Source:
    """A module and its breaks."""

    path: Path
    module: str
    tree: ast.Module
    mutants: list[Mutant]


@dataclass
class Trial:
    """A mutant and what became of it."""

    source: Source
    number: int
    verdict: str = "left"
    why: str = ""

    @property
    def name(self) -> str:
        return self.source.mutants[self.number].name

    @property
    def place(self) -> str:
        return f"{shown(self.source.path)}:{self.source.mutants[self.number].line}"


def shown(path: Path) -> str:
    return str(path.relative_to(PACKAGE) if path.is_relative_to(PACKAGE) else path)


def read_source(path: Path) -> Source:
    tree, mutants = mutants_of(path.read_text(encoding="utf-8"))
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts if path.is_relative_to(PACKAGE) else (path.stem,)
    return Source(path, ".".join(parts).removesuffix(".__init__"), tree, mutants)


def imported(path: Path) -> set[str]:
    """Every dotted name that a file imports, or that stands in it as a text."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("llmtrain."):
            names.add(node.value.split(":")[0])  # as the registry names it
    return names


def importers(module: str) -> list[Path]:
    """The unit tests that import a module, or else those of the modules that import it."""
    wanted, known = {module}, {module}
    tests = {path: imported(path) for room in sorted(PACKAGE.iterdir()) if (ROOT / "tests" / room.name).is_dir()
             for path in sorted((ROOT / "tests" / room.name).rglob("test_*.py"))}
    sources = {read_name(path): imported(path) for path in sorted(PACKAGE.rglob("*.py"))}
    while wanted:
        if found := [path for path, names in tests.items() if names & wanted]:
            return found
        wanted = {name for name, names in sources.items() if names & wanted} - known
        known |= wanted
    return []


def read_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def tests_of(source: Source, known: dict[str, Any]) -> list[Path]:
    for pattern, names in known.get("tests", {}).items():
        if fnmatch(shown(source.path), pattern):
            return [ROOT / "tests" / name for name in names]
    return importers(source.module)
