"""JointModule: everything that is trained, behind one forward.

It is the only module handed to DDP. Calling a submodule past DDP's forward would silently skip the all-reduce, so
every term is computed inside ``forward``.
"""

from __future__ import annotations

from torch import Tensor, nn

from llmtrain.data.loader import Batch
from llmtrain.model.summary import SummaryModel
from llmtrain.objectives.base import Objective
from llmtrain.objectives.joint import SUMMARY


class JointModule(nn.Module):
    """The published model and the objectives that train it.

    Args:
        model: Trunk and head.
        objectives: Base terms by name; the summary term is the head's own ``nll``.
    """

    def __init__(self, model: SummaryModel, objectives: dict[str, Objective]) -> None:
        super().__init__()
        self.model = model
        self.objectives = nn.ModuleDict(objectives)

    @property
    def terms(self) -> list[str]:
        return [*self.objectives, SUMMARY]

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """Items each term counts in a batch; needs no forward pass."""
        counts = {name: objective.count(batch) for name, objective in self._base_terms()}
        return counts | {SUMMARY: self.model.summary_count(batch)}

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Sums of every term over the batch, fp32 and 0-dim."""
        states = self.model.read(batch)
        sums = {name: objective(self.model, states, batch, step) for name, objective in self._base_terms()}
        summary_sum, _count = self.model.summary_nll(states, batch)
        return sums | {SUMMARY: summary_sum}

    def _base_terms(self) -> list[tuple[str, Objective]]:
        return [(name, objective) for name, objective in self.objectives.items() if isinstance(objective, Objective)]
