"""PCGrad (Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", algorithm 1).

Where the gradients of two terms on the base point against each other, each loses its part along the other; what is
left of all of them is added up. The others come in a random order, drawn from the run's seed and the step. Parameters
that one term alone reaches get the plain sum.

The gradients are those of the whole step: added up over micro-batches, then over processes, and combined once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from llmtrain.objectives.weighting.base import Weighting
from llmtrain.objectives.weighting.micro_batches import Work, added

STREAM = 101  # tells these random numbers from those of the terms


def dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Inner product over lists of tensors."""
    return torch.stack([(a * b).sum() for a, b in zip(left, right, strict=True)]).sum()


def projected(gradients: Sequence[Sequence[Tensor]], generator: torch.Generator) -> list[Tensor]:
    """The sum of all gradients, each without its parts against the others."""
    squares = [dot(gradient, gradient) for gradient in gradients]
    total: list[Tensor] | None = None
    for index, own in enumerate(gradients):
        left = list(own)
        for other in torch.randperm(len(gradients), generator=generator).tolist():
            if other == index:
                continue
            along = dot(left, gradients[other])
            if bool(along < 0):
                share = along / squares[other]
                left = [a - share * b for a, b in zip(left, gradients[other], strict=True)]
        total = left if total is None else [a + b for a, b in zip(total, left, strict=True)]
    assert total is not None
    return total


class PcGrad(Weighting):
    """Takes out of each term's gradient what points against another's."""

    name = "pcgrad"
    rule = "gradients that conflict on the base are projected off each other (PCGrad, Yu et al. 2020)"

    def backward(self, work: Work) -> dict[str, float]:
        weights, trained = self.weights(work.step), work.trained()
        shared = {id(parameter) for parameter in work.trunk()}
        of_base = [index for index, parameter in enumerate(trained) if id(parameter) in shared]
        others = [index for index, parameter in enumerate(trained) if id(parameter) not in shared]
        base: list[list[Tensor | None]] = [[None] * len(of_base) for _ in self.names]
        rest: list[Tensor | None] = [None] * len(others)
        for batch in work.micro:
            with work.unsynced():
                sums = work.forward(batch)
                for index, name in enumerate(self.names):
                    found = work.gradients(work.loss(sums, {name: weights[name]}), trained)
                    base[index] = added(base[index], [found[i] for i in of_base])
                    rest = added(rest, [found[i] for i in others])
        # a term may reach the base in one process alone: all must reduce the same list
        gradients = [[torch.zeros_like(trained[i]) if gradient is None else gradient
                      for i, gradient in zip(of_base, own, strict=True)] for own in base]
        plain = [torch.zeros_like(trained[i]) if gradient is None else gradient
                 for i, gradient in zip(others, rest, strict=True)]
        for part in (*gradients, plain):
            work.reduce(part)
        generator = torch.Generator().manual_seed(hash((self.seed, work.step, STREAM)) & (2**63 - 1))
        for index, gradient in (*zip(of_base, projected(gradients, generator), strict=True),
                                *zip(others, plain, strict=True)):
            trained[index].grad = gradient
        return weights
