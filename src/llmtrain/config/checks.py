"""Checks that involve several keys, or facts the schema cannot hold: every problem is told at once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from llmtrain import registry
from llmtrain.config.bounds import out_of_range
from llmtrain.config.choices import LongMode, ScheduleName, TuningName
from llmtrain.config.decode_checks import decoding_problems
from llmtrain.config.members import each, is_several, members_of, ranges_of_members
from llmtrain.config.presets import LENGTHS
from llmtrain.config.schema import Config, EvaluateConfig, TrainConfig
from llmtrain.config.sections.objective import (
    base_terms_of,
    documents_alone,
    needs_targets,
    problems_of_terms,
    reads_documents_alone,
    reads_labels,
    terms_apart,
)
from llmtrain.config.sections.preprocess import steps_for_l1
from llmtrain.config.sections.tuning import problems_of_tuning
from llmtrain.config.sentence_input import selector_problems, sentence_problems
from llmtrain.config.task_fit import head_problems, problems_of_task
from llmtrain.config.terms import terms_of_run
from llmtrain.config.weighting_checks import problems_of_weighting
from llmtrain.core.errors import ConfigError, LlmtrainError


def problems_of(config: Config) -> list[str]:
    """What is out of range or does not go together, one line each: of train's all, of other commands' what
    those can change."""
    if not isinstance(config, TrainConfig):
        return [*ranges(config), *_alone(config), *decoding_problems(config.generation), *_held_out(config),
                *_scoring(config)]
    return [*ranges(config), *ranges_of_members(config), *_lengths(config), *_best(config),
            *config.trainer.problems_of_tracker(), *_objective(config), *_model(config), *_optim(config),
            *each(config, _data), *each(config, lambda one: decoding_problems(one.generation)),
            *each(config, _held_out), *each(config, _scoring)]


def _alone(config: Config) -> Iterator[str]:
    """Tasks that are learnt together are predicted and scored one at a time."""
    if is_several(config.task.name):
        yield (f"task={config.task.name} is several tasks; name the one that is meant, checkpoint=PATH task=NAME, or "
               "where no model is asked its own task")


def ranges(config: Config) -> Iterator[str]:
    """One line for each number that is out of its key's range."""
    yield from out_of_range(config, unread=frozenset(_unread(config)))


def _unread(config: Config) -> Iterator[str]:
    """Sections of what is not chosen: nothing reads them, so that what they say is no mistake."""
    if config.data.name != "docstrings":
        yield "data.docstrings"
    if not isinstance(config, TrainConfig):
        return
    if config.tuning.name is not TuningName.lora:
        yield "tuning"
    chosen = {"objective": {*base_terms_of(config.objective), config.objective.weighting}, "optim": {config.optim.name}}
    for section, kinds in (("objective", ("objective", "weighting")), ("optim", ("optimizer",))):
        yield from (f"{section}.{part.name}" for kind in kinds for part in registry.parts(kind)
                    if part.name not in chosen[section])


def _lengths(config: TrainConfig) -> Iterator[str]:
    named = [name for name in LENGTHS if getattr(config.trainer, name) is not None]
    if len(named) != 1:
        given = " and ".join(f"trainer.{name}" for name in named) or "none"
        yield f"exactly one of trainer.max_steps, max_epochs and max_minutes must be given, not {given}; choose one"
    if config.trainer.max_minutes is not None and config.schedule.name in (ScheduleName.linear, ScheduleName.cosine):
        yield (f"schedule.name={config.schedule.name.value} needs a known number of steps, which trainer.max_minutes "
               "does not give; use schedule=constant_cooldown")
    if config.trainer.batch_size < config.trainer.accumulate:
        yield (f"trainer.accumulate={config.trainer.accumulate} is more than trainer.batch_size="
               f"{config.trainer.batch_size}; each micro-batch needs a row")
    elif config.trainer.accumulate > 0 and config.trainer.batch_size % config.trainer.accumulate:
        yield (f"trainer.accumulate={config.trainer.accumulate} must divide trainer.batch_size="
               f"{config.trainer.batch_size}; change one of them")


def _best(config: TrainConfig) -> Iterator[str]:
    """What validation logs is known before it runs: every metric of the task, and a loss for each term."""
    names = [term.name for term in terms_of_run(config)]
    metrics = [*registry.get("task", config.task.name).requires["metrics"],
               *(member.named(metric) for member in members_of(config) if member.name
                 for metric in registry.get("task", member.config.task.name).requires["metrics"])]
    known = [*metrics, "loss.total", *(f"loss.{name}{end}" for name in names for end in ("", ".weighted"))]
    if (name := config.trainer.best_metric) not in known:
        yield f"trainer.best_metric={name} is not logged by the validation; choose from {', '.join(known)}"


def _objective(config: TrainConfig) -> Iterator[str]:
    objective = config.objective
    yield from problems_of_terms(objective)
    for name in base_terms_of(objective):
        try:
            if name not in ("", "none"):
                registry.get("objective", name)
                yield from _own(getattr(objective, name))
                yield from each(config, partial(_beside, getattr(objective, name)))
        except LlmtrainError as error:
            yield f"objective.{'base' if objective.terms is None else 'terms'}: {error}"
    yield from problems_of_weighting(config)
    weighting = getattr(objective, objective.weighting, None)
    yield from _own(weighting)
    yield from _beside(weighting, config)


