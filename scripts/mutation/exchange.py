"""The broken code in place of the program's own, without touching a file.

In a process that has imported the module, the changed code takes the place of the functions' own; for what runs when
the module is imported, an import hook gives the changed module.
"""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import importlib.util
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from sources import Source


def functions_of(paths: set[str]) -> dict[str, list[FunctionType]]:
    """Every function there is of these files."""
    found: dict[str, list[FunctionType]] = {path: [] for path in paths}
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename in found:
            found[thing.__code__.co_filename].append(thing)
    return found


def codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from codes(constant)


def _key(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno


def exchange(functions: list[FunctionType], broken: CodeType) -> bool:
    """Whether these functions could be given the broken module's code, which differs from their own."""
    changed = False
    by_place: dict[tuple[str, int], list[CodeType]] = {}
    for code in codes(broken):
        by_place.setdefault(_key(code), []).append(code)
    for function in functions:
        found = by_place.get(_key(function.__code__), [])
        if len(found) != 1:
            return False
        if found[0] != function.__code__:
            try:
                function.__code__ = found[0]
                changed = True
            except ValueError:  # other variables of the function around it
                return False
    return changed


class Importing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives a module's broken code to whoever imports it."""

    def __init__(self, source: Source, code: CodeType) -> None:
        self.source, self.code = source, code

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != self.source.module:
            return None
        package = self.source.path.name == "__init__.py"
        return importlib.util.spec_from_file_location(
            name, self.source.path, loader=self,
            submodule_search_locations=[str(self.source.path.parent)] if package else None)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        exec(self.code, module.__dict__)
