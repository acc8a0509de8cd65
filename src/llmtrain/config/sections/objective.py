"""Keys of the joint loss; the options of each registered part stand under its own name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, make_dataclass
from functools import cache
from typing import ClassVar

from llmtrain import registry
from llmtrain.config.keys import key
from llmtrain.config.sections.task import DEFAULT
from llmtrain.core.errors import ConfigError, shorten

AUTO = "auto"  # of objective.lam: measured in the run


@dataclass(kw_only=True, slots=True)
class TermConfig:
    """One entry of ``objective.terms``."""

    name: str = key("", "a registered objective, or the task's own term: the head's loss")
    lam: float = key(1.0, "weight of the term's mean loss", "ratio", min=0)


@dataclass(kw_only=True, slots=True)
class ObjectiveConfig:
    """l1 (``base``) and its ratio to l2, or any number of terms. Options of each objective live under its own name.

    ``task_term`` is the name of l2, the task's own term; the classes that :func:`objective_schema` makes know it.
    """

    task_term: ClassVar[str]

    base: str | None = key("select", "base model's own loss l1: none, or a registered objective")
    lam: float | int | str | None = key(0.5, "lambda: weight of l2 relative to l1; null: l1 alone; auto: what balances "
                                             "the gradients of both on the base, measured over the first auto_steps "
                                             "steps and fixed from there on", "ratio", min=0)
    auto_steps: int = key(20, "lam=auto: steps over which it is measured", "steps", late=True, min=1)
    terms: list[TermConfig] | None = key(None, "every term with its weight, [{name: mlm, lam: 1}, {name: TASK_TERM, "
                                               "lam: 0.5}]; what base and lam are the short form of")
    weighting: str = key("fixed", "how the terms are weighed: fixed, or a registered weighting")
    lam_start: float | None = key(None, "weighting=linear or cosine: lambda at step 0; default there: 0", "ratio",
                                  min=0)
    lam_steps: int = key(0, "weighting=linear or cosine: steps over which lambda moves from lam_start to lam; "
                             "default there: all of the run's", "steps", min=0)


@dataclass(frozen=True, slots=True)
class Term:
    """One term of the joint loss, and the weight of its mean.

    Attributes:
        of_task: It is the task's own, the head's loss; else a base objective.
        share: What the task weighs among those of the run; ``lam`` has it in it.
    """

    name: str
    lam: float
    of_task: bool = False
    share: float = 1.0


def terms_of(objective: ObjectiveConfig) -> tuple[Term, ...]:
    """The terms that ``objective.terms``, or ``base`` and ``lam``, name: base terms by name, the task's own last.

    The short form and the equal list give equal tuples, whatever the list's order. A run without the task's
    term trains the base alone. What cannot be a joint loss is told by :func:`problems_of_terms`.
    """
    if objective.terms is not None:
        terms = [Term(term.name, term.lam, term.name == objective.task_term) for term in objective.terms]
        return tuple(sorted(terms, key=lambda term: (term.of_task, term.name)))
    if objective.base in (None, "none"):
        return () if objective.base is None or objective.lam is None else (Term(objective.task_term, 1.0, True),)
    assert objective.base is not None
    base = Term(objective.base, 1.0)
    if objective.lam is None:
        return (base,)
    # what is measured starts from nothing: 1 stands for it until there is a figure
    lam = 1.0 if isinstance(objective.lam, str) else float(objective.lam)
    return base, Term(objective.task_term, lam, True)


def measures_lambda(objective: ObjectiveConfig) -> bool:
    """Whether lambda is measured in the run, ``objective.lam=auto``."""
    return objective.lam == AUTO and objective.terms is None


def base_terms_of(objective: ObjectiveConfig) -> tuple[str, ...]:
    """Names of the base objectives in use."""
    return tuple(term.name for term in terms_of(objective) if not term.of_task)


def trains_task(objective: ObjectiveConfig) -> bool:
    """Whether the task's own loss l2 is a term: without it the base alone is trained."""
    return any(term.of_task for term in terms_of(objective))


def moves_lambda(weighting: object) -> bool:
    """Whether the weighting of that name moves lambda from objective.lam_start over objective.lam_steps."""
    return any(part.name == weighting and part.requires.get("course") for part in registry.parts("weighting"))


def needs_targets(objective: ObjectiveConfig) -> bool:
    """Whether a term reads targets: the task's own, or a base objective that does."""
    return trains_task(objective) or any(registry.get("objective", name).requires.get("reads_target", False)
                                            for name in base_terms_of(objective))


