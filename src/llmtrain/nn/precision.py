"""What fp32, fp16 and bf16 mean on this device: autocast, the loss scaler, the dtype that really ran, and why.

``torch.autocast`` and ``torch.amp.GradScaler`` are used directly on CPU and CUDA alike: a launcher's own mixed
precision can report fp16 on a CPU and compute fp32. Weights, gradients of weights and optimizer state are meant to stay
fp32, whatever a base was stored in: what is said of them is looked up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from llmtrain.config.choices import OnUnsupported, PrecisionName
from llmtrain.config.sections.precision import PrecisionConfig
from llmtrain.core.allocator import bound_kernel_caches
from llmtrain.core.errors import ConfigError
from llmtrain.nn.linear import cpu_has_fp16, linear

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
PROBE_ROWS = {"cpu": 256}  # more tell a CPU nothing new (docs/records/log.md); so few would time a GPU on launches


@dataclass(frozen=True, slots=True)
class Speeds:
    """Seconds of one probe matrix product per format on a device; formats torch cannot compute there are absent."""

    seconds: dict[str, float]

    @property
    def fastest(self) -> str:
        return min(self.seconds, key=lambda name: self.seconds[name])

    def slowdown(self, name: str) -> float:
        """How many times the fp32 product's time ``name`` takes (below 1: it is faster)."""
        return self.seconds[name] / self.seconds["fp32"]


def measure_speeds(device: torch.device, repeats: int = 5, enough: float = 0.1, rows: int | None = None) -> Speeds:
    """Time a product of a small encoder's feed-forward shape in each format, interleaved, best of ``repeats``.

    A format that has taken ``enough`` seconds in two products or more is not timed again. One would not do: a single
    stall of a busy machine would make a fast format a slow one. ``rows`` is of the product's left side.
    """
    seconds: dict[str, float] = {}
    operands: dict[str, tuple[Tensor, Tensor]] = {}
    generator = torch.Generator().manual_seed(0)
    tall = ((rows or PROBE_ROWS.get(device.type, 1024), 384), (1536, 384))
    left, right = (torch.randn(shape, generator=generator) for shape in tall)
    for name, dtype in DTYPES.items():
        try:
            operands[name] = (left.to(device, dtype), right.to(device, dtype))
            linear(*operands[name])  # the first call sets up kernels and is not timed
        except (RuntimeError, NotImplementedError):
            operands.pop(name, None)
    spent = dict.fromkeys(operands, 0.0)
    for turn in range(repeats):
        for name in [name for name in operands if turn < 2 or spent[name] < enough]:
            start = time.perf_counter()
            linear(*operands[name])
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            took = time.perf_counter() - start
            spent[name] += took
            seconds[name] = min(seconds.get(name, took), took)
    return Speeds(seconds)


