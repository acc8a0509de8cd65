"""What a command takes over from a checkpoint: its own configuration, with what the command line changes.

The stored configuration is data from elsewhere: it is parsed as JSON against the schema and never reaches Hydra.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from llmtrain.config.compose import parse
from llmtrain.config.convert import did_you_mean, from_dict, to_dict
from llmtrain.config.members import members_of
from llmtrain.config.overrides.texts import quote_overrides
from llmtrain.config.schema import FROM_CHECKPOINT, SCHEMAS, TrainConfig
from llmtrain.config.sections.data import DataConfig
from llmtrain.config.sections.task import every_task
from llmtrain.core.errors import CheckpointError, ConfigError

FIXED = ("model", "head", "objective", "optim", "schedule", "tokenizer")
TEXT_SHAPING = (  # of data: a model needs them on any documents
    "preprocess", "long", "head_share", "window_overlap", "selector")
FIXED_KEYS = ("data.long", "data.window_overlap", "data.selector")  # what the model itself was built for
OF_THE_MACHINE = ("cache_dir", "processes", "workers")  # of data: where and how fast, not what is read
OWN = frozenset(field.name for command in FROM_CHECKPOINT for field in fields(SCHEMAS[command])) - frozenset(
    field.name for field in fields(TrainConfig))  # of the command alone: never stored


@dataclass(frozen=True, slots=True)
class Stored:
    """The configuration that a checkpoint holds.

    Attributes:
        content: ``to_dict`` of its TrainConfig.
        at: The file that it was read from, for messages.
    """

    content: dict[str, Any]
    at: str | None = None


def of_task(stored: Stored, named: str | None, folder: object) -> tuple[Stored, str]:
    """The stored configuration as that of a run of one of its tasks, and the task's name in the run.

    Args:
        named: The task that is asked for; a run of one task has no other.
        folder: The model's, for messages.

    Raises:
        CheckpointError: What is stored does not fit the schema.
        ConfigError: There is no such task, or which of several is meant is not said.
    """
    config = from_dict(stored.content, stored.at, CheckpointError, scoring=True)
    members = members_of(config)
    if not members[0].name:
        return stored, ""
    names = [member.name for member in members]
    if named is None:
        raise ConfigError(f"the model at {folder} has learnt several tasks, {', '.join(names)}; name the one that is "
                          "meant, task=NAME")
    if named not in names:
        raise ConfigError(f"the model at {folder} has learnt no task {named!r}; "
                          + did_you_mean(named, names, f"choose from {', '.join(names)}"))
    member = members[names.index(named)]
    # nothing of the joint loss is asked any more, and its terms have other names than those of the task alone
    content = to_dict(member.config) | {"objective": {"base": "none", "lam": 1.0}, "fingerprints": None}
    return Stored(content, stored.at), named


def changed_by(stored: Stored, values: dict[str, Any], overrides: list[str], command: str) -> dict[str, Any]:
    """The stored configuration with what the overrides change.

    Args:
        values: What the command's yaml and the overrides compose to.
        overrides: As typed: a key replaces that key, a group (``data=files``) replaces that whole group.

    Raises:
        CheckpointError: What is stored does not fit the schema.
    """
    base = to_dict(from_dict(stored.content, stored.at, CheckpointError, scoring=True))
    base["eval"]["output"] = None  # the run's own output folder; scoring again must not overwrite it
    # a model that comes from elsewhere must not choose where is written, nor how many processes are started here
    base["data"] |= {name: getattr(DataConfig(), name) for name in OF_THE_MACHINE}
    result = {field.name: values[field.name] if field.name in OWN else base[field.name]
              for field in fields(SCHEMAS[command])}
    parsed = parse(quote_overrides(overrides, command))
    groups = [o.key_or_group for o in parsed if o.key_or_group in result and isinstance(o.value(), str)]
    of_the_model = {name: base["data"][name] for name in TEXT_SHAPING}
    for name in groups:
        result[name] = values[name]
    result["data"] = result["data"] | of_the_model
    for override in parsed:
        if override.key_or_group not in groups and not override.key_or_group.startswith("hydra"):
            _replace(result, values, override.key_or_group.split("."))
    return result


def _replace(result: dict[str, Any], values: dict[str, Any], path: list[str]) -> None:
    """Set the value at a dotted path of ``result`` to the one that was composed; a deleted key takes its default."""
    for name in path[:-1]:
        result, values = result[name], values[name]
    if path[-1] in values:
        result[path[-1]] = values[path[-1]]
    else:
        result.pop(path[-1], None)


def refuse_fixed(overrides: list[str], command: str, stored: Stored | None) -> None:
    """Raise ConfigError with one line for each override of a key that the checkpoint fixes."""
    fixed = FIXED if stored is None else ("task", *FIXED)
    built_for = {f"data.{field.name}" for field in fields(every_task("data")) if field.metadata.get("fixed")}
    problems = []
    for override in overrides:
        name = override.lstrip("+~").partition("=")[0].partition("@")[0].strip()
        section = name.replace("/", ".").partition(".")[0]
        if section in fixed or name in FIXED_KEYS or name in built_for:
            problems.append(f"{name} is fixed by the checkpoint and cannot be given to {command}; leave it out")
        elif section in ("experiment", "debug"):
            problems.append(f"{override} configures a training run and cannot be given to {command}; leave it out, or "
                            "name the groups it chose")
    if problems:
        raise ConfigError(problems)
