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

    A batch of several tasks has the rows of each apart. Every row is one of the base terms'; a task's own term is of
    its rows alone.

    Args:
        model: Trunk and head, or heads.
        objectives: Base objectives by name; the task's term is the head's own ``nll``.
        weighting: The terms of the joint loss, and how they are weighed. Without the task's term the head is not
            trained: its parameters stay as they are and need no gradient.
    """

    def __init__(self, model: TaskModel, objectives: dict[str, Objective], weighting: Weighting) -> None:
        super().__init__()
        self.model = model
        self.objectives = nn.ModuleDict(objectives)
        self.weighting = weighting
        self.terms, self.task_terms = weighting.names, weighting.task_terms
        for _, objective in self._base_terms() if self.task_terms else ():
            objective.share(model.head)
        if not self.task_terms:  # DDP would wait for a gradient that never comes
            trunk = {id(parameter) for parameter in model.trunk.parameters()}
            for parameter in model.parameters():
                if id(parameter) not in trunk:
                    parameter.requires_grad_(False)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """Items each term counts in a batch; needs no forward pass."""
        found: dict[str, Tensor] = {}
        for name, model, rows in self.model.parts(batch):
            for objective_name, objective in self._base_terms():
                _add(found, objective_name, objective.count(rows))
            if self.task_terms:
                _add(found, self._term_of(name), model.task_count(rows))
        return found

    def forward(self, batch: Batch, step: int, idle: frozenset[str] = frozenset()) -> dict[str, Tensor]:
        """Sums of every term over the batch, fp32 and 0-dim; ``idle`` ones are a zero connected to their parameters."""
        found: dict[str, Tensor] = {}
        for name, model, rows in self.model.parts(batch):
            for term, value in self._sums(self._term_of(name), model, rows, step, idle).items():
                _add(found, term, value)
        return found

    def _sums(self, task_term: str, model: TaskModel, batch: Batch, step: int, idle: frozenset[str],
              ) -> dict[str, Tensor]:
        """The same of rows of one task, whose own term is ``task_term``; empty where it is not trained."""
        states = model.read(batch)
        states.shared = {}
        sums = {name: connected_zero(objective, states.hidden_BSD) if name in idle
                else objective(model, states, batch, step) for name, objective in self._base_terms()}
        if task_term and task_term not in idle:
            sums[task_term], _count = model.task_nll(states, batch)
            return sums
        # only the task's term is sure to reach the whole model: a fresh masked-LM head first learns on detached states
        zero = connected_zero(model, states.hidden_BSD)
        if task_term:
            return sums | {task_term: zero}
        return {name: value + zero for name, value in sums.items()}

    def _term_of(self, task: str) -> str:
        """The own term of a task by its name in the run, which the only one has not; empty where none is trained."""
        return (task or self.task_terms[0]) if self.task_terms else ""

    def _base_terms(self) -> list[tuple[str, Objective]]:
        return [(name, objective) for name, objective in self.objectives.items() if isinstance(objective, Objective)]


def _add(found: dict[str, Tensor], name: str, value: Tensor) -> None:
    found[name] = found[name] + value if name in found else value