def terms_apart(objective: ObjectiveConfig) -> tuple[str, ...]:
    """The base objectives in use that read documents in a pass of their own, whatever the others read."""
    return tuple(name for name in base_terms_of(objective)
                 if registry.get("objective", name).requires.get("own_pass")
                 and not getattr(getattr(objective, name), "shared_pass", False))


def documents_alone() -> list[str]:
    """The registered objectives that learn from documents without a target or a label."""
    return [part.name for part in registry.parts("objective")
            if not (part.requires.get("reads_target") or part.requires.get("reads_label"))]


def reads_documents_alone(objective: ObjectiveConfig, but: tuple[str, ...] = ()) -> bool:
    """Whether a base objective, ``but`` for those, learns from documents that have no target."""
    able = documents_alone()
    return any(name in able for name in base_terms_of(objective) if name not in but)


def reads_labels(objective: ObjectiveConfig) -> bool:
    """Whether a base objective predicts the label beside a row's target."""
    return any(registry.get("objective", name).requires.get("reads_label") for name in base_terms_of(objective))


def problems_of_terms(objective: ObjectiveConfig) -> Iterator[str]:
    """What is wrong with the terms, one line each."""
    if isinstance(objective.lam, str) and objective.lam != AUTO:
        yield f"objective.lam={shorten(objective.lam, 40)} is neither a number nor auto; give one of them"
    terms = terms_of(objective)
    if not terms:
        yield ("the objective has no term; set objective.base to a registered objective or objective.lam to a number, "
               "or list objective.terms=[{name: NAME, lam: 1}, ...]")
    for name in sorted({term.name for term in terms}):
        if name in ("", "none"):
            yield "objective.terms has a term without a name; write {name: NAME, lam: WEIGHT}"
        if sum(term.name == name for term in terms) > 1:
            yield f"objective.terms names {name} twice; keep one of them"
    if terms and objective.terms is not None and all(term.lam == 0 for term in terms):
        yield "objective.terms has no term with a lam of more than 0; raise one"
    if objective.terms is not None and (said := _contradiction(objective, {term.name: term.lam for term in terms})):
        yield f"{said} and objective.terms contradict; leave one of them out (objective.terms=null takes the list out)"


def _contradiction(objective: ObjectiveConfig, lams: dict[str, float]) -> str | None:
    """The key of the short form that says something else than the list."""
    if objective.base is not None and {objective.base} - {"none"} != lams.keys() - {objective.task_term}:
        return f"objective.base={objective.base}"
    base = lams.get(objective.base or "", 1.0)
    if isinstance(objective.lam, str):
        return f"objective.lam={shorten(objective.lam, 40)}"
    if objective.lam is not None and objective.base != "none" and lams.get(objective.task_term) != objective.lam * base:
        return f"objective.lam={objective.lam:g}"
    return None


def objective_schema(task: str = DEFAULT) -> type:
    """ObjectiveConfig plus one field for the options of each registered objective and weighting.

    So ``objective.mlm.fraction``, ``objective.dwa.window``. Raises ConfigError when two want one name.

    Args:
        task: The registered task, which names its own term.
    """
    options = tuple((f"objective.{kind}={p.name}", p.name, p.options, p.about)
                    for kind, parts in (("base", registry.parts("objective")),
                                        ("weighting", registry.parts("weighting")))
                    for p in parts if fields(p.options))
    return _objective_schema(registry.get("task", task).requires["term"], options)


def _may_be_a_tasks(name: str) -> bool:
    """Whether an objective is what some task itself learns: in that task the name is the task's own term."""
    return any(part.name == name and part.requires.get("of_a_task") for part in registry.parts("objective"))


@cache  # one class for one set of parts, so that equal configurations compare equal
def _objective_schema(task_term: str, parts: tuple[tuple[str, str, type, str], ...]) -> type:
    taken = {field.name: "a key of its own" for field in fields(ObjectiveConfig)}
    taken |= {"none": "no objective at all"}
    if not _may_be_a_tasks(task_term):
        taken[task_term] = "the task's own term"
    made = []
    for chosen, name, options, about in parts:
        if name in taken:
            raise ConfigError(f"the options of {chosen} would stand under objective.{name}, which is {taken[name]}; "
                              "register it under another name")
        taken[name] = f"for those of {chosen}"
        made.append((name, options, key(options, f"options of {chosen}: {about}")))
    return make_dataclass("ObjectiveSchema", made, bases=(ObjectiveConfig,), kw_only=True,
                          namespace={"task_term": task_term})
