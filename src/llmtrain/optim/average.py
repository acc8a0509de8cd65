"""The exponential moving average of the trained weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of the trained weights (Polyak averaging), fp32."""

    def __init__(self, parameters: dict[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self._live = parameters
        self.restart()

    def restart(self) -> None:
        """Begin at the weights as they are now."""
        self.average: dict[str, Tensor] = {name: p.detach().clone() for name, p in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        torch._foreach_lerp_(list(self.average.values()), [p.detach() for p in self._live.values()], 1 - self.decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the live weights and the average; calling it again undoes it."""
        for name, parameter in self._live.items():
            kept = parameter.detach().clone()
            parameter.copy_(self.average[name])
            self.average[name] = kept
