"""How long a step of each cell takes: what lengths and estimates rest on.

A machine that others share gives no two runs the same minutes. So the time a step takes is measured first, interleaved,
each cell in ``study.rounds`` processes of its own on the same batches, and its runs then train for the steps that their
minutes hold at the median: what is compared does not depend on who else was there, and a study that is started again
gives the same figures. Each measurement is kept when it is made.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtrain.core.errors import ConfigError
from llmtrain.core.files import read_json, write_json
from llmtrain.study.grid import Cell

PACES = "paces.json"
STEPS = 32  # of a measurement: half of them warm everything up
MEASURED = [f"trainer.max_steps={STEPS}", f"trainer.log_every={STEPS // 2}", "trainer.eval_every=null",
            "trainer.eval_rows=8", "trainer.save_every=null", "trainer.tracker=none", "trainer.patience=null",
            "data.max_validation_rows=8", "data.max_test_rows=0", "eval.baselines=false", "eval.bootstrap_samples=5",
            f"objective.auto_steps={STEPS // 4}", "probe.every=null"]


@dataclass(frozen=True, slots=True)
class Pace:
    """What a training step takes.

    Attributes:
        step: Seconds of one step.
        start: Seconds of a whole run that are no training: loading, and scoring a few rows.
    """

    step: float
    start: float


class Paces:
    """The measured paces of a study, in its folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / PACES
        self._found: dict[str, list[dict[str, float]]] = {}
        if self._path.exists():
            try:
                self._found = {str(name): [{key: float(one[key]) for key in ("step", "start")} for one in rounds]
                               for name, rounds in read_json(self._path).items()}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ConfigError(f"no paces of a study at {self._path}; remove the file, and they are measured again"
                                  ) from error

    def get(self, cell: Cell) -> Pace | None:
        """The median of what was measured of a cell; None before."""
        rounds = self._found.get(cell.name)
        if not rounds:
            return None
        return Pace(*(statistics.median(one[key] for one in rounds) for key in ("step", "start")))

    def missing(self, cells: Sequence[Cell], rounds: int) -> list[tuple[Cell, int]]:
        """What is still to be measured, all cells in turn."""
        return [(cell, turn) for turn in range(rounds) for cell in cells if len(self._found.get(cell.name, [])) <= turn]

    def measure(self, cell: Cell, turn: int, train: Callable[[list[str], str], Path]) -> None:
        """Measure a cell once and keep it.

        Args:
            train: Trains with more overrides under a name and gives the run's folder, which is removed.
        """
        started = time.monotonic()
        run = train(MEASURED, f"pace-{cell.name}-{turn}")
        whole = time.monotonic() - started
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        step = float(next(row["time.step"] for row in rows if row["split"] == "train" and row["step"] == STEPS))
        trained = float(read_json(run / "results.json")["seconds"])
        found: dict[str, Any] = {"step": step, "start": max(0.0, whole - trained)}
        self._found.setdefault(cell.name, []).append(found)
        write_json(self._path, self._found)
        shutil.rmtree(run, ignore_errors=True)


def lengths(cells: Sequence[Cell], paces: dict[str, Pace], minutes: float, equal_steps: bool) -> dict[str, int]:
    """The steps of each cell's runs.

    Args:
        minutes: Training time of a run, on average where all have the same number of steps.
    """
    if equal_steps:
        mean = statistics.fmean(paces[cell.name].step for cell in cells)
        return dict.fromkeys((cell.name for cell in cells), max(1, int(60 * minutes / mean)))
    return {cell.name: max(1, int(60 * minutes / paces[cell.name].step)) for cell in cells}
