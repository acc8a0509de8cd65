"""Paired bootstrap between two sets of finished runs on the same test documents (seeds averaged).

    python scripts/benchmarks/compare.py --first runs/joint-0 runs/joint-1 --second runs/alone-0 runs/alone-1
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import predictions, table

from llmtrain.evaluation.confidence import interval, paired
from llmtrain.tasks.summarization.rouge import METRICS


def averaged(paths: list[Path], metric: str) -> list[float]:
    runs = [{row["id"]: row[metric] for row in predictions(path)} for path in paths]
    return [sum(run[name] for run in runs) / len(runs) for name in sorted(runs[0])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=Path, nargs="+", required=True)
    parser.add_argument("--second", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    rows = []
    for metric in METRICS:
        first, second = averaged(options.first, metric), averaged(options.second, metric)
        cells = [interval(first), interval(second), paired(first, second)]
        rows.append([metric, *(f"{c.value:.2f} [{c.low:.2f}, {c.high:.2f}]" for c in cells)])
    print(table(["metric", "first", "second", "first - second"], rows))


if __name__ == "__main__":
    main()
