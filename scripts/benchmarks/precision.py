"""fp32, fp16 and bf16 side by side: same steps, several seeds, each run in a fresh process, interleaved.

    python scripts/benchmarks/precision.py --root /tmp/p --seeds 3 -- trainer.max_steps=100 data.max_test_rows=200
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from common import predictions, results, table, train

from llmtrain.evaluation.confidence import interval, paired

FORMATS = ("fp32", "fp16", "bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("overrides", nargs="*", help="passed on to llmtrain train")
    options = parser.parse_args()
    runs: dict[str, list[Path]] = {name: [] for name in FORMATS}
    for seed in range(options.seeds):
        for name in FORMATS:
            overrides = [f"+experiment=bert_sum_{name}", "generation=greedy", f"run.seed={seed}", *options.overrides]
            runs[name].append(train(options.root, f"{name}-{seed}", overrides))
    scores = {name: mean_scores(paths) for name, paths in runs.items()}
    rows = []
    for name, paths in runs.items():
        found = [results(path) for path in paths]
        rouge = interval(scores[name])
        gap = paired(scores[name], scores["fp32"])
        rows.append([name, found[0]["precision"]["effective"],
                     f"{statistics.median(r['tokens_per_second'] for r in found):,.0f}",
                     f"{statistics.median(r['peak_memory_bytes'] for r in found) / 2**20:,.0f}",
                     sum(r["skipped_steps"] for r in found), f"{rouge.value:.2f} [{rouge.low:.2f}, {rouge.high:.2f}]",
                     f"{gap.value:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]"])
    print(table(["precision", "effective", "tokens/s", "peak MiB", "skipped", "test ROUGE-1", "against fp32, paired"],
                rows))


def mean_scores(paths: list[Path]) -> list[float]:
    """Each test document's ROUGE-1, averaged over seeds."""
    seeds = [[row["rouge1"] for row in predictions(path)] for path in paths]
    return [sum(values) / len(values) for values in zip(*seeds, strict=True)]


if __name__ == "__main__":
    main()