def _model(config: TrainConfig) -> Iterator[str]:
    if config.model.freeze not in ("none", "all") and not config.model.freeze.isdecimal():
        yield f"model.freeze={config.model.freeze} is none of none, all and a number of layers; use one of them"
    if config.model.unfreeze_every and (config.model.freeze_until_step or config.model.freeze == "all"):
        other = "freeze_until_step" if config.model.freeze_until_step else "freeze=all"
        yield f"model.unfreeze_every and model.{other} both hold the whole base back; choose one of them"
    if is_several(config.task.name):
        yield from head_problems(config)
    yield from each(config, problems_of_task)
    yield from each(config, lambda one: _own(one.task))
    yield from each(config, lambda one: _beside(one.task, one))
    yield from problems_of_tuning(config.tuning, config.model)
    yield from each(config, _head)


def _head(config: TrainConfig) -> Iterator[str]:
    yield from _own(config.head)
    yield from sentence_problems(config)
    yield from _beside(config.head, config)


def _own(options: Any) -> Iterator[str]:
    """What the options of a registered part say of each other."""
    if hasattr(options, "problems"):
        yield from options.problems()


def _beside(options: Any, config: TrainConfig) -> Iterator[str]:
    """What the options of a registered part say of the rest of the configuration."""
    if hasattr(options, "problems_in"):
        yield from options.problems_in(config)


def _optim(config: TrainConfig) -> Iterator[str]:
    optim = config.optim
    try:
        registry.get("optimizer", optim.name)
    except LlmtrainError as error:
        yield f"optim.name: {error}"
    yield from _average(config)
    yield from _own(getattr(optim, optim.name, None))


def _average(config: TrainConfig) -> Iterator[str]:
    count, kept = config.optim.average_last, config.trainer.keep_last
    if count == 1:
        yield f"optim.average_last={count} must be 0 (off) or at least 2; change it"
    elif count > kept:
        yield f"optim.average_last={count} is more than trainer.keep_last={kept} keeps; raise that to {count}"
    if count and config.optim.ema_decay > 0:
        yield "optim.average_last and optim.ema_decay both average the published weights; choose one of them"


def _data(config: TrainConfig) -> Iterator[str]:
    data = config.data
    if config.fingerprints is not None:
        yield "fingerprints is what train itself notes of the files it reads; leave it out"
    if config.command is not None:
        yield "command is what train itself notes of how it was started; leave it out"
    if data.unlabelled is not None and not reads_documents_alone(config.objective):
        able = documents_alone()
        yield (f"data.unlabelled needs a base term that reads documents alone; use an objective.base of "
               f"{', '.join(able)}, or leave data.unlabelled out")
    if data.unlabelled is not None and needs_targets(config.objective) and config.trainer.batch_size < 2:
        yield ("data.unlabelled needs room in a step for a pair and a document alone; set trainer.batch_size to 2 or "
               "more")
    if data.label is not None and not reads_labels(config.objective) and data.columns().target_key != "data.label":
        yield (f"data.label={data.label} is read by nothing: task={config.task.name} learns another thing; add the "
               "term label to objective.terms, or leave data.label out")
    if data.name == "files" and not data.train:
        yield "data=files needs data.train; name a file, a list or a glob"
    if data.name == "hub" and not data.hub.name:
        yield "data=hub needs data.hub.name; give a dataset name or a local folder in the hub's layout"
    head = registry.get("head", config.head.name)
    if data.long is LongMode.sliding and not head.requires.get("windows", True):
        yield (f"data.long=sliding reads a document in windows and head={head.name} reads and writes in one piece; use "
               "data.long=interpolate or head_tail")
    yield from selector_problems(config)
    try:
        l1_steps = steps_for_l1(data.preprocess)
    except ConfigError as error:
        yield from error.problems
        return
    for name in l1_steps:
        yield from _l1_text(config, name)


def _held_out(config: Config) -> Iterator[str]:
    data = config.data
    if data.validation_from_train is None:
        return
    if data.name == "docstrings":
        yield "data.validation_from_train needs data=files or data=hub; data=docstrings has a validation split"
    elif data.validation is not None:
        yield "data.validation and data.validation_from_train both name the validation rows; choose one of them"


def _scoring(config: Config) -> Iterator[str]:
    if (several := config.eval.precisions) is not None:
        if not isinstance(config, EvaluateConfig):
            yield "eval.precisions is for `llmtrain eval checkpoint=PATH` alone; leave it out"
        elif len(several) < 2 or len(set(several)) < len(several):
            yield "eval.precisions compares two or more different ones; write eval.precisions=[fp32,bf16]"
    yield from _own(config.data)
    yield from _own(config.eval)


def _l1_text(config: TrainConfig, step: str) -> Iterator[str]:
    """A text for l1 alone needs a base objective that reads it in a pass of its own."""
    used = base_terms_of(config.objective)
    able = [part.name for part in registry.parts("objective") if part.requires.get("own_pass")]
    another = f"data.preprocess: {step} with apply=l1 gives the base's own term another text and"
    if not used:
        yield (f"data.preprocess: {step} with apply=l1 shapes the text of the base's own term and objective.base=none "
               "has none; use apply=document, or choose objective.base")
    elif not set(used) & set(able):
        yield (f"{another} objective.base={','.join(used)} reads the task's; use apply=document, or an "
               f"objective.base of {', '.join(able)}")
    elif not terms_apart(config.objective):
        name = next(name for name in used if name in able)
        yield (f"{another} objective.{name}.shared_pass=true reads the task's; use apply=document, or "
               "shared_pass=false")
