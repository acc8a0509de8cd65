"""What a study shows, in plain words."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Any

from llmtrain.evaluation.comparison import holm
from llmtrain.evaluation.verdict import FEW_ROWS

LEVEL = 0.05
FP32 = "fp32"


def verdicts(study: dict[str, Any]) -> list[str]:
    """Lines that repeat whatever the machine: joint training, low precision, lambda, and what is missing."""
    return [*_joint(study), *_precision(study), *_lambda(study), *_limits(study)]


def time_verdicts(study: dict[str, Any]) -> list[str]:
    """Lines of what was measured on this machine: speed, time to a score, and both fronts."""
    return [*_speed(study), *_target(study), *_fronts(study)]


def _main(study: dict[str, Any], cell: dict[str, Any], against: str) -> dict[str, Any] | None:
    """A cell's difference in the judging metric."""
    found = cell[against]
    if found is None:
        return None
    metrics = found["metrics"] if against == "against_fp32" else found
    difference: dict[str, Any] | None = metrics.get(study["metric"])
    return difference


def _score(study: dict[str, Any], cell: dict[str, Any]) -> str:
    return f"{cell['metrics'][study['metric']]['mean']:.{study['digits']}f}"


def _joint(study: dict[str, Any]) -> Iterator[str]:
    """Whether a joint loss gave more than the task term alone, by cells of which nothing else differs: in fp32 where
    such cells are, and with the base cell's own head, rate and all else."""
    base = study["cells"][0]
    if base["state"] != "done":
        yield f"the base cell {base['name']} has no results, so nothing is compared with it"
        return
    joint = [cell for cell in study["cells"] if cell["joint"] and _main(study, cell, "against_base")]
    if not joint:
        return
    by_loss = [cell for cell in joint if not cell["beside_loss"]]
    if not by_loss:
        keys = ", ".join(dict.fromkeys(key for cell in joint for key in cell["beside_loss"][:3]))
        yield f"whether joint training helps is not known: every joint cell differs from the base cell in {keys} too"
        yield from _counted(study)
        return
    alike = [cell for cell in by_loss if cell["requested"] == FP32] or by_loss
    sign = 1 if study["more_is_better"] else -1
    best = max(alike, key=lambda cell: sign * cell["metrics"][study["metric"]]["mean"])
    found = _main(study, best, "against_base")
    assert found is not None
    shown = [cell["name"] for cell in alike if _shown(study, cell, better=True)]
    worse = [cell["name"] for cell in alike if _shown(study, cell, better=False)]
    if _shown(study, best, better=True):
        said = "joint training helps"
    elif len(worse) == len(alike):
        said = "joint training hurts" + (" in every cell" if len(alike) > 1 else "")
    else:
        said = "no gain of joint training is shown"
    only = ""
    if len(by_loss) < len(joint):
        only = " that differ by the loss alone" if len(alike) > 1 else " that differs by the loss alone"
    one = f"the only joint cell{only}" if len(alike) == 1 else f"the best of {len(alike)} joint cells{only}"
    among = one + _formats(alike)
    yield (f"{said}: {among}, {best['name']}, has {study['metric']} {_score(study, best)} and the task term alone "
           f"{_score(study, base)}; {found['verdict']}")
    yield from _counted(study)
    if len(shown) > 1:
        yield f"joint cells that are shown better: {', '.join(shown)}"


def _counted(study: dict[str, Any]) -> Iterator[str]:
    """How many cells are shown to differ from the base cell, of several."""
    others = [cell for cell in study["cells"] if not cell["base"] and _main(study, cell, "against_base")]
    if len(others) > 1:
        up = sum(_shown(study, cell, better=True) for cell in others)
        down = sum(_shown(study, cell, better=False) for cell in others)
        yield (f"of {len(others)} cells {up} are shown better than the base cell and {down} worse; for "
               f"{len(others) - up - down} no difference is shown")


def _formats(cells: list[dict[str, Any]]) -> str:
    formats = dict.fromkeys(cell["requested"] for cell in cells)
    return f" in {next(iter(formats))}" if len(formats) == 1 else ""


def _shown(study: dict[str, Any], cell: dict[str, Any], better: bool) -> bool:
    found = _main(study, cell, "against_base")
    return found is not None and found["p_holm"] < LEVEL and found["better"] is better


def _precision(study: dict[str, Any]) -> Iterator[str]:
    """Whether a low precision costs nothing, each cell against itself in fp32."""
    formats = dict.fromkeys(cell["requested"] for cell in study["cells"] if cell["requested"] != FP32)
    for name in formats:
        own = [cell for cell in study["cells"] if cell["requested"] == name and cell["state"] == "done"]
        pairs = [(cell, found) for cell in own if _ran_in_it(cell)
                 and (found := _main(study, cell, "against_fp32")) and found["equivalence"] is not None]
        if own and not any(cell["against_fp32"] for cell in own):
            yield f"{name}: no cell was trained in fp32 too, so what it costs is not known; add fp32 to study.precision"
        elif pairs:
            yield _equivalent(study, name, pairs)
        for cell in own:
            if not _ran_in_it(cell):
                yield (f"{cell['name']} asked for {name} and computed in {', '.join(cell['effective'])}: it says "
                       f"nothing of {name}")
        if skipped := [cell["skipped_steps"] for cell in own if cell["skipped_steps"]]:
            yield (f"{name}: {statistics.fmean(skipped):.1f} steps skipped in a run, on average over {len(skipped)} of "
                   f"{len(own)} cells")


