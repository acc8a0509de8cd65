"""ROUGE of a finished run against a peer script that trains for as long, on the same rows, batch and token limits.

The peer's pace is measured first, then its steps are set so that it trains for as many seconds as the run did; they are
raised, and it trains again, while it took less than nine tenths of that time.

    python scripts/benchmarks/peer_quality.py --run runs/NAME --peer PEER.py --data FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from common import peer, results, table

ENOUGH = 0.9  # share of our training time that the peer must have had


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="finished run folder")
    parser.add_argument("--scores", type=Path, help="folder where llmtrain eval put its test scores; default: the run")
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/validation/test.jsonl[.gz]")
    parser.add_argument("--pace-steps", type=int, default=60, help="the peer's first steps, which measure its pace")
    options = parser.parse_args()
    ours = results(options.run)
    config = ours["config"]
    batch, precision = str(config["trainer"]["batch_size"]), config["precision"]["name"]
    limits = config["data"]["max_source_tokens"], config["data"]["max_summary_tokens"]
    scored = results(options.scores or options.run)
    test = scored["metrics"]["test"]
    rows = [["llmtrain", ours["steps"], f"{ours['seconds']:.0f}",
             *(f"{test[name]['value']:.2f}" for name in ("rouge1", "rouge2", "rougeL"))]]
    for group in ("0", "1"):
        steps, found = as_long(options, ours["seconds"], limits, precision, batch, group, scored["rows"]["test"])
        rows.append([f"peer GROUP={group}", steps, f"{found['seconds']:.0f}", *(f"{v:.2f}" for v in found["rouge"])])
    print(table(["program", "steps", "seconds", "ROUGE-1", "ROUGE-2", "ROUGE-L"], rows))


def as_long(options: argparse.Namespace, seconds: float, limits: tuple[int, int], precision: str, batch: str,
            group: str, rows: int) -> tuple[int, dict[str, Any]]:
    """The peer's steps and figures when it trains for as long."""
    steps = options.pace_steps
    found = peer(options.peer, options.data, *limits, precision, str(steps), batch, group)
    while True:
        steps = max(1, round(steps * seconds / found["seconds"]))
        found = peer(options.peer, options.data, *limits, precision, str(steps), batch, group, str(rows))
        if found["seconds"] >= ENOUGH * seconds:
            return steps, found


if __name__ == "__main__":
    main()
