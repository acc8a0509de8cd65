"""One optimizer step's micro-batches, and the ways a weighting can get gradients from them.

A term's mean is its sum over all micro-batches and processes divided by its count over the same, so gradients of
micro-batches and processes are simply added. DDP averages instead, hence the factor of the number of processes.
Gradients carry the loss scaler's factor until the step unscales them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from llmtrain.data.batch import Batch
from llmtrain.models.backbone.families import layers
from llmtrain.nn.precision import Precision

Sums = dict[str, Tensor]


class Work:
    """What a weighting works with in one step.

    Args:
        micro: This process's micro-batches.
        counts: Items of each term over all micro-batches and processes.
        module: The JointModule, whose forward gives each term's sum.
        wrapped: The same behind DDP, where there are several processes.

    Attributes:
        sums: One fp64 tensor (terms,) for each micro-batch that went forward, detached, for logs and checks.
    """

    def __init__(self, *, micro: list[Batch], step: int, counts: Mapping[str, float], module: Any, wrapped: nn.Module,
                 precision: Precision, accelerator: Any) -> None:
        self.micro, self.step, self.counts = micro, step, counts
        self.module, self.wrapped = module, wrapped
        self.precision, self.accelerator = precision, accelerator
        self.sums: list[Tensor] = []
        self._random: list[Tensor] = []

    @property
    def processes(self) -> int:
        return int(self.accelerator.num_processes)

    @property
    def names(self) -> list[str]:
        """The terms, in the order of every stacked tensor."""
        return list(self.module.terms)

    # forward

    def forward(self, batch: Batch, idle: frozenset[str] = frozenset()) -> Sums:
        """Sums of every term over a micro-batch, with their graph; ``idle`` terms are a connected zero."""
        with self.precision.autocast():
            sums: Sums = self.wrapped(batch, self.step, idle)
        self.sums.append(torch.stack([sums[name].detach().double() for name in self.names]))
        return sums

    def loss(self, sums: Sums, weights: Mapping[str, float]) -> Tensor:
        """The part of ``sum of weight * mean`` that lies in one micro-batch."""
        total = torch.zeros((), device=self.accelerator.device)
        for name, weight in weights.items():
            total = total + weight / max(1.0, self.counts[name]) * sums[name]
        return total

    def means(self, sums: Sequence[Tensor]) -> dict[str, float]:
        """Mean of every term over all processes, from stacked sums of all micro-batches. Collective."""
        total = torch.stack(list(sums)).sum(dim=0)
        if self.processes > 1:
            total = self.accelerator.reduce(total, reduction="sum")
        return {name: value / max(1.0, self.counts[name])
                for name, value in zip(self.names, total.tolist(), strict=True)}

    def mark(self) -> None:
        """Remember the state of dropout's generators, for :meth:`rehearse`."""
        device = self.accelerator.device
        self._random = [torch.get_rng_state()]
        if device.type == "cuda":
            self._random.append(torch.cuda.get_rng_state(device))

    @torch.no_grad()
    def rehearse(self) -> dict[str, float]:
        """Mean of every term with the present weights and the dropout masks of :meth:`mark`.

        Costs a forward pass over all micro-batches; generators are left as found. Collective.
        """
        device = self.accelerator.device
        found = []
        with torch.random.fork_rng([device] if device.type == "cuda" else []), self.precision.autocast():
            torch.set_rng_state(self._random[0])
            if device.type == "cuda":
                torch.cuda.set_rng_state(self._random[1], device)
            for batch in self.micro:
                sums = self.module(batch, self.step)
                found.append(torch.stack([sums[name].double() for name in self.names]))
        return self.means(found)

    # backward

    def each(self) -> Iterator[tuple[Batch, AbstractContextManager[object]]]:
        """Every micro-batch with the context of its forward and backward: DDP reduces on the last one alone."""
        for index, batch in enumerate(self.micro):
            yield batch, self.unsynced() if index < len(self.micro) - 1 else nullcontext()

    def unsynced(self) -> AbstractContextManager[object]:
        """Keep DDP from reducing: its reducer is neither armed by a forward nor waits for a backward."""
        no_sync = getattr(self.wrapped, "no_sync", None)
        return nullcontext() if no_sync is None else no_sync()

    def backward(self, loss: Tensor) -> None:
        """Add a loss's scaled gradients to ``.grad``; DDP's average over processes becomes their sum."""
        self.precision.scaler.scale(loss * self.processes).backward()

    def gradients(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor | None]:
        """Scaled gradients of this process's loss, past ``.grad`` and DDP; the graph is kept."""
        if not loss.requires_grad:
            return [None] * len(parameters)
        scaled: Tensor = self.precision.scaler.scale(loss)
        return list(torch.autograd.grad(scaled, parameters, retain_graph=True, allow_unused=True))

    def reduce(self, tensors: Sequence[Tensor]) -> None:
        """Sum tensors over all processes, in place. Collective."""
        if self.processes == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def poison(self) -> None:
        """Let the step see an overflow that only a weighting's own gradients had: one gradient becomes infinite."""
        first = next(parameter for parameter in self.module.parameters() if parameter.grad is not None)
        first.grad = torch.full_like(first, float("inf"))

    # parameters

    def trained(self) -> list[nn.Parameter]:
        """Every trained parameter."""
        return [parameter for parameter in self.module.parameters() if parameter.requires_grad]

    def trunk(self) -> list[nn.Parameter]:
        """The base's trained parameters, which the terms share."""
        return [parameter for parameter in self.module.model.trunk.parameters() if parameter.requires_grad]

    def last_layer(self) -> list[nn.Parameter]:
        """Trained parameters of the base's last layer."""
        return [parameter for parameter in layers(self.module.model.trunk)[-1].parameters() if parameter.requires_grad]


def added(totals: list[Tensor | None], found: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Two lists of gradients added, of which any may be None. Out of place: autograd may hand out expanded views."""
    return [right if left is None else left if right is None else left + right
            for left, right in zip(totals, found, strict=True)]
