"""What the terms of a joint loss ask for together, found once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from llmtrain.config.members import Member, members_of
from llmtrain.config.schema import TrainConfig
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
        every: Each with the weight of its mean; the task's own term, where it is trained, is the last, or those of
            several tasks are.
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
    def of(cls, objective: ObjectiveConfig, members: Sequence[Member] = ()) -> Self:
        """The terms that ``objective.terms``, or ``base`` and ``lam``, name.

        Args:
            members: The tasks of the run; none: one.
        """
        own_pass = terms_apart(objective)
        return cls(every=tuple(shared_out(terms_of(objective), members)), base=base_terms_of(objective),
                   own_pass=own_pass, trains_task=trains_task(objective), needs_targets=needs_targets(objective),
                   reads_labels=reads_labels(objective),
                   leaves_unread=bool(own_pass) and not reads_documents_alone(objective, but=own_pass))


def shared_out(terms: Sequence[Term], members: Sequence[Member]) -> list[Term]:
    """The terms with one for each of several tasks in the place of the one that stands for all: the task's name, and
    its own share of the weight."""
    if not any(member.name for member in members):
        return list(terms)
    return [one for term in terms for one in (
        [Term(member.name, term.lam * member.lam, True, member.lam) for member in members] if term.of_task else [term])]


def terms_of_run(config: TrainConfig) -> list[Term]:
    """The terms of a run, as its logs name them."""
    return shared_out(terms_of(config.objective), members_of(config))
