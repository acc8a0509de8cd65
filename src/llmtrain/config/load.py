"""The only way from overrides to a typed, checked configuration, for every command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, overload

from llmtrain.config.checks import problems_of, ranges
from llmtrain.config.compose import compose, to_container
from llmtrain.config.convert import build, part_sections, task_sections
from llmtrain.config.from_checkpoint import Stored, changed_by, refuse_fixed
from llmtrain.config.members import settle_members
from llmtrain.config.presets import settle_best_metric
from llmtrain.config.schema import SCHEMAS, Config, EvaluateConfig, TrainConfig
from llmtrain.config.sections.preprocess import settled
from llmtrain.config.sections.task import chosen_task, with_own_keys
from llmtrain.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Loaded:
    """A typed configuration that was not refused yet, with how it came about.

    Attributes:
        config: Typed; nothing below this sees a composed configuration.
        values: The same as plain values, as composed.
        origins: What set each key that a preset changed.
        problems: What does not go together, one line each.
    """

    config: Config
    values: dict[str, Any]
    origins: dict[str, str]
    problems: list[str]


@overload
def load_config(command: Literal["train"], overrides: list[str], *, multirun: bool = False) -> TrainConfig: ...


@overload
def load_config(command: Literal["eval"], overrides: list[str], stored: Stored | None = None) -> EvaluateConfig: ...


@overload
def load_config(command: str, overrides: list[str], stored: Stored | None = None, *, multirun: bool = False,
                ) -> Config: ...


def load_config(command: str, overrides: list[str], stored: Stored | None = None, *, multirun: bool = False,
                ) -> Config:
    """The configuration of a command, typed and checked.

    Args:
        command: One of ``SCHEMAS``; ``data show``, ``sweep`` and ``verify-resume`` take train's.
        overrides: As typed in a shell; path values need no quoting.
        stored: A checkpoint's own configuration, which the overrides change key by key, or a whole group by its name
            (``data=files``). None: the command's yaml alone.
        multirun: A key with several values is answered with --multirun, which the command has.

    Raises:
        ConfigError: With one line for each wrong key, group, option or value; or, where those are right, for each
            thing that does not go together, and for each key that the checkpoint fixes (model, head, objective ...).
        CheckpointError: ``stored`` does not fit the schema.
    """
    if command != "train":
        refuse_fixed(overrides, command, stored)
    loaded = load(command, overrides, stored, multirun=multirun)
    if loaded.problems:
        raise ConfigError(loaded.problems)
    return loaded.config


def load(command: str, overrides: list[str], stored: Stored | None = None, *, multirun: bool = False) -> Loaded:
    """:func:`load_config` without a refusal of what does not go together.

    Raises:
        ConfigError: With one line for each wrong key, group, option or value.
        CheckpointError: ``stored`` does not fit the schema.
    """
    composed, origins = compose(command, overrides, multirun)
    values = to_container(composed)
    if stored is not None:
        values = changed_by(stored, values, overrides, command)
    config = _typed(command, values)
    return Loaded(config, values, origins, problems_of(config))


def _typed(command: str, values: dict[str, Any]) -> Config:
    """Plain values as typed dataclasses, with the presets that need them typed.

    Raises:
        ConfigError: With one line for each key that the schema, or the chosen head, does not have.
    """
    values = with_own_keys(values, chosen_task(values))
    sections = part_sections(values) if command == "train" else task_sections(values)
    config: Config = build(SCHEMAS[command], values, "", **sections)
    if isinstance(config, TrainConfig):
        try:
            settle_members(config)
        except ConfigError as error:  # nothing else can be looked at without them, but the numbers
            raise ConfigError([*error.problems, *ranges(config)]) from error
        settle_best_metric(config)
    config.data.preprocess = settled(config.data.preprocess)
    return config