_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def _ran_in_it(cell: dict[str, Any]) -> bool:
    """Whether a cell computed in the format that it asked for."""
    return len(cell["effective"]) == 1 and bool(cell["effective"][0].startswith(_DTYPES[cell["requested"]]))


def _equivalent(study: dict[str, Any], name: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    margin, metric = f"{study['margin']:g}", study["metric"]
    shown = [cell for cell, found in pairs if found["equivalence"]["equivalent"]]
    adjusted = holm({cell["name"]: found["p"] for cell, found in pairs})
    worse = [cell for cell, found in pairs if adjusted[cell["name"]] < LEVEL and not found["better"]]
    if len(shown) == len(pairs):
        what = {1: "the only cell", 2: "both cells"}.get(len(pairs), f"all {len(pairs)} cells")
        return f"{name} costs nothing: within {margin} {metric} of fp32 in {what} (TOST, 5 %)"
    left = "; ".join(f"{cell['name']}: {found['verdict'].partition(': ')[2]}" for cell, found in pairs
                     if not found["equivalence"]["equivalent"])
    if worse:
        holms = f" (Holm over {len(pairs)})" if len(pairs) > 1 else ""
        return f"{name} costs something in {len(worse)} of {len(pairs)} cells{holms}: {left}"
    return (f"{name}: that it costs nothing (within {margin} {metric} of fp32) is shown for {len(shown)} of "
            f"{len(pairs)} cells, not for {left}")


def _lambda(study: dict[str, Any]) -> Iterator[str]:
    for cell in study["cells"]:
        measured = [run["lam"] for run in cell["runs"] if run["lam"] is not None]
        if measured:
            over = f" ({min(measured):.3g} to {max(measured):.3g} over seeds)" if len(measured) > 1 else ""
            yield f"{cell['name']}: lambda was measured as {statistics.fmean(measured):.3g}{over}"


def _limits(study: dict[str, Any]) -> Iterator[str]:
    """What the figures do not speak of."""
    if study["cells"][0]["state"] == "done" and len(study["seeds"]) == 1:
        yield "one seed a cell: what another seed would have given is in no interval; use study.seeds=3 or more"
    if lucky := [cell["name"] for cell in study["cells"] if _too_narrow(_main(study, cell, "against_base"))]:
        yield (f"{', '.join(lucky)} against the base cell: the seeds agree more closely than the noise of "
               "their rows lets expect, so the interval is too narrow by luck; more seeds would tell")
    if study["rows"] is not None and study["rows"] < FEW_ROWS:
        yield f"{study['rows']} rows are too few for intervals that can be relied on"
    if failed := [cell for cell in study["cells"] if cell["problem"]]:
        yield "; ".join(f"{cell['name']}: {cell['problem']}" for cell in failed)
    if pruned := [cell["name"] for cell in study["cells"] if cell["state"] == "pruned"]:
        yield (f"left at a rung of successive halving: {', '.join(pruned)}; scores of those that went on were chosen "
               "among more, so the best is a little lucky")


def _too_narrow(found: dict[str, Any] | None) -> bool:
    """Whether an interval over seeds is narrower than the noise of single outputs, which is known from the rows."""
    return found is not None and 0 < (found["high"] - found["low"]) / 2 < math.sqrt(found["parts"]["noise"])


def _speed(study: dict[str, Any]) -> Iterator[str]:
    cells = {cell["name"]: cell for cell in study["cells"]}
    for name in dict.fromkeys(cell["requested"] for cell in study["cells"] if cell["requested"] != FP32):
        ratios = [cell["time.tokens_per_second"] / cells[cell["against_fp32"]["cell"]]["time.tokens_per_second"]
                  for cell in study["cells"] if cell["requested"] == name and cell["against_fp32"] and _ran_in_it(cell)
                  and cell["time.tokens_per_second"]
                  and cells[cell["against_fp32"]["cell"]]["time.tokens_per_second"]]
        if ratios:
            yield f"{name} trains {statistics.median(ratios):.2f} times the tokens/s of fp32 here"


def _target(study: dict[str, Any]) -> Iterator[str]:
    if study["target_score"] is None:
        return
    reached = [cell for cell in study["cells"] if cell["time.to_target"] is not None]
    if not reached:
        yield f"no cell came to {study['metric']} {study['target_score']:g} with every seed"
        return
    first = min(reached, key=lambda cell: cell["time.to_target"])
    yield (f"{first['name']} came first to {study['metric']} {study['target_score']:g} on validation, after "
           f"{first['time.to_target']:.0f} s of training ({len(reached)} of {len(study['cells'])} cells did)")


def _fronts(study: dict[str, Any]) -> Iterator[str]:
    for key, cost in (("time.pareto", "training time"), ("memory.pareto", "peak memory")):
        if study[key]:
            yield (f"best {study['metric']} for its {cost} (Pareto front of the means, whatever luck has in them): "
                   f"{', '.join(study[key])}")
