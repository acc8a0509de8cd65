"""The configuration of eval and summarize: the checkpoint's own, with what the command line changes.

The stored configuration is data from elsewhere: it is parsed as JSON against the schema and never reaches Hydra.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from llmtrain.config import compose
from llmtrain.config.checks import validate_stored
from llmtrain.config.convert import build, from_dict, task_sections, to_dict
from llmtrain.config.overrides.texts import quote_overrides
from llmtrain.config.reference import SCHEMAS
from llmtrain.config.sections.data import DataConfig
from llmtrain.config.sections.preprocess import settled
from llmtrain.config.sections.task import chosen_task, with_own_keys
from llmtrain.core.errors import CheckpointError, ConfigError

FIXED = ("model", "head", "objective", "optim", "schedule", "tokenizer")
TEXT_SHAPING = (  # of data: a model needs them on any documents
    "preprocess", "long", "head_share", "window_overlap", "selector")
FIXED_KEYS = ("data.long", "data.window_overlap", "data.selector")  # what the model itself was built for
OF_THE_MACHINE = ("cache_dir", "processes", "workers")  # of data: where and how fast, not what is read
OWN = ("checkpoint", "predictions", "input", "summarize")  # of the command alone: never stored


def compose_over(stored: dict[str, Any] | None, overrides: list[str], command: str, at: str | None = None,
                 ) -> compose.Config:
    """The configuration of ``eval`` or ``summarize``.

    Args:
        stored: ``to_dict`` of the TrainConfig in the checkpoint; None when there is no model, which composes the
            command's yaml alone.
        overrides: As typed: a key replaces that key, a group (``data=files``) replaces that whole group.
        command: eval or summarize.
        at: The file that ``stored`` came from, for messages.

    Raises:
        ConfigError: A wrong key, group or value, or one that the checkpoint fixes (model, head, objective ...).
        CheckpointError: ``stored`` does not fit the schema.
    """
    _refuse_fixed(overrides, command, FIXED if stored is None else ("task", *FIXED))
    values = compose.to_container(compose.compose(command, overrides))
    if stored is None:
        return _typed(command, values)
    base = to_dict(from_dict(stored, at, CheckpointError, scoring=True))
    base["eval"]["output"] = None  # the run's own output folder; scoring again must not overwrite it
    # a model that comes from elsewhere must not choose where is written, nor how many processes are started here
    base["data"] |= {name: getattr(DataConfig(), name) for name in OF_THE_MACHINE}
    result = {field.name: values[field.name] if field.name in OWN else base[field.name]
              for field in fields(SCHEMAS[command])}
    parsed = compose.parse(quote_overrides(overrides, command))
    groups = [o.key_or_group for o in parsed if o.key_or_group in result and isinstance(o.value(), str)]
    of_the_model = {name: base["data"][name] for name in TEXT_SHAPING}
    for name in groups:
        result[name] = values[name]
    result["data"] = result["data"] | of_the_model
    for override in parsed:
        if override.key_or_group not in groups and not override.key_or_group.startswith("hydra"):
            _replace(result, values, override.key_or_group.split("."))
    return _typed(command, result)


def _typed(command: str, values: dict[str, Any]) -> compose.Config:
    values = with_own_keys(values, chosen_task(values))
    typed: compose.Config = build(SCHEMAS[command], values, "", **task_sections(values))
    typed.data.preprocess = settled(typed.data.preprocess)
    validate_stored(typed)
    return typed


def _replace(result: dict[str, Any], values: dict[str, Any], path: list[str]) -> None:
    """Set the value at a dotted path of ``result`` to the one that was composed; a deleted key takes its default."""
    for name in path[:-1]:
        result, values = result[name], values[name]
    if path[-1] in values:
        result[path[-1]] = values[path[-1]]
    else:
        result.pop(path[-1], None)


def _refuse_fixed(overrides: list[str], command: str, fixed: tuple[str, ...]) -> None:
    problems = []
    for override in overrides:
        name = override.lstrip("+~").partition("=")[0].partition("@")[0].strip()
        section = name.replace("/", ".").partition(".")[0]
        if section in fixed or name in FIXED_KEYS:
            problems.append(f"{name} is fixed by the checkpoint and cannot be given to {command}; leave it out")
        elif section in ("experiment", "debug"):
            problems.append(f"{override} configures a training run and cannot be given to {command}; leave it out, or "
                            "name the groups it chose")
    if problems:
        raise ConfigError(problems)
