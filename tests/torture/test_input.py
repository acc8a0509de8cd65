"""The short forms of the rows about what others hand in, and what they must catch."""

from __future__ import annotations

from pathlib import Path

import pytest

from torture.bench import Bench
from torture.check import assert_caught, controls, rows_of, run_short

FILES = ("rows_input", "rows_hostile", "rows_secrets")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:  # type: ignore[misc]
    with Bench(tmp_path_factory.mktemp("bench")) as made:
        yield made


@pytest.mark.parametrize("row", [row for file in FILES for row in rows_of(file)])
def test_row(row: str, bench: Bench) -> None:
    run_short(row, bench)


@pytest.mark.parametrize(("row", "mutant"), [pair for file in FILES for pair in controls(file)])
def test_a_broken_program_is_caught(row: str, mutant: str, tmp_path: Path) -> None:
    assert_caught(row, mutant, tmp_path)
