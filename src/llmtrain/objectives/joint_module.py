"""JointModule: everything that is trained, behind one forward.

It is the only module handed to DDP. Calling a submodule past DDP's forward would silently skip the all-reduce, so
every term is computed inside ``forward``.
"""

from __future__ import annotations

from torch import Tensor, nn

from llmtrain.data.batch import Batch
from llmtrain.models.task_model import TaskModel
from llmtrain.objectives.base import Objective, connected_zero
from llmtrain.objectives.weighting.base import Weighting


class JointModule(nn.Module):
    """The published model and the objectives that train it.

    Args:
        model: Trunk and head.
        objectives: Base objectives by name; the task's term is the head's own ``nll``.
        weighting: The terms of the joint loss, and how they are weighed. Without the task's term the head is not
            trained: its parameters stay as they are and need no gradient.
    """

    def __init__(self, model: TaskModel, objectives: dict[str, Objective], weighting: Weighting) -> None:
        super().__init__()
        self.model = model
        self.objectives = nn.ModuleDict(objectives)
        self.weighting = weighting
        self.terms, self.task_term = weighting.names, weighting.task_term
        for _, objective in self._base_terms() if self.task_term else ():
            objective.share(model.head)
        if not self.task_term:  # DDP would wait for a gradient that never comes
            trunk = {id(parameter) for parameter in model.trunk.parameters()}
            for parameter in model.parameters():
                if id(parameter) not in trunk:
                    parameter.requires_grad_(False)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """Items each term counts in a batch; needs no forward pass."""
        counts = {name: objective.count(batch) for name, objective in self._base_terms()}
        if self.task_term:
            counts[self.task_term] = self.model.task_count(batch)
        return counts

    def forward(self, batch: Batch, step: int, idle: frozenset[str] = frozenset()) -> dict[str, Tensor]:
        """Sums of every term over the batch, fp32 and 0-dim; ``idle`` ones are a zero connected to their parameters."""
        states = self.model.read(batch)
        states.shared = {}
        sums = {name: connected_zero(objective, states.hidden_BSD) if name in idle
                else objective(self.model, states, batch, step) for name, objective in self._base_terms()}
        if self.task_term and self.task_term not in idle:
            sums[self.task_term], _count = self.model.task_nll(states, batch)
            return sums
        # only the task's term is sure to reach the whole model: a fresh masked-LM head first learns on detached states
        zero = connected_zero(self.model, states.hidden_BSD)
        if self.task_term:
            return sums | {self.task_term: zero}
        return {name: value + zero for name, value in sums.items()}

    def _base_terms(self) -> list[tuple[str, Objective]]:
        return [(name, objective) for name, objective in self.objectives.items() if isinstance(objective, Objective)]
