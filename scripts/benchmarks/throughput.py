"""Examples per second of the whole training step against a peer script, interleaved, in fresh processes.

The peer is given by path and called as ``PEER MODEL_DIR DATA_DIR PRECISION STEPS BATCH GROUP``; it prints a JSON line
with ``examples_per_s``. Both see the same rows, batch and token limits (MAX_IN and MAX_OUT in the peer's environment).

    python scripts/benchmarks/throughput.py --peer PEER.py --data FOLDER --root /tmp/t --steps 60 --rounds 3
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from common import data_overrides, peer, results, table, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/validation/test.jsonl[.gz]")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--max-in", type=int, default=192)
    parser.add_argument("--max-out", type=int, default=24)
    options = parser.parse_args()
    found: dict[str, list[float]] = {"llmtrain": [], "peer GROUP=0": [], "peer GROUP=1": []}
    for number in range(options.rounds):
        found["llmtrain"].append(ours(options, number))
        for group in (0, 1):
            found[f"peer GROUP={group}"].append(theirs(options, group))
    middle = {name: statistics.median(values) for name, values in found.items()}
    print(table(["program", "examples/s, median", "each", "llmtrain is x times"],
                [[name, f"{middle[name]:.1f}", ", ".join(f"{v:.1f}" for v in values),
                  f"{middle['llmtrain'] / middle[name]:.2f}"] for name, values in found.items()]))


def ours(options: argparse.Namespace, number: int) -> float:
    run = train(options.root, f"ours-{number}", [
        f"+experiment=bert_sum_{options.precision}", "objective=summary_only",
        *data_overrides(options.data, options.max_in, options.max_out), f"trainer.max_steps={options.steps}",
        f"trainer.batch_size={options.batch}", "data.max_validation_rows=8", "data.max_test_rows=8",
        "trainer.eval_rows=8", f"trainer.eval_every={options.steps}"])
    found = results(run)
    return float(found["steps"] * options.batch / found["seconds"])


def theirs(options: argparse.Namespace, group: int) -> float:
    found = peer(options.peer, options.data, options.max_in, options.max_out, options.precision, str(options.steps),
                 str(options.batch), str(group))
    return float(found["examples_per_s"])


if __name__ == "__main__":
    main()
