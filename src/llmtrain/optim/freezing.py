"""Parameters that wait: their gradients are computed and thrown away until the step from which they are trained.

``requires_grad`` stays on, because DDP's reducer, set up once, waits for every parameter it knows at every step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from llmtrain.config.sections.model import ModelConfig
from llmtrain.optim.groups import depths


@dataclass(frozen=True, slots=True)
class Withheld:
    """``until`` pairs a step with the parameters that no step before it (0-based) may move."""

    until: tuple[tuple[int, tuple[nn.Parameter, ...]], ...] = ()

    def drop_gradients(self, step: int) -> None:
        """Take the gradients of those that still wait: an optimizer leaves out a parameter without one."""
        for end, parameters in self.until:
            if step < end:
                for parameter in parameters:
                    parameter.grad = None

    @property
    def last(self) -> int:
        """The step from which everything is trained."""
        return max((end for end, _ in self.until), default=0)


def withheld_until(step: int, parameters: Iterable[nn.Parameter]) -> Withheld:
    """All of them until one step (``model.freeze_until_step``)."""
    return Withheld(((step, tuple(parameters)),))


def unfreezing(trunk: Any, every: int, head_first: bool) -> Withheld:
    """Gradual unfreezing (Howard and Ruder 2018, "ULMFiT", section 3.3): the head alone for ``every`` steps, then one
    more of the trunk's layers, from the top, every ``every`` steps; embeddings last.

    Args:
        head_first: Whether there is a head to train alone; without one the top layer starts at once.
    """
    depth = depths(trunk)
    top = max(depth.values(), default=0)
    waits = {level: every * (top - level + head_first) for level in range(top + 1)}
    return Withheld(tuple((end, tuple(p for p, at in depth.items() if at == level and p.requires_grad))
                          for level, end in sorted(waits.items(), reverse=True) if end))


def plan(config: ModelConfig, trunk: Any, frozen: list[nn.Parameter], head_first: bool, total: int | None,
         ) -> tuple[Withheld, list[str]]:
    """What waits in this run, and the lines that say so.

    Args:
        frozen: What ``model.freeze`` holds still, for good or until ``model.freeze_until_step``.
        total: Steps of the run, where they are known.
    """
    until, every = config.freeze_until_step, config.unfreeze_every
    withheld, lines = Withheld(), []
    if frozen:
        lines.append(f"base: {len(frozen)} tensors frozen" + (f" until step {until}" if until else ""))
        if until:
            withheld = withheld_until(until, frozen)
    if every:
        withheld = unfreezing(trunk, every, head_first)
        lines.append(f"base: one more layer from the top is trained every {every} steps, the embeddings from step "
                     f"{withheld.last} on (model.unfreeze_every)")
        if total is not None and withheld.last >= total:
            waiting = sum(bool(parameters) for end, parameters in withheld.until if end >= total)
            lines.append(f"base: this run ends at step {total}, before {waiting} of its {len(withheld.until)} levels "
                         "are ever trained; lower model.unfreeze_every to train them")
    return withheld, lines
