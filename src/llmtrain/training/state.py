"""The parts of a run that must survive a stop: one small protocol. Which there are, ``build_state`` lists.

A part has a ``name``, ``save() -> (tensors, json)`` and ``load(tensors, json)``. Everything in the list of
:func:`llmtrain.training.build_state.build_state` is saved and restored; random state is restored last, since restoring
the others may draw.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from llmtrain.core.errors import CheckpointError, shorten
from llmtrain.nn.precision import Precision
from llmtrain.objectives.weighting.base import Weighting
from llmtrain.optim.average import WeightAverage
from llmtrain.optim.schedule import Schedule

if TYPE_CHECKING:
    from accelerate import Accelerator

Saved = tuple[dict[str, Tensor], dict[str, Any]]


class Part(Protocol):
    """A part of a run's state that a checkpoint holds: it gives its tensors and plain data, and takes them back."""

    name: str

    def save(self) -> Saved: ...

    def load(self, tensors: dict[str, Tensor], data: dict[str, Any]) -> None: ...


@dataclass
class ProgressPart:
    """Where the run is. ``seconds`` is time spent in training steps, over all starts."""

    name = "progress"
    step: int = 0
    skipped: int = 0
    seconds: float = 0.0
    tokens: int = 0
    log_size: int = 0
    total: int | None = None
    best: float | None = None
    best_step: int | None = None
    evaluations_without_gain: int = 0
    validated: list[int] = field(default_factory=list)  # the last steps whose checkpoints may be averaged at the end
    quarter: int = 0
    recent: list[float] = field(default_factory=list)  # seconds of the last steps: the pace that settles a limited run
    owed: int | None = None  # the epoch of a validation that is due at this step; a stop came before its end
    window: dict[str, float] = field(default_factory=dict)

    @property
    def updates(self) -> int:
        return self.step - self.skipped

    def save(self) -> Saved:
        return {}, asdict(self)

    def load(self, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
        for key, value in data.items():
            if type(value) not in PROGRESS.get(key, ()):
                raise CheckpointError(f"state 'progress' has {shorten(key, 40)} {shorten(str(value), 40)}, which is "
                                      "none of a run's; use another checkpoint")
        for key, value in data.items():
            setattr(self, key, value)


COUNT, NUMBER, NONE = int, float, type(None)
PROGRESS: dict[str, tuple[type, ...]] = {
    "step": (COUNT,), "skipped": (COUNT,), "seconds": (NUMBER, COUNT), "tokens": (COUNT,), "log_size": (COUNT,),
    "total": (COUNT, NONE), "best": (NUMBER, COUNT, NONE), "best_step": (COUNT, NONE),
    "evaluations_without_gain": (COUNT,), "validated": (list,), "quarter": (COUNT,), "recent": (list,),
    "owed": (COUNT, NONE), "window": (dict,)}


class ModulePart:
    """Parameters and buffers of modules by name (objectives; raw weights beside a published average)."""

    def __init__(self, name: str, parameters: dict[str, nn.Parameter]) -> None:
        self.name, self._parameters = name, parameters

    def save(self) -> Saved:
        return {key: value.detach().cpu().clone() for key, value in self._parameters.items()}, {}

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
        check_names(self.name, set(self._parameters), set(tensors))
        for key, parameter in self._parameters.items():
            fill(parameter, tensors[key])


class SchedulePart:
    """What the schedule learnt of a run's length on the way."""

    name = "schedule"

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def save(self) -> Saved:
        return {}, {"cooldown_start": self._schedule.cooldown_start, "total": self._schedule.total}

    def load(self, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
        check_numbers(data)
        self._schedule.cooldown_start, self._schedule.total = data["cooldown_start"], data["total"]


class PrecisionPart:
    """The format the run settled on and the loss scaler's state."""

    name = "precision"

    def __init__(self, precision: Precision) -> None:
        self._precision = precision

    def save(self) -> Saved:
        return {}, {"running": self._precision.running, "effective": self._precision.effective,
                    "scaler": self._precision.scaler.state_dict()}

    def load(self, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
        if data["running"] != self._precision.running:
            raise CheckpointError(f"the checkpoint ran in {data['running']}, this run in {self._precision.running}; "
                                  "give the run another name to change the precision")
        self._precision.effective = data["effective"]
        if data["scaler"]:
            check_numbers(data["scaler"])
            interval = self._precision.scaler.get_growth_interval()  # this run's own: another may be asked for
            self._precision.scaler.load_state_dict(data["scaler"])
            self._precision.scaler.set_growth_interval(interval)


class WeightingPart:
    """What a weighting has learned; there is none where it learns nothing."""

    name = "weighting"

    def __init__(self, weighting: Weighting) -> None:
        self._weighting = weighting

    def save(self) -> Saved:
        tensors, data = self._weighting.save()
        return tensors, {"method": self._weighting.name, "terms": self._weighting.names, **data}

    def load(self, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
        for key, mine in (("method", self._weighting.name), ("terms", self._weighting.names)):
            if data[key] != mine:
                raise CheckpointError(f"the checkpoint's weighting has {key} {data[key]!r}, this run's {mine!r}; give "
                                      "the run another name to change it")
        check_numbers({key: value for key, value in data.items() if key not in ("method", "terms")})
        self._weighting.load(tensors, data)


class AveragePart:
    """The moving average's other half: while training it holds the average, the live weights are ``weights``."""

    name = "average"

    def __init__(self, average: WeightAverage) -> None:
        self._average = average

    def save(self) -> Saved:
        return {name: value.cpu() for name, value in self._average.average.items()}, {}

    def load(self, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
        check_names(self.name, set(self._average.average), set(tensors))
        for name, value in self._average.average.items():
            fill(value, tensors[name])


class RandomPart:
    """Dropout's generators, one set for each process."""

    name = "random"

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator

    def save(self) -> Saved:
        """Collective: every process must call it."""
        from accelerate.utils import gather_object

        mine = {"cpu": torch.get_rng_state(), "python": random.getstate(), "numpy": np.random.get_state()}
        if self._accelerator.device.type == "cuda":
            mine["cuda"] = torch.cuda.get_rng_state(self._accelerator.device)
        tensors: dict[str, Tensor] = {}
        data: dict[str, Any] = {}
        for rank, state in enumerate(gather_object([mine]) if self._accelerator.num_processes > 1 else [mine]):
            for device in {"cpu", "cuda"} & set(state):
                tensors[f"{rank}.{device}"] = state[device].cpu()
            kind, keys, position, has_gauss, gauss = state["numpy"]
            tensors[f"{rank}.numpy"] = torch.from_numpy(keys.astype(np.int64))
            data[str(rank)] = {"python": [state["python"][0], list(state["python"][1]), state["python"][2]],
                               "numpy": [kind, int(position), int(has_gauss), float(gauss)]}
        return tensors, data

    def load(self, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
        rank = self._accelerator.process_index
        if not data:
            raise ValueError("of no process")
        if len(data) != self._accelerator.num_processes:
            return  # another number of processes was asked for: the seed's own state stays
        torch.set_rng_state(tensors[f"{rank}.cpu"])
        if f"{rank}.cuda" in tensors and self._accelerator.device.type == "cuda":
            torch.cuda.set_rng_state(tensors[f"{rank}.cuda"], self._accelerator.device)
        version, internal, gauss = data[str(rank)]["python"]
        random.setstate((version, tuple(internal), gauss))
        kind, position, has_gauss, cached = data[str(rank)]["numpy"]
        np.random.set_state((kind, tensors[f"{rank}.numpy"].numpy().astype(np.uint32), position, has_gauss, cached))


def fill(mine: Tensor, saved: Tensor) -> None:
    """Copy a saved tensor. Raises ValueError for another shape, which ``copy_`` might spread."""
    if mine.shape != saved.shape:
        raise ValueError(f"shape {tuple(saved.shape)} instead of {tuple(mine.shape)}")
    mine.copy_(saved)


def check_numbers(data: Any) -> None:
    """Raise ValueError for JSON whose innermost values are anything but numbers, truths and null."""
    for value in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        check_numbers(value)
    if isinstance(data, str):
        raise ValueError(f"{shorten(data, 40)!r} instead of a number")


def check_names(part: str, expected: set[str], found: set[str], subset: bool = False) -> None:
    """Raise CheckpointError when saved names are not those this run expects."""
    strange = found - expected
    missing = set() if subset else expected - found
    if strange or missing:
        name = sorted(strange or missing)[0]
        kind = "unknown" if strange else "missing"
        raise CheckpointError(f"state {part!r} has {len(strange or missing)} {kind} names, first {name!r}; the "
                              "checkpoint belongs to another model or objective")
