"""The defaults list of a user's own configuration file, whose entries choose llmtrain's groups as they read."""

from __future__ import annotations

from typing import Any

from llmtrain.config.overrides.config_yaml import OwnFile
from llmtrain.config.overrides.names import Names
from llmtrain.core.errors import ConfigError

EXPERIMENT = "experiment"


def normalise_defaults(file: OwnFile, own: str, names: Names) -> None:
    """Let ``- model: minilm`` and ``- override model: minilm`` of an experiment choose our groups, as they read.

    Args:
        file: Its content is changed.
        own: The group that the file is an option of.
        names: What may be named on the command line.

    Raises:
        ConfigError: With one line for each entry that chooses nothing.
    """
    listed = file.content.get("defaults")
    if listed is None:
        return
    if not isinstance(listed, list) or not all(isinstance(entry, str | dict) and entry for entry in listed):
        raise ConfigError(f"defaults at {file.path} is not a list of names; write `- override /GROUP: NAME`")
    made: list[Any] = []
    problems: list[str] = []
    for entry in listed:
        if isinstance(entry, str):
            made.append(entry)
            continue
        pairs = {}
        for written, option in entry.items():
            name = str(written).removeprefix("override ").strip()
            forced, group, where = str(written).startswith("override "), *name.partition("@")[::2]
            plain = group.removeprefix("/")
            if plain.startswith("hydra"):
                problems.append(f"{plain} is a setting of Hydra's own, which is not read here, at {file.path}; leave "
                                "it out")
                continue
            if isinstance(option, int | float) and not isinstance(option, bool):
                problems.append(f"defaults: {plain}: {option} is read as a number at {file.path}; quote it")
                continue
            inside = own.partition("/")[0] == EXPERIMENT and f"{own}/{plain}" not in names.groups
            if (group.startswith("/") or inside) and not plain.startswith("schema/"):
                if problem := _choice_problem(plain, option, names):
                    problems.append(f"{problem[0]} in defaults at {file.path}; {problem[1]}")
                    continue
                if not where:
                    forced, name = forced or plain in names.chosen, f"/{plain}"
            pairs[f"override {name}" if forced else name] = option
        if pairs:
            made.append(pairs)
    if problems:
        raise ConfigError(problems)
    file.content["defaults"] = made


def _choice_problem(group: str, option: Any, names: Names) -> tuple[str, str] | None:
    """What is wrong with a choice of a defaults list, and what to do."""
    if group not in names.groups:
        return f"unknown group {group}", names.near(group, names.groups, "see `llmtrain --help`")
    known = names.options(group)
    for one in option if isinstance(option, list) else [option]:
        if isinstance(one, str) and one not in known:
            return f"unknown option {group}: {one}", names.near(one, known, f"choose from {', '.join(known)}")
    return None
