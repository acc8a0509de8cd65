"""What ``scripts/test --fast`` leaves out: the torture table, whole commands, every test that starts a program, and
a few that take half a minute."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
SLOW = ("torture", "integration")  # rooms of tests/ that are left out whole
BUT = {HERE / "torture" / "test_mutants.py"}
STARTERS = {"subprocess", "executable", "run_cli", "warm_cli", "warm_children", "python", "libraries", "Popen",
            "Bench"}
DEAR = {
    "test_a_published_model_is_exported",  # torch.export compiles every head
    "test_a_base_of_the_hub_is_had_where_it_can_be_kept",  # the hub's library asks again for seconds
}


def in_slow_room(path: Path) -> bool:
    """Whether a test file belongs to a room that is left out."""
    return path.is_relative_to(HERE) and path.relative_to(HERE).parts[0] in SLOW and path not in BUT


def starts_a_program(item: pytest.Function) -> bool:
    """Whether the test, a fixture of it or a function of ours that these call names what programs are started with;
    or it costs as much."""
    if item.originalname in DEAR:
        return True
    fixtures = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009  pytest shows it nowhere else
    seen: set[Any] = set()
    return bool(STARTERS & set(fixtures)) or any(
        _starts(function, seen) for function in (item.function, *(one[-1].func for one in fixtures.values())))


def _starts(function: Any, seen: set[Any]) -> bool:
    if not isinstance(function, FunctionType) or function in seen:
        return False
    seen.add(function)
    if not Path(function.__code__.co_filename).is_relative_to(HERE):
        return False
    names = set(_names(function.__code__))
    return bool(names & STARTERS) or any(_starts(function.__globals__.get(name), seen) for name in names)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)
