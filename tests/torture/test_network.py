"""The short forms of the rows about the network, and what they must catch."""

from __future__ import annotations

from pathlib import Path

import pytest

from torture.bench import Bench
from torture.check import assert_caught, controls, rows_of, run_short

ROWS = rows_of("rows_network")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:  # type: ignore[misc]
    with Bench(tmp_path_factory.mktemp("bench")) as made:
        yield made


@pytest.mark.parametrize("row", ROWS)
def test_row(row: str, bench: Bench) -> None:
    run_short(row, bench)


@pytest.mark.parametrize(("row", "mutant"), controls("rows_network"))
def test_a_broken_program_is_caught(row: str, mutant: str, tmp_path: Path) -> None:
    assert_caught(row, mutant, tmp_path)
