"""What commands that take a checkpoint share: the one that is named, and the configuration they start from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmtrain.cli.commands.print_configuration import print_configuration
from llmtrain.config.convert import from_dict, to_dict
from llmtrain.config.decode_checks import idle_settings
from llmtrain.config.from_checkpoint import Stored, of_task
from llmtrain.config.load import load_config
from llmtrain.config.members import members_of
from llmtrain.config.overrides.paths import path_value, split_override
from llmtrain.config.schema import Config
from llmtrain.core.errors import CheckpointError, ConfigError


@dataclass(frozen=True, slots=True)
class Opened:
    """A checkpoint that a command takes.

    Attributes:
        folder: Its verified model folder.
        step: Its step.
        config: The command's configuration over the stored one.
        task: Which of several tasks is meant; empty for a model of one.
    """

    folder: Path
    step: int
    config: Config
    task: str = ""


def open_stored(overrides: list[str], command: str) -> Opened:
    """The checkpoint that the overrides name; of a model of several tasks, as one of the task that they name.

    Raises:
        ConfigError: No checkpoint is named, nothing is there, or which of several tasks is meant is not said.
        CheckpointError: It is damaged.
    """
    from llmtrain.checkpoint import check_plugins, locate_model, read_model_config
    from llmtrain.inference.published import check_predicts

    named = path_value(overrides, "checkpoint")
    if named is None:
        raise ConfigError(f"{command} needs checkpoint=PATH; name a run folder, a pointer, a step or a model folder")
    folder = locate_model(Path(named))
    content = read_model_config(folder)
    check_plugins(content, folder)
    check_predicts(content, folder)
    stored, task = of_task(Stored(content["config"], str(folder / "llmtrain.json")), path_value(overrides, "task"),
                           folder)
    if task:
        overrides = [one for one in overrides if (parts := split_override(one)) is None or parts[1] != "task"]
    return Opened(folder, int(content["step"]), load_config(command, overrides, stored), task)


def tasks_in(path: str) -> list[str]:
    """The names of the tasks of a checkpoint that has learnt several; of one, an empty name.

    Raises:
        ConfigError: Nothing is there.
        CheckpointError: It is damaged.
    """
    from llmtrain.checkpoint import check_plugins, locate_model, read_model_config

    folder = locate_model(Path(path))
    content = read_model_config(folder)
    check_plugins(content, folder)
    stored = from_dict(content["config"], str(folder / "llmtrain.json"), CheckpointError, scoring=True)
    return [member.name for member in members_of(stored)]


def idle_told(config: Config, overrides: list[str], writes: bool) -> list[str]:
    """One line for each decode setting that does nothing; with a head that chooses sentences, of those that were typed:
    the run may have been made of an experiment that decodes for heads that write."""
    lines = idle_settings(config.generation, writes)
    return [line for line in lines if writes or any(line.partition("=")[0] in override for override in overrides)]


def show_configuration(overrides: list[str], command: str) -> int:
    """Print what ``--cfg job`` asks for: over the checkpoint's own where one is named, else the command's defaults."""
    named = path_value(overrides, "checkpoint") is not None
    config = open_stored(overrides, command).config if named else load_config(command, overrides)
    return print_configuration(to_dict(config))
