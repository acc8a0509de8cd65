"""``scripts/torture [ROW ...] [--n N] [--seed S] [--mutants]``: the long form of the torture table.

    scripts/torture                     the rows, and what each does
    scripts/torture R1 --n 300 --seed 7
    scripts/torture all                 every row in its long form
    scripts/torture R15 --mutants       the row against each broken program that it must catch
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torture.bench import Caught
from torture.mutants import MUTANTS
from torture.rows import ROWS, Row, Skipped, bench_for, catches, run_row


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/torture", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help=f"{', '.join(ROWS)}, or all")
    parser.add_argument("--n", type=int, help="trials; default: the long form's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutants", action="store_true", help="run each row on the broken programs it must catch")
    parser.add_argument("--folder", type=Path,
                        help="work below this folder, and keep there what a row that fails has left")
    options = parser.parse_args()
    if not options.rows:
        for row in ROWS.values():
            print(f"{row.id:<4} {row.about}  (CI {row.short}, long {row.long}; mutants: {', '.join(row.mutants)})")
        return 0
    names = list(ROWS) if options.rows == ["all"] else options.rows
    if wrong := [name for name in names if name not in ROWS]:
        parser.error(f"no row {wrong[0]}; choose from {', '.join(ROWS)} or all")
    with tempfile.TemporaryDirectory(prefix="torture-") as temporary:
        folder = options.folder or Path(temporary)
        return max([failed(ROWS[name], options, folder) for name in names])


def failed(row: Row, options: argparse.Namespace, folder: Path) -> int:
    """Run one row and print what it says; 1 when something did not hold."""
    try:
        if options.mutants:
            bad = 0
            for name in row.mutants:
                said = catches(row, folder / name, name, options.seed, options.n)
                bad |= said is None
                print(f"{row.id}  {name} ({MUTANTS[name].about}): "
                      f"{'NOT CAUGHT' if said is None else 'caught: ' + said[:300]}", flush=True)
            return bad
        with bench_for(folder / row.id, keep=options.folder is not None) as bench:
            print(run_row(row, bench, options.n or row.long, options.seed), flush=True)
    except Caught as caught:
        print(f"{row.id}  FAILED: {caught}", flush=True)
        return 1
    except Skipped as skipped:
        print(f"{row.id}  skipped: {skipped}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
