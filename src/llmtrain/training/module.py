"""JointModule: everything that is trained, behind one forward.

It is the only module handed to DDP. Calling a submodule past DDP's forward would silently skip the all-reduce, so
every term is computed inside ``forward``.
"""

from __future__ import annotations

from torch import Tensor, nn

from llmtrain.config.objective import SUMMARY, Term
from llmtrain.data.loader import Batch
from llmtrain.model.summary import SummaryModel
from llmtrain.objectives.base import Objective


class JointModule(nn.Module):
    """The published model and the objectives that train it.

    Args:
        model: Trunk and head.
        objectives: Base objectives by name; the summary term is the head's own ``nll``.
        terms: The terms of the joint loss. Without a summary term the head is not trained: its parameters stay as
            they are and need no gradient.
    """

    def __init__(self, model: SummaryModel, objectives: dict[str, Objective], terms: tuple[Term, ...]) -> None:
        super().__init__()
        self.model = model
        self.objectives = nn.ModuleDict(objectives)
        self.terms = [term.name for term in terms]
        if SUMMARY not in self.terms:  # DDP would wait for a gradient that never comes
            trunk = {id(parameter) for parameter in model.trunk.parameters()}
            for parameter in model.parameters():
                if id(parameter) not in trunk:
                    parameter.requires_grad_(False)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """Items each term counts in a batch; needs no forward pass."""
        counts = {name: objective.count(batch) for name, objective in self._base_terms()}
        if SUMMARY in self.terms:
            counts[SUMMARY] = self.model.summary_count(batch)
        return counts

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Sums of every term over the batch, fp32 and 0-dim."""
        states = self.model.read(batch)
        states.shared = {}
        sums = {name: objective(self.model, states, batch, step) for name, objective in self._base_terms()}
        if SUMMARY in self.terms:
            sums[SUMMARY], _count = self.model.summary_nll(states, batch)
        return sums

    def _base_terms(self) -> list[tuple[str, Objective]]:
        return [(name, objective) for name, objective in self.objectives.items() if isinstance(objective, Objective)]
