"""Checks an override's key, group and option against what exists, and says which name was probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from llmtrain.config.reference import Key, keys
from llmtrain.config.typed import did_you_mean

HIDDEN_GROUPS = ("schema", "hydra")
NOTED = "fingerprints"  # a key that no user sets


class Names:
    """What may be named on the command line of one command.

    Args:
        command: train, eval or summarize.
        loader: Hydra's config loader, which knows the groups and their options.
        chosen: Groups in the command's own defaults list.
    """

    def __init__(self, command: str, loader: Any, chosen: Iterable[str]) -> None:
        self.command = command
        self.keys: dict[str, Key] = keys(command)
        self.loader = loader
        self.chosen = set(chosen)
        self.sections = {path.rpartition(".")[0] for path in self.keys} | {p.split(".")[0] for p in self.keys}
        self.sections.discard("")

    @cached_property
    def groups(self) -> list[str]:
        """Names of the config groups. Hydra reads its whole store again for each asking."""
        return [name for name in self.loader.list_groups("") if name not in HIDDEN_GROUPS]

    def options(self, group: str) -> list[str]:
        """Options of a group."""
        return list(self.loader.get_group_options(group))

    def problem(self, override: Any) -> str | None:
        """What is wrong with a parsed override's names, in one line; None when they all exist."""
        name = override.key_or_group
        if name == "hydra" or name.startswith(("hydra.", "hydra/")):
            return (f"{name} is a setting of Hydra's own, which is not read here; leave it out (run.root and run.name "
                    "say where a run goes)")
        if name.partition(".")[0] == NOTED:
            return f"{name} is what train itself notes of the files it reads; leave it out"
        value = override.value()
        if (group := name.replace(".", "/")) in self.groups and (
                isinstance(value, (str, list)) or (override.is_delete() and value is None)):
            return self._group_problem(override, group, value)
        if override.package is not None:
            return f"unknown group {name}; {did_you_mean(name, self.groups, 'see `llmtrain --help`')}"
        if name in self.keys or name in self.sections or self._below_open(name):
            if override.is_add() and name in self.keys and not isinstance(value, (dict, list)):
                return f"{override.input_line} adds a key that exists; did you mean {override.input_line[1:]}?"
            return None
        return f"unknown key {name}; " + did_you_mean(
            name, [*self.keys, *self.groups], f"`llmtrain config {self.command}` lists the keys")

    def _below_open(self, name: str) -> bool:
        return any(key.open and name.startswith(path + ".") for path, key in self.keys.items())

    def _group_problem(self, override: Any, group: str, value: Any) -> str | None:
        options = self.options(group)
        for option in [value] if isinstance(value, str) else value or []:
            if option not in options:
                near = did_you_mean(str(option), options, f"choose from {', '.join(options)}")
                near = near.replace("did you mean ", f"did you mean {group}=")
                return f"unknown option {group}={option}; {near}"
        if override.is_delete():
            return None
        line = override.input_line
        if group in self.chosen:
            return f"{group} is chosen already; did you mean {line.lstrip('+')}?" if override.is_add() else None
        return None if override.is_add() or override.is_force_add() else (
            f"{group} is not chosen yet and must be added; did you mean +{line}?")
