"""One exact optimizer step over micro-batches and processes, in any precision."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from llmtrain.config.choices import OnNonFinite
from llmtrain.data.batch import Batch
from llmtrain.nn.precision import Precision
from llmtrain.objectives.joint_module import JointModule
from llmtrain.objectives.weighting.micro_batches import Work
from llmtrain.optim.average import WeightAverage
from llmtrain.optim.freezing import Withheld
from llmtrain.optim.schedule import Schedule
from llmtrain.training.diagnostics.nonfinite import Blame, NonFinite, gradient_report, loss_report, scale_report

if TYPE_CHECKING:
    from accelerate import Accelerator

SMALLEST_SCALE = 2.0 ** -14  # of fp16's loss: gradients that overflow under it are not finite at all


@dataclass(slots=True)
class Agreement:
    """What all processes know alike after the step's first exchange.

    ``counts`` are sums over processes; ``seconds`` is rank 0's training time; the signals are the largest any saw.
    """

    counts: dict[str, float]
    tokens: int
    seconds: float
    stop_signal: int
    save_signal: bool


@dataclass(slots=True)
class StepResult:
    """Losses are per item, over all micro-batches and processes, of the terms that were computed.

    ``skipped`` says that no weight moved; ``reason`` why, where that is not the loss scaler's routine.
    """

    losses: dict[str, float]
    weights: dict[str, float]
    total: float
    grad_norm: float
    rates: dict[str, float]
    skipped: bool
    reason: str = ""


class TrainStep:
    """Forward and backward as ``module.weighting`` says, then unscale, clip, update.

    ``wrapped`` is the (possibly DDP-wrapped) ``module``.
    """

    def __init__(self, *, accelerator: Accelerator, module: JointModule, wrapped: nn.Module,
                 optimizer: torch.optim.Optimizer, schedule: Schedule, precision: Precision,
                 clip_norm: float, on_nonfinite: OnNonFinite, average: WeightAverage | None,
                 withheld: Withheld, blame: Blame) -> None:
        self.accelerator, self.module, self.wrapped = accelerator, module, wrapped
        self.optimizer, self.schedule, self.precision = optimizer, schedule, precision
        self.weighting, self.clip_norm, self.on_nonfinite = module.weighting, clip_norm, on_nonfinite
        self.average, self.withheld, self.blame = average, withheld, blame
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def agree(self, micro: list[Batch], seconds: float, stop_signal: int, save_signal: bool) -> Agreement:
        """Count every term over all micro-batches and processes before the first backward pass."""
        counts = dict.fromkeys(self.module.terms, 0)
        tokens = 0
        for batch in micro:
            for name, count in self.module.counts(batch).items():
                counts[name] += int(count)
            tokens += batch["tokens"]
        main = self.accelerator.is_main_process
        mine = [*counts.values(), tokens, seconds if main else 0.0, save_signal]
        if self.accelerator.num_processes == 1:
            return Agreement({k: float(v) for k, v in counts.items()}, tokens, seconds, stop_signal, save_signal)
        vector = torch.tensor([*mine, float(stop_signal)], dtype=torch.float64, device=self.accelerator.device)
        summed = self.accelerator.gather(vector.unsqueeze(0))
        every = summed.sum(dim=0).tolist()
        return Agreement(dict(zip(counts, every, strict=False)), int(every[len(counts)]), every[len(counts) + 1],
                         int(summed[:, -1].max()), bool(every[len(counts) + 2]))

    def agree_stop(self, signal_number: int) -> int:
        """The largest signal that any process saw. Collective."""
        if self.accelerator.num_processes == 1:
            return signal_number
        return int(self.accelerator.gather(torch.tensor([signal_number], device=self.accelerator.device)).max())

    def work(self, micro: list[Batch], agreed: Agreement, step: int) -> Work:
        """A step's micro-batches, with what gradients of its terms need."""
        return Work(micro=micro, step=step, counts=agreed.counts, module=self.module, wrapped=self.wrapped,
                    precision=self.precision, accelerator=self.accelerator)

    def __call__(self, micro: list[Batch], agreed: Agreement, step: int, update: int) -> StepResult:
        """Run one step. ``update`` is the number of updates made so far (steps less skipped ones).

        Raises:
            NumericsError: A loss or gradient is not finite and ``trainer.on_nonfinite`` says stop.
        """
        work = self.work(micro, agreed, step)
        self.optimizer.zero_grad(set_to_none=True)
        weights = self.weighting.backward(work)
        means = work.means(work.sums)
        losses = {name: means[name] for name in weights}
        rates = self.schedule.apply(self.optimizer, update)
        total = sum(weights[name] * losses[name] for name in weights)
        if not all(math.isfinite(value) for value in means.values()):
            reason = self._skip(loss_report(self.blame(micro, work.sums, step)), step)
            return StepResult(losses, weights, total, float("nan"), rates, True, reason)
        norm, skipped, reason = self._update(step)
        if not skipped:
            if self.average is not None:
                self.average.update()
            self.weighting.after(work, means)
        return StepResult(losses, weights, total, norm, rates, skipped, reason)

    def _skip(self, found: NonFinite, step: int) -> str:
        """Why a step is skipped. Raises NumericsError where ``trainer.on_nonfinite`` says stop."""
        if self.on_nonfinite is OnNonFinite.stop:
            raise found.stopping(step)
        return found.reason

    def _update(self, step: int) -> tuple[float, bool, str]:
        """Unscale, clip, step and scaler update on one optimizer object; returns (gradient norm, skipped, reason)."""
        scaler = self.precision.scaler
        scaler.unscale_(self.optimizer)
        # asked here, since it covers gradients that are withheld below and are in no norm
        overflow = scaler.is_enabled() and found_inf(scaler, self.optimizer)
        self.withheld.drop_gradients(step)
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if not scaler.is_enabled() and not bool(torch.isfinite(norm)):
            return float(norm), True, self._skip(gradient_report(norm.item()), step)
        if self.clip_norm > 0 and not overflow:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip_norm, norm)
        scaler.step(self.optimizer)  # does nothing when unscale_ found an inf
        scaler.update()
        if overflow and scaler.get_scale() < SMALLEST_SCALE:  # it halves for ever, and at 0 no overflow is seen
            reason = self._skip(scale_report(SMALLEST_SCALE), step)
            scaler.update(SMALLEST_SCALE)
            return float(norm), True, reason
        return float(norm), overflow, ""


def found_inf(scaler: torch.amp.GradScaler, optimizer: torch.optim.Optimizer) -> bool:
    """Whether ``unscale_`` met a gradient that is not finite: then ``scaler.step`` moves no weight."""
    return any(bool(found) for found in scaler._found_inf_per_device(optimizer).values())
