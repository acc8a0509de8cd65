"""The protocol of a weighting: it says what each term weighs at a step, and owns the step's backward pass.

    total = sum over terms of  weight * sum / N        N counted over the whole optimizer step

Under Adam a common factor changes nothing, so weights are the ratio of the losses on the shared trunk; parameters
that one term alone reaches (the head: the task term; the masked-LM head: mlm) do not feel them, clipping and fp16
underflow aside.

Shapes: K terms.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from llmtrain import registry
from llmtrain.config.sections.objective import Term
from llmtrain.objectives.weighting.micro_batches import Work

State = tuple[dict[str, Tensor], dict[str, Any]]


class Weighting(nn.Module):
    """Weighs the terms of a step and does its backward pass; a method overrides what it does differently.

    Args:
        config: The ``objective`` section, with the method's own options under its name.
        terms: The joint loss, the task term last.
        seed: The run's seed.

    Attributes:
        moves: Whether weights change in a run: they are logged then.
        total: Steps of the whole run, where that is known before it starts.
        stateful: Whether :meth:`save` has anything that must survive a stop.
    """

    name: str
    stateful = False
    rule = "under Adam the ratio of the losses on the shared base; no effect on the head alone"

    def __init__(self, config: Any, terms: tuple[Term, ...], seed: int) -> None:
        super().__init__()
        self.config, self.terms, self.seed = config, terms, seed
        self.names = [term.name for term in terms]
        self.lams = {term.name: term.lam for term in terms}
        self.task_terms = [term.name for term in terms if term.of_task]  # none: the base is trained alone
        self.total: int | None = None
        self.moves = bool(registry.get("weighting", config.weighting).requires.get("moves"))

    def weights(self, step: int) -> dict[str, float]:
        """The weight of each term in force at a step (0-based)."""
        return dict(self.lams)

    def idle(self, step: int) -> frozenset[str]:
        """Terms that need not be computed at a step."""
        return frozenset()

    def backward(self, work: Work) -> dict[str, float]:
        """Put the gradients of the whole step into ``.grad``, scaled, alike in all processes; the weights used.

        What it learns must wait for :meth:`after`: a step that is skipped leaves no trace.
        """
        weights, idle = self.weights(work.step), self.idle(work.step)
        self.descend(work, weights, idle)
        return {name: weight for name, weight in weights.items() if name not in idle}

    def descend(self, work: Work, weights: dict[str, float], idle: frozenset[str] = frozenset()) -> None:
        """One backward pass of the weighted sum for each micro-batch."""
        for batch, context in work.each():
            with context:
                work.backward(work.loss(work.forward(batch, idle), weights))

    def after(self, work: Work, losses: dict[str, float]) -> None:
        """The step has moved the weights: learn from it. Not called for a step that was skipped.

        Args:
            losses: Mean of each term over the whole step, before it, the same in all processes.
        """

    def save(self) -> State:
        """What must survive a stop."""
        return {}, {}

    def load(self, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
        """Take it back."""

    def report(self) -> dict[str, Any]:
        """What results.json tells of it; nothing where every weight stands in the configuration."""
        return {}

    def describe(self) -> str:
        """The startup line: what is added up in this run, with which weights."""
        base, of_task = ([term for term in self.terms if term.of_task is which] for which in (False, True))
        if not of_task:
            return f"objective: {added_up(self.terms)} (the base alone, no task term)"
        tasks = added_up(replace(term, lam=term.share) for term in of_task)
        tasks = tasks if len(of_task) == 1 else f"({tasks})"
        if not base:
            alone = f"{tasks} alone (no base term, lambda unused)"
            return f"objective: {alone if len(of_task) == 1 else f'{tasks[1:-1]}: {self.rule}'}"
        return f"objective: {added_up(base)} + lambda * {tasks}, lambda = {self.course()}: {self.rule}"

    @property
    def lam(self) -> float:
        """Lambda: the weight of the task's own term, or of all tasks' together."""
        return next((term.lam / term.share for term in self.terms if term.of_task and term.share), 0.0)

    def course(self) -> str:
        """Lambda in words."""
        return f"{self.lam:g}"


def added_up(terms: Any) -> str:
    """``mlm + 0.3 * extraction``"""
    return " + ".join(term.name if term.lam == 1 else f"{term.lam:g} * {term.name}" for term in terms)


class Learned(nn.Module):
    """A vector (K,) in fp32 with an Adam of its own: no decay but the given one, no schedule, no clipping.

    Its gradient comes from losses or norms that all processes share, so neither DDP nor the loss scaler has to know
    it, and it does not depend on which optimizer trains the model.
    """

    value_K: nn.Parameter

    def __init__(self, start: list[float], lr: float, decay: float = 0.0) -> None:
        super().__init__()
        self.value_K = nn.Parameter(torch.tensor(start, dtype=torch.float32), requires_grad=False)
        self._lr, self._decay = lr, decay
        self._adam: torch.optim.Adam | None = None

    @property
    def adam(self) -> torch.optim.Adam:
        """Made when it is first needed: by then the vector is on the run's device."""
        if self._adam is None:
            self._adam = torch.optim.Adam([self.value_K], lr=self._lr, weight_decay=self._decay)
        return self._adam

    @torch.no_grad()
    def step(self, gradient_K: Tensor) -> None:
        self.value_K.grad = gradient_K.to(self.value_K)
        self.adam.step()
        self.value_K.grad = None

    def save(self) -> dict[str, Tensor]:
        state = {f"adam.{key}": value.detach().cpu() for key, value in self.adam.state[self.value_K].items()}
        return {"value": self.value_K.detach().cpu().clone(), **state}

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        self.value_K.copy_(tensors["value"])
        state = {key.removeprefix("adam."): value.clone() for key, value in tensors.items() if key != "value"}
        if state:  # Adam's step counter stays on the CPU
            self.adam.state[self.value_K] = {
                key: value if key == "step" else value.to(self.value_K.device) for key, value in state.items()}