class Precision:
    """The number format of a run.

    Args:
        config: What was asked for.
        device: Where the run computes.
        decided: The format an earlier part of the same run settled on; kept, so that a resume cannot flip it.

    Raises:
        ConfigError: torch cannot compute the format here, or it is slow and ``on_unsupported`` says error.
    """

    def __init__(self, config: PrecisionConfig, device: torch.device, decided: str | None = None,
                 speeds: Speeds | None = None) -> None:
        bound_kernel_caches()  # here, because every command makes its Precision before its first product
        self.device = device
        self.requested: str = config.name.value
        self.effective: str | None = None
        self.weights: str | None = None
        self.optimizer: str | None = None
        self.allow_tf32 = config.allow_tf32
        self.speeds = speeds or measure_speeds(device)
        self.running = decided or self._decide(config)
        self.dtype = DTYPES[self.running]
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.running == "fp16", init_scale=config.init_scale,
                                           growth_interval=config.growth_interval)
        if device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = config.allow_tf32
            torch.backends.cudnn.allow_tf32 = config.allow_tf32

    def _decide(self, config: PrecisionConfig) -> str:
        name = self.requested
        if name not in self.speeds.seconds:
            choices = ", ".join(f"precision={other}" for other in self.speeds.seconds)
            if config.on_unsupported.value in self.speeds.seconds:  # bf16 or fp32, and torch computes it
                return config.on_unsupported.value
            raise ConfigError(f"torch cannot compute {name} on this {self.device.type}; use one of {choices}")
        if name == PrecisionName.fp32.value or self.speeds.slowdown(name) <= 1.0:
            return name
        if config.on_unsupported is OnUnsupported.error:
            raise ConfigError(
                f"{name} takes {self.speeds.slowdown(name):.1f} times fp32's time on this {self.device.type} and "
                f"precision.on_unsupported=error; use precision={self.speeds.fastest} or precision.on_unsupported=run"
            )
        return name if config.on_unsupported is OnUnsupported.run else config.on_unsupported.value

    def describe(self) -> str:
        """One line: what the format means on this device and which is the fastest."""
        place = "GPU" if self.device.type == "cuda" else "CPU"
        ran = f"{self.requested} on this {place}"
        if self.running != self.requested:
            ran += f" was replaced by {self.running} (precision.on_unsupported)"
        elif self.running == "fp32":
            ran += ": 32-bit everywhere"
        else:
            ratio = self.speeds.slowdown(self.running)
            pace = f"{ratio:.1f} times the time of fp32" if ratio > 1 else f"{1 / ratio:.1f} times as fast as fp32"
            scaled = "with a loss scaler" if self.running == "fp16" else "no loss scaler needed"
            rounded = self.running == "fp16" and self.device.type == "cpu" and not cpu_has_fp16()
            products = ("16-bit activations, products of fp16-rounded values summed in fp32 (it has no fp16 arithmetic)"
                        if rounded else "real 16-bit matrix products")
            ran += f": {products}, {scaled}, {pace} (measured)"
        return f"{ran}. Fastest here: {self.speeds.fastest}."

    def autocast(self) -> AbstractContextManager[object]:
        if self.running == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def observe(self, weights: Iterable[Tensor], optimizer: torch.optim.Optimizer | None = None) -> None:
        """Record the dtypes of weights, and of an optimizer's state as far as there is any yet."""
        self.weights = _named({value.dtype for value in weights if value.is_floating_point()})
        slots = [] if optimizer is None else [value for of_one in optimizer.state.values() for value in of_one.values()]
        # a 0-dim tensor is a step counter
        self.optimizer = _named({_stored_dtype(slot) for slot in slots if isinstance(slot, Tensor) and slot.dim() > 0})

    def report(self) -> dict[str, str | None]:
        """What results.json says of the computation, asked for and observed."""
        return {"requested": self.requested, "effective": self.effective}

    def kept_in(self) -> dict[str, str | None]:
        """What results.json says of the formats that weights and optimizer state were seen in; None: none seen."""
        return {"weights": self.weights, "optimizer": self.optimizer}

    def describe_observed(self) -> str:
        """One line: what a step was seen to compute in, and what weights and optimizer state are kept in."""
        names = {str(dtype).removeprefix("torch."): name for name, dtype in DTYPES.items()}
        weights, state, ran = (None if kept is None else names.get(kept, kept)
                               for kept in (self.weights, self.optimizer, self.effective))
        if weights == state == "fp32":
            kept = "weights and optimizer stay fp32"
        else:
            kept = f"weights are kept in {weights}, " + ("without optimizer state" if state is None else
                                                         f"optimizer state in {state}")
        return f"observed: {ran} inside the base; {kept}"

    def watch(self, module: nn.Module) -> None:
        """Record the dtype of ``module``'s first output as the effective one; the hook then removes itself."""
        handles: list[Callable[[], None]] = []

        def record(_module: nn.Module, _inputs: object, output: object) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if isinstance(tensor, Tensor):
                self.effective = str(tensor.dtype).removeprefix("torch.")
                handles.pop()()

        handles.append(module.register_forward_hook(record).remove)


def _stored_dtype(slot: Tensor) -> torch.dtype:
    """What a tensor takes in memory: a quantised one, as of 8-bit optimizers, calls itself what it stands for."""
    if is_traceable_wrapper_subclass(slot):
        inner, _ = slot.__tensor_flatten__()
        first: Tensor = getattr(slot, inner[0])
        return first.dtype
    return slot.dtype


def _named(dtypes: set[torch.dtype]) -> str | None:
    return " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes)) or None
