"""A study on the page: its cells on one scale and in a table, and what its charts are drawn of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmtrain.report.headline import NOTE, WARNING, Sentence

COLOURED_BY = "precision"  # the axis whose values have a colour each, where a study has it
MARGIN = 4.0  # percent of the scale that is left free on each side
Cell = Mapping[str, Any]


def verdict_of(study: Mapping[str, Any]) -> list[Sentence]:
    """What the study itself says, and what is missing of it."""
    lines = [*study.get("verdicts", ()), *study.get("time.verdicts", ())]
    problems = "; ".join(f"{cell['name']}: {cell['problem']}" for cell in study["cells"] if cell.get("problem"))
    found = [Sentence(NOTE, line) for line in lines if line != problems]  # each of which stands below
    unfinished = [cell for cell in study["cells"] if cell["state"] != "done" or cell.get("problem")]
    found += [Sentence(WARNING, f"{cell['name']}: {cell.get('problem') or cell['state']}") for cell in unfinished]
    return found + [Sentence(WARNING, f"{one['cell']} was left out: {one['problem']}") for one in study["left_out"]]


def section_of(study: Mapping[str, Any]) -> dict[str, Any]:
    """The study's own section as the template shows it."""
    scored = [cell for cell in study["cells"] if _score(study, cell)]
    names = {"base": study["base"], "rows": study.get("rows"), "seeds": study["seeds"], "metric": study["metric"]}
    return {**names, "forest": list(_forest(study, scored)), "head": _head(study),
            "rows_of_cells": [list(_cells(study, cell)) for cell in study["cells"]]}


def data_of(study: Mapping[str, Any]) -> dict[str, Any]:
    """What the study's charts are drawn of."""
    numeric = [name for name in study["axes"]
               if len({value for cell in study["cells"] if (value := _place(cell, name)) is not None}) > 1]
    others = [name for name in study["axes"] if name not in numeric]
    coloured = COLOURED_BY if COLOURED_BY in study["axes"] else next(iter(others), "")
    cells = [{"name": cell["name"], "base": cell["base"], "score": score["mean"], "low": score["low"],
              "high": score["high"], "axes": {name: _place(cell, name) for name in numeric}, "words": cell["axes"],
              "seconds": cell.get("time.seconds"), "memory": _mebibytes(cell)}
             for cell in study["cells"] if (score := _score(study, cell)) is not None]
    return {"metric": study["metric"], "numeric": numeric, "coloured": coloured, "cells": cells,
            "others": [name for name in others if name != coloured],
            "fronts": {"seconds": study.get("time.pareto", []), "memory": study.get("memory.pareto", [])}}


def _place(cell: Cell, axis: str) -> float | None:
    """Where a cell stands on an axis of numbers; a value that was measured, ``auto``, where it was found."""
    value = cell["axes"].get(axis)
    return value if _is_number(value) else cell.get(axis) if value == "auto" else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _score(study: Mapping[str, Any], cell: Cell) -> Mapping[str, float] | None:
    found: Mapping[str, float] | None = cell["metrics"].get(study["metric"])
    return found


def _forest(study: Mapping[str, Any], cells: Sequence[Cell]) -> Iterator[dict[str, Any]]:
    """The cells on one scale, the base cell first."""
    ends = [end for cell in cells if (one := _score(study, cell)) for end in (one["low"], one["high"], one["mean"])
            if end is not None]
    if not ends:
        return
    least, scale = min(ends), (100 - 2 * MARGIN) / ((max(ends) - min(ends)) or 1.0)
    for cell in sorted(cells, key=lambda cell: not cell["base"]):
        one = _score(study, cell)
        assert one is not None
        low, high = (one["mean"] if one[end] is None else one[end] for end in ("low", "high"))
        at, start, end = (round(MARGIN + (value - least) * scale, 2) for value in (one["mean"], low, high))
        yield {"name": cell["name"], "base": cell["base"], "at": at, "low": start, "width": round(end - start, 2),
               "text": _figures(study, one["mean"], low, high)}


def _figures(study: Mapping[str, Any], value: float, low: float, high: float, signed: bool = False) -> str:
    form = f"{'+' if signed else ''}.{study.get('digits', 2)}f"
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def _head(study: Mapping[str, Any]) -> list[str]:
    return ["cell", f"{study['metric']}, mean of the seeds", "standard deviation", "against the base cell",
            "against itself in fp32", "steps", "skipped", "ran in", "minutes", "tokens a second", "memory, MiB",
            *(["steps to the target"] if study.get("target_score") is not None else [])]


def _cells(study: Mapping[str, Any], cell: Cell) -> Iterator[str]:
    one = _score(study, cell)
    yield f"{cell['name']}{' (base)' if cell['base'] else ''}"
    if one is None:
        yield from [cell.get("problem") or cell["state"], *[""] * (len(_head(study)) - 2)]
        return
    low, high = (one["mean"] if one[end] is None else one[end] for end in ("low", "high"))
    yield _figures(study, one["mean"], low, high)
    yield "" if one["spread"] is None else f"{one['spread']:.{study.get('digits', 2)}f}"
    yield _difference(study, cell.get("against_base"))
    yield _difference(study, (cell.get("against_fp32") or {}).get("metrics"))
    yield _number(cell.get("steps"), "{:,.0f}")
    yield _number(cell.get("skipped_steps"), "{:,.0f}")
    yield ", ".join(cell.get("effective") or ())
    yield _number(cell.get("time.seconds"), "{:,.1f}", 60)
    yield _number(cell.get("time.tokens_per_second"), "{:,.0f}")
    yield _number(_mebibytes(cell), "{:,.0f}")
    if study.get("target_score") is not None:
        yield _number(cell.get("steps_to_target"), "{:,.0f}") or "not reached"


def _difference(study: Mapping[str, Any], metrics: Mapping[str, Any] | None) -> str:
    one = (metrics or {}).get(study["metric"])
    if not one:
        return ""
    p = "p < 0.001" if one["p_holm"] < 0.001 else f"p = {one['p_holm']:.3f}"
    same = one.get("equivalence")
    told = f", equivalent within {same['margin']:g}" if same and same["equivalent"] else ""
    return f"{_figures(study, one['value'], one['low'], one['high'], signed=True)}, {p}{told}"


def _number(value: Any, form: str, unit: float = 1.0) -> str:
    return form.format(value / unit) if _is_number(value) else ""


def _mebibytes(cell: Cell) -> float | None:
    found = cell.get("memory.peak_bytes")
    return None if found is None else found / 2**20
