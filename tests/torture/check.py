"""What the test files of the torture table share: each has the rows of one ``rows_NAME.py`` or more, so that the
processes of a test run can share them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from torture.bench import Bench
from torture.mutants import MUTANTS
from torture.rows import ROWS, Skipped, catches, run_row

SEED = 0


def short_forms(*modules: str) -> tuple[Any, Callable[..., None], Callable[..., None]]:
    """A bench, the short forms of these files' rows, and the broken programs that they must catch in CI."""
    names = [row.id for row in ROWS.values() if row.target.partition(":")[0] in modules]
    broken = [(name, mutant) for name in names for mutant in ROWS[name].mutants
              if MUTANTS[mutant].in_ci and MUTANTS[mutant].caught_by[0] == name]

    @pytest.fixture(scope="module")
    def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
        with Bench(tmp_path_factory.mktemp("bench")) as made:
            yield made

    @pytest.mark.parametrize("row", names)
    def test_row(row: str, bench: Bench) -> None:
        try:
            print(run_row(ROWS[row], bench, ROWS[row].short, SEED))  # with the count that it used
        except Skipped as skipped:
            pytest.skip(f"{row}: {skipped}")

    @pytest.mark.parametrize(("row", "mutant"), broken)
    def test_a_broken_program_is_caught(row: str, mutant: str, tmp_path: Path) -> None:
        try:
            said = catches(ROWS[row], tmp_path / "broken", mutant, SEED)
        except Skipped as skipped:
            pytest.skip(f"{row}: {skipped}")
        assert said is not None, f"{row} lets {mutant} pass"

    return bench, test_row, test_a_broken_program_is_caught
