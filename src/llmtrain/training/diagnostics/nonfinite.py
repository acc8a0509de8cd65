"""The report of a step that is not finite: what it says, and which terms and rows are behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from llmtrain.core.errors import NumericsError
from llmtrain.data.batch import Batch
from llmtrain.data.unread_rows import rows_of
from llmtrain.nn.precision import Precision
from llmtrain.objectives.joint_module import JointModule

SHOWN = 8


@dataclass(frozen=True, slots=True)
class NonFinite:
    """What is not finite in a step, and what a user can do about it."""

    reason: str
    advice: str

    def stopping(self, step: int) -> NumericsError:
        """The error that ends a run at a step (0-based)."""
        return NumericsError(f"step {step + 1} stopped: {self.reason}; {self.advice}, or set "
                             "trainer.on_nonfinite=skip")


def loss_report(found: str) -> NonFinite:
    """For a loss; ``found`` is what :class:`Blame` says of its terms and rows."""
    return NonFinite(f"its loss is not finite ({found})", "look at those rows, lower the learning rates")


def gradient_report(norm: float) -> NonFinite:
    """For the gradient norm."""
    return NonFinite(f"its gradient norm is {norm}", "lower optim.base_lr / optim.head_lr")


def scale_report(smallest: float) -> NonFinite:
    """For fp16 gradients that overflow under the smallest loss scale."""
    return NonFinite(f"its gradients are not finite even under a loss scale of {smallest:g}",
                     "use precision=bf16 or precision=fp32, lower optim.base_lr / optim.head_lr")


@dataclass(frozen=True, slots=True)
class Blame:
    """Finds them by computing the rows of a bad micro-batch one by one.

    Attributes:
        alone: (step, row) -> that row as a batch of its own. A batch cannot be cut into rows: what a term adds to it
            may hold other rows than the batch does.
        name_of: A row's name in the dataset (Example.id).
    """

    accelerator: Any
    module: JointModule
    precision: Precision
    alone: Callable[[int, int], Batch]
    name_of: Callable[[int], str]

    @torch.no_grad()
    def __call__(self, micro: list[Batch], sums: list[Tensor], step: int) -> str:
        """``term NAME, rows ID, ID; ...`` over all processes. Collective; random state is left as found."""
        mine: dict[str, list[str]] = {}
        device = self.accelerator.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []), self.precision.autocast():
            for batch, values in zip(micro, sums, strict=True):
                bad = self._not_finite(dict(zip(self.module.terms, values, strict=True)))
                for name in bad:
                    mine.setdefault(name, [])
                for row in rows_of(batch) if bad and not batch.get("dummy") else ():
                    for name in bad & self._not_finite(self.module(self.alone(step, row), step)):
                        mine[name].append(self.name_of(row))
        return _text(self._from_all(mine)) or "only the sum over all rows"

    @staticmethod
    def _not_finite(sums: dict[str, Tensor]) -> set[str]:
        return {name for name, value in sums.items() if not bool(torch.isfinite(value))}

    def _from_all(self, mine: dict[str, list[str]]) -> dict[str, list[str]]:
        if self.accelerator.num_processes == 1:
            return mine
        from accelerate.utils import gather_object

        merged: dict[str, list[str]] = {}
        for one in gather_object([mine]):
            for name, rows in one.items():
                merged.setdefault(name, []).extend(rows)
        return merged


def _text(bad: dict[str, list[str]]) -> str:
    parts = []
    for name, rows in sorted(bad.items()):
        more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
        parts.append(f"term {name}, rows {', '.join(rows[:SHOWN]) or 'only together'}{more}")
    return "; ".join(parts)
