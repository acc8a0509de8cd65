"""What a comparison shows, in plain words."""

from __future__ import annotations

from llmtrain.evaluation.comparison import LEVEL, ComparedMetric, Difference, Equivalence

FEW_ROWS = 30  # below, intervals of resampled rows are too narrow


def verdict(compared: ComparedMetric, label: str) -> str:
    """A metric of a side against the first, in one line."""
    difference, others = compared.differences[label], len(compared.differences)
    differs = difference.p_holm < 1 - LEVEL
    direction = "better" if compared.better(label) else "worse"
    shown = direction if differs else "no difference shown"
    told = f"{shown}: {_figures(compared, difference)}, {p_value(difference.p_holm)}"
    if others > 1:
        told += f" (for the best of {others + 1})" if compared.chosen else f" (Holm over {others})"
    return told if difference.equivalence is None else f"{told}; {_equivalence(difference.equivalence, differs)}"


def p_value(p: float) -> str:
    """As tables print it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def notes(rows: int, paired_seeds: bool | None, several: tuple[bool, bool]) -> list[str]:
    """What the figures of a side against the first do, and do not, speak of.

    Args:
        several: Whether the first and the other side have several seeds.
    """
    lines = []
    if paired_seeds is None:
        lines.append("rows are resampled, seeds are not: one model each, so another training could differ by more")
    elif paired_seeds:
        lines.append("rows and seeds are resampled together, seeds in pairs of the same number")
    elif all(several):
        lines.append("rows and seeds are resampled together; the seeds are not the same, so they are not paired")
    else:
        which = "the first" if several[1] else "the other"
        lines.append(f"rows are resampled, and seeds of one side alone: {which} is one model, so another training of "
                     "it could differ by more")
    if rows < FEW_ROWS:
        lines.append(f"{rows} rows are too few for intervals that can be relied on")
    return lines


def _figures(compared: ComparedMetric, difference: Difference) -> str:
    value, low, high = (f"{one:+.{compared.metric.digits}f}" for one in (difference.value, difference.low,
                                                                        difference.high))
    return f"{value} [{low}, {high}]"


def _equivalence(test: Equivalence, differs: bool) -> str:
    """The test in words; how many rows would be needed is no question where a difference is shown."""
    if test.equivalent:
        return f"equivalent within {test.margin:g}: yes, {p_value(test.p)}"
    if differs:
        return f"equivalent within {test.margin:g}: no"
    if test.power >= 0.8:
        return f"equivalent within {test.margin:g}: no (power {test.power:.1f})"
    needed = "more seeds" if test.rows_needed is None else f"about {_rounded(test.rows_needed):,} rows"
    return f"equivalent within {test.margin:g}: no (power {test.power:.1f}: {needed} would be needed)"


def _rounded(rows: int) -> int:
    """Two digits of a number that is known roughly."""
    unit = 10 ** max(0, len(str(rows)) - 2)
    return -(-rows // unit) * unit
