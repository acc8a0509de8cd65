"""From a checked configuration to the facts of a run: what it stands on is found, and the two are held together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from llmtrain.checkpoint import locate_model, read_model_config
from llmtrain.config.choices import TuningName
from llmtrain.config.members import Member, members_of
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sentence_input import sentence_input
from llmtrain.config.terms import Terms
from llmtrain.core.errors import CheckpointError, ConfigError, LlmtrainError
from llmtrain.data.special_tokens import misfits
from llmtrain.data.truncation import frame
from llmtrain.models.architectures import class_of
from llmtrain.models.backbone.base_facts import Base
from llmtrain.models.backbone.families import freeze
from llmtrain.models.backbone.long_context import is_stretched, length_problems
from llmtrain.models.backbone.lora import chosen_layers
from llmtrain.models.backbone.pretrained import open_base, skeleton
from llmtrain.models.publish import is_base
from llmtrain.objectives.base_fit import fit_problems
from llmtrain.objectives.build import frozen_problems
from llmtrain.tasks.task import task_named
from llmtrain.training.spec import RunSpec, StartingPoint, TaskSpec

MANY = 1 << 30  # positions, of a base that has no end


def resolve(config: TrainConfig, fresh: bool = True) -> RunSpec:
    """Find every fact of a run and check what base and configuration ask of each other. No weight is read.

    Args:
        config: Checked by itself.
        fresh: No checkpoint will be restored, so that the weights of ``model.init_from`` count.

    Raises:
        ConfigError: The base cannot be used, or with one line for each thing that does not go with it.
        CheckpointError: Its weights are damaged, or its tokenizer has ids that it has no embedding for.
    """
    base, members = open_base(config.model), members_of(config)
    spec = RunSpec(config=config, task=task_named(config.task.name), tasks=tuple(map(_task, members)),
                   terms=Terms.of(config.objective, members), base=base, start=StartingPoint(base),
                   architecture=class_of(config.head.name))
    damaged = misfits(base.tokenizer, base.vocabulary, base.path)
    problems = [*fit_problems(spec.terms.base, base), *_layer_problems(config, base)]
    for one in spec.tasks:
        problems += map(one.member.told, (*_length_problems(one, base), *one.task.problems_with(one.config, base)))
    if problems:
        raise ConfigError([*problems, *damaged])
    if damaged:
        raise CheckpointError(damaged)
    return replace(spec, start=starting_point(config, base, fresh))


def _task(member: Member) -> TaskSpec:
    config = member.config
    longest = max(config.data.max_target_tokens, config.generation.max_new_tokens)
    behind = MANY - class_of(config.head.name).source_limit(MANY, longest)
    return TaskSpec(member, task_named(config.task.name), sentence_input(config), behind)


def _layer_problems(config: TrainConfig, base: Base) -> list[str]:
    """What is asked of the base's layers and is not there, or leaves none: told by a base without weights."""
    adapted = config.tuning.name is TuningName.lora and config.tuning.targets is not None
    if not adapted and not config.model.freeze.isdecimal():
        return []
    trunk = skeleton(base)
    try:
        if adapted:
            chosen_layers(trunk, config.tuning)
            return []
        frozen = freeze(trunk, config.model.freeze)
    except ConfigError as error:
        return error.problems
    if config.model.freeze_until_step:
        return []
    for parameter in frozen:
        parameter.requires_grad_(False)
    return list(frozen_problems(config.objective, trunk, config.model.freeze))


def _length_problems(one: TaskSpec, base: Base) -> Iterator[str]:
    data = one.config.data
    if (least := sum(frame(base.tokenizer)) + 1) > data.max_source_tokens:
        yield (f"data.max_source_tokens={data.max_source_tokens} leaves no room for a document beside its special "
               f"tokens; set {least} or more")
    yield from length_problems(data, base, base.positions - one.behind_document, one.config.head.name)


def starting_point(config: TrainConfig, base: Base, fresh: bool) -> StartingPoint:
    """What ``model.init_from`` says, beside ``model.path``'s ``base``.

    A base that was trained alone takes that one's place, with its masked-LM head.

    Args:
        fresh: As in :func:`resolve`. A run that goes on is built on the base that it started from; its weights do not
            count, what it is made of does. A source that is gone or damaged by now may not have been needed:
            ``check_origin`` tells when it was.

    Raises:
        ConfigError: The earlier run had another base.
        CheckpointError: It is damaged.
    """
    if config.model.init_from is None:
        return StartingPoint(base)
    try:
        folder = locate_model(config.model.init_from)
        if not is_base(folder):
            return StartingPoint(base, folder, is_stretched(folder)) if fresh else StartingPoint(base)
        _check_same_base(config, read_model_config(folder)["config"])
        return StartingPoint(open_base(replace(config.model, path=str(folder), revision=None), base.tokenizer))
    except LlmtrainError:
        if fresh:
            raise
        return StartingPoint(base)


def _check_same_base(config: TrainConfig, before: dict[str, Any]) -> None:
    """Raise ConfigError where the run that ``model.init_from`` names had another base."""
    model = config.model
    there, here = (found.get("model.path") if isinstance(found, dict) else None
                   for found in (before.get("fingerprints"), config.fingerprints))
    if before["model"]["path"] != model.path and (there is None or there != here):
        raise ConfigError(f"model.init_from={model.init_from} went on from the base at {before['model']['path']} and "
                          f"model.path is {model.path}; use the same model")
