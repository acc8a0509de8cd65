"""JointModule: everything that is trained, behind one forward.

It is the only module handed to DDP. Calling a submodule past DDP's forward would silently skip the all-reduce, so
every term is computed inside ``forward``.
"""

from __future__ import annotations

from torch import Tensor, nn

from llmtrain.config.sections.objective import SUMMARY
from llmtrain.data.batch import Batch
from llmtrain.models.task_model import SummaryModel
from llmtrain.objectives.base import Objective, connected_zero
from llmtrain.objectives.weighting.base import Weighting


class JointModule(nn.Module):
    """The published model and the objectives that train it.

    Args:
        model: Trunk and head.
        objectives: Base objectives by name; the summary term is the head's own ``nll``.
        weighting: The terms of the joint loss, and how they are weighed. Without a summary term the head is not
            trained: its parameters stay as they are and need no gradient.
    """

    def __init__(self, model: SummaryModel, objectives: dict[str, Objective], weighting: Weighting) -> None:
        super().__init__()
        self.model = model
        self.objectives = nn.ModuleDict(objectives)
        self.weighting = weighting
        self.terms = weighting.names
        for _, objective in self._base_terms() if SUMMARY in self.terms else ():
            objective.share(model.head)
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

    def forward(self, batch: Batch, step: int, idle: frozenset[str] = frozenset()) -> dict[str, Tensor]:
        """Sums of every term over the batch, fp32 and 0-dim; ``idle`` ones are a zero connected to their parameters."""
        states = self.model.read(batch)
        states.shared = {}
        sums = {name: connected_zero(objective, states.hidden_BSD) if name in idle
                else objective(self.model, states, batch, step) for name, objective in self._base_terms()}
        if SUMMARY in self.terms and SUMMARY not in idle:
            sums[SUMMARY], _count = self.model.summary_nll(states, batch)
            return sums
        # only the summary is sure to reach the whole model: a fresh masked-LM head first learns on detached states
        zero = connected_zero(self.model, states.hidden_BSD)
        if SUMMARY in self.terms:
            return sums | {SUMMARY: zero}
        return {name: value + zero for name, value in sums.items()}

    def _base_terms(self) -> list[tuple[str, Objective]]:
        return [(name, objective) for name, objective in self.objectives.items() if isinstance(objective, Objective)]
