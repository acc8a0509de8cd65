"""The table of docs/records/combinations.md, run for real: which parts go together, every pair of them in some row.

    scripts/combinations [--folder FOLDER] [--seed 0]

Each row trains three steps on a tiny base, goes on from the second again bit by bit, and is scored. What is refused is
listed with its reason. Writes docs/records/combinations.json and combinations.md; ends with 1 when a row fails.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import make_docs

from combinations import Bench, Cell, covering, factors, named, pairwise_in_processes


def plan(values: dict[str, list[str]], bench: Bench, seed: int) -> tuple[list[Cell], list[dict[str, Any]]]:
    """Rows that reach the weights and hold every pair that can be trained, and what is refused.

    Each refusal narrows the rows down, until none is left among them.
    """
    refused: list[dict[str, Any]] = []
    for strength in (1, 2):
        while True:
            rows, _ = covering(values, strength, [entry["cell"] for entry in refused], seed)
            found = list(refusals(rows, bench, values))
            if not found:
                break
            before, refused = refused, least([*refused, *found])
            if refused == before:
                raise RuntimeError(f"rows are refused for what is known already: {found[:3]}")
            print(f"{len(rows)} rows, {len(refused)} refusals", file=sys.stderr)
    return rows, sorted(refused, key=lambda entry: str(entry["cell"]))


def least(refused: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The refusals that do not follow from another one."""
    kept: list[dict[str, Any]] = []
    for entry in sorted(refused, key=lambda entry: len(entry["cell"])):
        if not any(other["cell"].items() <= entry["cell"].items() for other in kept):
            kept.append(entry)
    return kept


def refusals(rows: list[Cell], bench: Bench, values: dict[str, list[str]]) -> Iterable[dict[str, Any]]:
    """What the refusal of each row hangs on, with the reason; and its like: other values in the same places."""
    values, seen = values | {"processes": ["1"]}, set()
    for row in rows:
        if bench.refusal(row | {"processes": "1"}) is None:
            continue
        one, places = bench.guilty(row | {"processes": "1"}, values)
        if tuple(places) in seen:
            continue
        seen.add(tuple(places))
        for chosen in itertools.product(*(values[factor] for factor in places)):
            like = one | dict(zip(places, chosen, strict=True))
            # one that hangs on something else, or on less, will be met by itself
            if (reason := bench.refusal(like)) is not None and bench.guilty(like, values)[1] == places:
                yield {"cell": dict(zip(places, chosen, strict=True)), "reason": reason}


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--folder", type=Path, help="keep bases, data and failed runs here")
    asked.add_argument("--seed", type=int, default=0, help="of the rows")
    given = asked.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    bench, values = Bench(folder), factors()
    rows, refused = plan(values, bench, given.seed)
    outcomes: dict[str, str] = {}
    for row in [row for row in rows if row["processes"] == "1"]:
        outcomes[named(row)] = bench.check(row)
        print(f"{len(outcomes)} of {len(rows)}  {named(row)}  {outcomes[named(row)] or 'well'}", file=sys.stderr)
    several = [row for row in rows if row["processes"] != "1"]
    for row, outcome in zip(several, pairwise_in_processes(several, folder), strict=True):
        outcomes[named(row)] = outcome
        print(f"{named(row)}  {outcome or 'well'}", file=sys.stderr)
    content = {"seed": given.seed, "factors": values, "refused": refused,
               "rows": [row | {"outcome": outcomes[named(row)] or "well"} for row in rows]}
    make_docs.COMBINATIONS.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    make_docs.write()
    failed = sum(outcome != "" for outcome in outcomes.values())
    print(f"{len(rows)} rows, {failed} failed, {len(refused)} refusals", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
