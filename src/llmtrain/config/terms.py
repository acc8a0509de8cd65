"""What the terms of a joint loss ask for together, found once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from llmtrain.config.sections.objective import (
    ObjectiveConfig,
    Term,
    base_terms_of,
    needs_targets,
    reads_documents_alone,
    reads_labels,
    terms_apart,
    terms_of,
    trains_task,
)


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a run, in their order.

    Attributes:
        every: Each with the weight of its mean; the task's own term, where it is trained, is the last.
        base: Names of the base terms.
        own_pass: Those of them that read documents in a pass of their own.
        trains_task: Whether the task's own term is trained: without it the base alone is.
        needs_targets: Whether a term reads targets.
        reads_labels: Whether a base term predicts the label beside a row's target.
        leaves_unread: Whether the pass that all others share leaves out rows without a target, since none of its terms
            learns from a document alone.
    """

    every: tuple[Term, ...]
    base: tuple[str, ...]
    own_pass: tuple[str, ...]
    trains_task: bool
    needs_targets: bool
    reads_labels: bool
    leaves_unread: bool

    @classmethod
    def of(cls, objective: ObjectiveConfig) -> Self:
        """The terms that ``objective.terms``, or ``base`` and ``lam``, name."""
        own_pass = terms_apart(objective)
        return cls(every=terms_of(objective), base=base_terms_of(objective), own_pass=own_pass,
                   trains_task=trains_task(objective), needs_targets=needs_targets(objective),
                   reads_labels=reads_labels(objective),
                   leaves_unread=bool(own_pass) and not reads_documents_alone(objective, but=own_pass))
