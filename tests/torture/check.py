"""What the test files of the torture table share."""

from __future__ import annotations

from pathlib import Path

import pytest

from torture.bench import Bench
from torture.mutants import MUTANTS
from torture.rows import ROWS, Skipped, catches, run_row

SEED = 0


def rows_of(module: str) -> list[str]:
    """The rows whose functions stand in ``rows_NAME.py``."""
    return [row.id for row in ROWS.values() if row.target.startswith(f"{module}:")]


def controls(module: str) -> list[tuple[str, str]]:
    """Each row of a file with each broken program that it must catch in CI."""
    return [(name, mutant) for name in rows_of(module) for mutant in ROWS[name].mutants if MUTANTS[mutant].in_ci]


def run_short(name: str, bench: Bench) -> None:
    """A row's CI form. Prints the counts that it used."""
    row = ROWS[name]
    try:
        print(run_row(row, bench, row.short, SEED))
    except Skipped as skipped:
        pytest.skip(f"{name}: {skipped}")


def assert_caught(name: str, mutant: str, folder: Path) -> None:
    try:
        said = catches(ROWS[name], folder / "broken", mutant, SEED)
    except Skipped as skipped:
        pytest.skip(f"{name}: {skipped}")
    assert said is not None, f"{name} lets {mutant} pass"
