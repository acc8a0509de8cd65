"""What a run holds before each of its steps, written down so that two runs can be compared.

A line of JSON a step: {"step": N, "state": {what: {name: value}}}. A tensor's value is a digest of its bits, with its
sum for people to look at; clocks and positions in files, which no two runs share, are left out.
"""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmtrain.data.batch import Batch
from llmtrain.data.unread_rows import rows_of
from llmtrain.training.build import Training
from llmtrain.training.optimizer_state import OptimizerPart
from llmtrain.training.state import AveragePart, Part, PrecisionPart, RandomPart, SchedulePart, WeightingPart

CLOCKS = ("seconds", "log_size", "quarter", "recent")  # of the progress, whose window has a clock too: "time"
ROWS, BATCH, WEIGHTS = "row order", "masks and other inputs", "weights"
FEW = 16  # numbers of a tensor that are shown whole

State = dict[str, dict[str, str]]


class StateTrace:
    """Writes a process's own trace; the loop calls it before each step.

    Args:
        path: A new file, or one that an earlier start of the run has begun.
        stop_before: Ask the run to stop before this step (0: its first), as a signal would.
    """

    def __init__(self, path: Path, stop_before: int | None) -> None:
        self._path, self._stop_before = path, stop_before

    def __call__(self, run: Training, micro: list[Batch]) -> int:
        """Note everything; a signal's number asks the run to stop. Collective."""
        self.note(run, micro)
        return signal.SIGTERM if run.state.progress.step == self._stop_before else 0

    def note(self, run: Training, micro: list[Batch]) -> None:
        """Append a line; without a batch at the end of the run."""
        line = json.dumps({"step": run.state.progress.step, "state": state_of(run, micro)})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def state_of(run: Training, micro: list[Batch]) -> State:
    """In the order in which one thing follows from another."""
    state: State = {ROWS: {}, BATCH: {}}
    for number, batch in enumerate(micro):
        state[ROWS][f"micro-batch {number}"] = _short(str(rows_of(batch)))
        state[BATCH] |= {f"{name} of micro-batch {number}": _told(value) for name, value in sorted(batch.items())
                         if isinstance(value, Tensor) and name != "example_id"}
    # looked at itself, not at run.state.parts: a part that is missing there is what is searched for
    moving, weighting = run.optimization, run.model.weighting
    parts: list[Part] = [RandomPart(run.accelerator), run.state.progress, PrecisionPart(run.precision),
                         SchedulePart(moving.schedule), OptimizerPart(moving.optimizer)]
    parts += [WeightingPart(weighting)] if weighting.stateful else []
    parts += [AveragePart(moving.average)] if moving.average is not None else []
    for part in parts:
        tensors, data = part.save()
        if part is run.state.progress:
            data["window"] = {key: value for key, value in data["window"].items() if key != "time"}
        state[part.name] = _leaves(tensors, {key: value for key, value in data.items() if key not in CLOCKS})
    return state | {WEIGHTS: {name: _told(value) for name, value in run.model.module.state_dict().items()}}


def _leaves(tensors: dict[str, Tensor], data: dict[str, Any]) -> dict[str, str]:
    return {name: _told(value) for name, value in tensors.items()} | {
        name: _short(json.dumps(value, sort_keys=True)) for name, value in data.items()}


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"digest {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _told(tensor: Tensor) -> str:
    """A tensor's numbers where they are few, else a digest of its bits and its sum."""
    tensor = tensor.detach().cpu().contiguous().reshape(-1)
    if tensor.numel() <= FEW:
        return str(tensor.tolist())
    digest = hashlib.sha256(tensor.view(torch.uint8).numpy().tobytes()).hexdigest()[:12]
    return f"digest {digest}, sum {tensor.double().sum().item()!r}"
