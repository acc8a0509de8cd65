"""Simulated studies in which both sides are the same, or differ by nothing on average: how often do intervals hold 0?

Every study has --rows rows and --seeds seeds on each side. A row's score is made of the row (both sides have it in
common), the row under its side, the seed, and the noise of one output; it is an accuracy (right or wrong) or a number.
Seeds have the same numbers on both sides, or others. Each line is a kind of study: the share of studies whose 95 %
interval holds 0, how many of the batches of 100 studies lie in 92 to 98 (of exact 95 % intervals, about 90 in 100
would), the mean width, and beside them the share under a plain bootstrap that draws rows and seeds alike.

    python scripts/benchmarks/null_studies.py --batches 10
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from common import table
from numpy.typing import NDArray

from llmtrain.evaluation.comparison import compare
from llmtrain.evaluation.outcome import Outcome
from llmtrain.tasks.classification.label_metrics import METRICS as LABEL_METRICS
from llmtrain.tasks.classification.label_metrics import counted
from llmtrain.tasks.metric import Metric

SCORE = Metric("score", "score")
MACRO_F1 = next(metric for metric in LABEL_METRICS if metric.name == "macro_f1")
BATCH, LEAST, MOST = 100, 92, 98
LABELS = "abc"


class Kind(NamedTuple):
    """What scores are made of, in standard deviations of what a row, a row under its side and a seed add; that of an
    output's own noise is 1."""

    name: str
    side: float
    seed: float
    metric: Metric = SCORE
    paired: bool = True
    row: float = 1.0


KINDS = (
    Kind("seeds add nothing", 0.0, 0.0),
    Kind("seeds add as much as rows", 0.0, 0.07),
    Kind("seeds decide", 0.0, 0.5),
    Kind("sides differ by row", 0.5, 0.07),
    Kind("sides differ by row, seeds decide", 0.5, 0.5),
    Kind("other seeds on each side", 0.3, 0.07, paired=False),
    Kind("macro F1", 0.0, 0.0, metric=MACRO_F1),
    Kind("macro F1, seeds add", 0.3, 0.2, metric=MACRO_F1),
)


def latent(kind: Kind, rows: int, seeds: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """(2, S, N) what the scores of a study are made of."""
    draw = generator.standard_normal
    return (kind.row * draw(rows) + kind.side * draw((2, 1, rows)) + kind.seed * draw((2, seeds, 1))
            + draw((2, seeds, rows)))


def study(kind: Kind, rows: int, seeds: int, generator: np.random.Generator) -> list[Outcome]:
    """Two sides that differ by nothing on average."""
    made = latent(kind, rows, seeds, generator)
    gold = generator.choice(list(LABELS), rows)
    sides = []
    for number, values in enumerate(made):
        numbers = range(seeds) if kind.paired or not number else range(seeds, 2 * seeds)
        lines = tuple([_line(kind, row, value, gold[row]) for row, value in enumerate(of_seed)] for of_seed in values)
        sides.append(Outcome("ab"[number], "", "", "", ("",) * seeds, tuple(numbers), lines, ("",) * seeds))
    return sides


def _line(kind: Kind, row: int, value: float, gold: str) -> dict[str, object]:
    if kind.metric is SCORE:
        return {"id": str(row), "score": float(value)}
    given = gold if value > 0 else LABELS[(LABELS.index(gold) + 1 + row % 2) % len(LABELS)]
    return {"id": str(row), **counted([gold], [given])}


def holds_zero(kind: Kind, rows: int, seeds: int, samples: int, generator: np.random.Generator) -> tuple[bool, float]:
    """Whether a study's interval holds 0, and its width."""
    compared = compare(study(kind, rows, seeds, generator), [kind.metric], samples=samples, margin=0.0)
    found = compared[0].differences["b"]
    return found.low <= 0 <= found.high, found.high - found.low


def plain_holds_zero(kind: Kind, rows: int, seeds: int, samples: int, generator: np.random.Generator) -> bool:
    """The same of a bootstrap that draws rows and seeds alike, with replacement."""
    difference = np.subtract(*latent(kind, rows, seeds, generator))
    drawn = [difference[np.ix_(generator.integers(0, seeds, seeds), generator.integers(0, rows, rows))].mean()
             for _ in range(samples)]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return bool(low <= 0 <= high)


def batches(kind: Kind, options: argparse.Namespace) -> Iterator[tuple[int, float]]:
    """How many of 100 studies hold 0, and their mean width, batch by batch."""
    for number in range(options.batches):
        generator = np.random.default_rng((options.seed, number, KINDS.index(kind)))
        found = [holds_zero(kind, options.rows, options.seeds, options.samples, generator) for _ in range(BATCH)]
        yield sum(held for held, _ in found), float(np.mean([width for _, width in found]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=10, help="times 100 studies of each kind")
    parser.add_argument("--kind", help="only the kinds whose name holds this")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=1000, help="resamples of each study")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    options = parser.parse_args()
    lines = []
    for kind in (kind for kind in KINDS if (options.kind or "") in kind.name):
        found = list(batches(kind, options))
        held = [count for count, _ in found]
        within = sum(LEAST <= count <= MOST for count in held)
        plain = ""
        if kind.metric is SCORE and kind.paired:
            generator = np.random.default_rng((options.seed, KINDS.index(kind)))
            plain = sum(plain_holds_zero(kind, options.rows, options.seeds, 200, generator) for _ in range(BATCH))
        lines.append([kind.name, f"{np.mean(held):.1f}", f"{min(held)} to {max(held)}", f"{within} of {len(held)}",
                      f"{np.mean([width for _, width in found]):.2f}", plain])
    print(f"{options.seeds} seeds, {options.rows} rows, {options.batches} times {BATCH} studies of each kind\n")
    print(table(["kind", "hold 0, in 100", "batches", f"in {LEAST} to {MOST}", "width", "plain bootstrap"], lines))


if __name__ == "__main__":
    main()
