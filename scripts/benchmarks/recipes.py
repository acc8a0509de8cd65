"""Recipes against each other at equal training time, on the same rows: one table, scored on validation.

A machine that others share gives no two runs the same minutes. So the time a step takes is measured first, interleaved,
each recipe in --rounds processes of its own on the same batches, and each then trains for the steps that --minutes hold
at its median pace: what is compared does not depend on who else was there, and runs again to the same figures.

Both are kept under --root: started again, the script goes on where it was stopped. --jobs N trains N at a time, with
their share of the cores each.

A variant is NAME and its overrides in one text; the first one is what the others are compared with, document by
document. Test rows are left alone unless --test is given. --steps N gives every recipe N steps, whatever they take;
--paces only tells the seconds a step takes.

    python scripts/benchmarks/recipes.py --root /tmp/r --minutes 4 --seeds 1 --data FOLDER \\
        --variant "summary alone" "objective=summary_only" --variant "select, 2" "objective.lam=2" -- run.seed=0
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import data_overrides, pace, predictions, results, table, train

from llmtrain.evaluation.confidence import interval, paired

SHOWN = 3  # metrics, of those that are means over rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--experiment", default="bert_sum_bf16", help="what every recipe starts from, of any task")
    parser.add_argument("--data", type=Path, help="folder with train/validation/test.jsonl[.gz] of documents and "
                        "summaries; default: the experiment's data")
    parser.add_argument("--minutes", type=float, default=4.0, help="training time of each run")
    parser.add_argument("--rounds", type=int, default=3, help="times that each recipe's pace is measured")
    parser.add_argument("--steps", type=int, help="train every recipe for so many steps instead of --minutes")
    parser.add_argument("--paces", action="store_true", help="measure the seconds a step alone, train nothing")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, once the pace is known")
    parser.add_argument("--max-in", type=int, default=128)
    parser.add_argument("--max-out", type=int, default=24)
    parser.add_argument("--test", action="store_true", help="score the whole test split instead of validation")
    parser.add_argument("--variant", nargs=2, action="append", required=True, metavar=("NAME", "OVERRIDES"))
    parser.add_argument("overrides", nargs="*", help="passed on to every run")
    options = parser.parse_args()
    shared = [f"+experiment={options.experiment}", "generation=greedy", "trainer.eval_every=1000000",
              "data.max_validation_rows=null", f"data.max_test_rows={'null' if options.test else 0}",
              *options.overrides]
    if options.data is not None:
        shared += data_overrides(options.data, options.max_in, options.max_out)
    recipes = {name: [*shared, *overrides.split()] for name, overrides in options.variant}
    paces = {} if options.steps else measured(options.root, recipes, options.rounds)
    if options.paces:
        first = paces[options.variant[0][0]]
        print(table(["recipe", "s a step", "of the first"],
                    [[name, f"{paces[name]:.3f}", f"{paces[name] / first:.2f}"] for name in recipes]))
        return
    os.environ["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // options.jobs))
    with ThreadPoolExecutor(options.jobs) as pool:
        waiting = {name: [] for name in recipes}
        for seed in range(options.seeds):
            for number, (name, own) in enumerate(recipes.items()):
                steps = options.steps or max(1, round(60 * options.minutes / paces[name]))
                waiting[name].append(pool.submit(finished, options.root, f"{number}-{seed}",
                                                 [*own, f"trainer.max_steps={steps}", f"run.seed={seed}"]))
        runs = {name: [future.result() for future in futures] for name, futures in waiting.items()}
    first = runs[options.variant[0][0]]
    metrics = means_of(first[0], "test" if options.test else "validation")
    print(table(["recipe", "s a step", "steps", *metrics, f"{metrics[0]} against the first, paired"],
                [[name, f"{paces[name]:.3f}" if paces else "", f"{results(paths[0])['steps']}",
                  *scores(paths, first, metrics)] for name, paths in runs.items()]))


def measured(root: Path, recipes: dict[str, list[str]], rounds: int) -> dict[str, float]:
    """Seconds a step of each recipe, the median of interleaved rounds; those of an earlier start are taken over."""
    kept = root / "paces.json"
    known: dict[str, float] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    found: dict[str, list[float]] = {name: [] for name in recipes if name not in known}
    for turn in range(rounds):
        for number, name in enumerate(found):
            found[name].append(pace(root, f"pace-{len(known) + number}-{turn}", recipes[name]))
    known |= {name: statistics.median(seconds) for name, seconds in found.items()}
    root.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(known), encoding="utf-8")
    return known


def finished(root: Path, name: str, overrides: list[str]) -> Path:
    """The run folder of these overrides, trained unless an earlier start has done it."""
    return root / name if (root / name / "results.json").exists() else train(root, name, overrides)


def averaged(paths: list[Path], metric: str) -> list[float]:
    """Each row's value, the mean over some runs, in the order of ids."""
    runs = [{row["id"]: row[metric] for row in predictions(path)} for path in paths]
    return [sum(run[name] for run in runs) / len(runs) for name in sorted(runs[0])]


def means_of(run: Path, split: str) -> list[str]:
    """The task's first metrics that each row has a value of its own for."""
    row = predictions(run)[0]
    return [name for name in results(run)["metrics"][split] if name in row][:SHOWN]


def scores(paths: list[Path], first: list[Path], metrics: list[str]) -> list[str]:
    """Each metric and the difference to the first recipe in the first of them, seeds averaged, with 95 % intervals."""
    cells = [interval(averaged(paths, metric)) for metric in metrics]
    gap = paired(averaged(paths, metrics[0]), averaged(first, metrics[0]))
    return [*(f"{c.value:.2f} [{c.low:.2f}, {c.high:.2f}]" for c in cells),
            "" if paths is first else f"{gap.value:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]"]


if __name__ == "__main__":
    main()
