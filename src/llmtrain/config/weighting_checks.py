"""What a weighting needs of the rest of the configuration, told before any weight is read."""

from __future__ import annotations

from collections.abc import Iterator

from llmtrain import registry
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.objective import Term, measures_lambda
from llmtrain.config.terms import terms_of_run
from llmtrain.core.errors import LlmtrainError


def problems_of_weighting(config: TrainConfig) -> Iterator[str]:
    """One line for each fact that the chosen weighting registers (objectives/weighting/options.py) and misses."""
    objective = config.objective
    try:
        part = registry.get("weighting", objective.weighting)
    except LlmtrainError as error:
        yield f"objective.weighting: {error}"
        return
    facts, terms, chosen = part.requires, terms_of_run(config), f"objective.weighting={objective.weighting}"
    if facts.get("joint") and len({term.of_task for term in terms}) < 2:
        yield (f"{chosen} needs the {objective.task_term} and a base term beside it; add one to objective.base or "
               "objective.terms")
    elif len(terms) < facts.get("terms", 0):
        yield (f"{chosen} weighs at least {facts['terms']} terms and there are {len(terms)}; add one, or use "
               "objective.weighting=fixed")
    for term in terms:
        if facts.get("positive") and term.lam == 0:
            yield f"{chosen} starts from the lams and {term.name}'s is 0; give it more than 0"
    if facts.get("trunk") and config.model.freeze == "all":
        yield f"{chosen} reads gradients of the base and model.freeze=all leaves none; use objective.weighting=fixed"
    yield from _course(config, bool(facts.get("course")), chosen)
    if measures_lambda(objective):
        yield from _measured(config, terms)
        chosen = "objective.lam=auto"
    best = config.trainer.best_metric
    if (facts.get("moves") or measures_lambda(objective)) and (best == "loss.total" or best.endswith(".weighted")):
        yield (f"trainer.best_metric={best} changes its meaning as {chosen} moves the weights; choose a metric of the "
               "task or loss.TERM")


def _measured(config: TrainConfig, terms: list[Term]) -> Iterator[str]:
    """objective.lam=auto needs two gradients on a base that is trained, and steps that are left after it."""
    objective, most = config.objective, config.trainer.max_steps
    if len({term.of_task for term in terms}) < 2:
        yield (f"objective.lam=auto balances a base term with the {objective.task_term} and objective.base="
               f"{objective.base} has none; choose an objective.base, or leave objective.lam out")
    if objective.weighting != "fixed":
        yield (f"objective.lam=auto and objective.weighting={objective.weighting} both say what lambda is; give "
               "objective.lam a number, or use objective.weighting=fixed")
    if config.model.freeze == "all":
        yield ("objective.lam=auto reads gradients of the base and model.freeze=all leaves none; give objective.lam a "
               "number")
    if most is not None and objective.auto_steps >= most:
        yield (f"objective.lam=auto is measured over objective.auto_steps={objective.auto_steps} steps, all of "
               f"trainer.max_steps={most}; lower objective.auto_steps")


def _course(config: TrainConfig, moves: bool, chosen: str) -> Iterator[str]:
    """lam_start and lam_steps belong together, and to a weighting that follows them."""
    start, steps = config.objective.lam_start, config.objective.lam_steps
    if moves:
        if start is None:
            yield f"{chosen} needs objective.lam_start, where lambda begins; set it"
        if steps == 0 and config.trainer.max_minutes is not None:
            yield (f"{chosen} needs objective.lam_steps, the steps over which lambda moves, since trainer.max_minutes "
                   "gives no number of steps; set it")
        return
    given = {"lam_start": start is not None, "lam_steps": steps > 0}
    if names := [f"objective.{name}" for name, is_given in given.items() if is_given]:
        several = len(names) > 1
        yield (f"{' and '.join(names)} {'are' if several else 'is'} set and {chosen} does not move lambda; use "
               f"objective.weighting=linear or cosine, or leave {'them' if several else 'it'} out")
