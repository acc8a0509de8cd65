"""Checks an override's key, group and option against what exists, and says which name was probably meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from functools import cached_property
from typing import Any

from llmtrain.config.convert import did_you_mean
from llmtrain.config.overrides.synonyms import advice
from llmtrain.config.reference import Key, keys
from llmtrain.core.errors import shorten

HIDDEN_GROUPS = ("schema", "hydra")
NOTED = {  # keys that no user sets
    "fingerprints": "of the files it reads", "command": "of how it was started"}


class Names:
    """What may be named on the command line of one command.

    Args:
        command: One of ``SCHEMAS``.
        loader: Hydra's config loader, which knows the groups and their options.
        chosen: Groups in the command's own defaults list.
        elsewhere: Says where else an option of a group is, if anywhere.
    """

    def __init__(self, command: str, loader: Any, chosen: Iterable[str],
                 elsewhere: Callable[[str, str], str | None] = lambda _group, _option: None) -> None:
        self.command = command
        self.keys: dict[str, Key] = keys(command)
        self.loader = loader
        self.chosen = set(chosen)
        self.elsewhere = elsewhere
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
        if (noted := NOTED.get(name.partition(".")[0])) is not None:
            return f"{name} is what train itself notes {noted}; leave it out"
        value = override.value()
        if (group := name.replace(".", "/")) in self.groups and (
                isinstance(value, (str, list)) or (override.is_delete() and value is None)):
            return self._group_problem(override, group, value)
        if override.package is not None:
            return f"unknown group {name}; {did_you_mean(name, self.groups, 'see `llmtrain --help`')}"
        if name in self.keys or name in self.sections or self.below_open(name):
            if override.is_add() and name in self.keys and not isinstance(value, (dict, list)):
                return f"{override.input_line} adds a key that exists; did you mean {override.input_line[1:]}?"
            key = None if override.is_delete() else self.keys.get(name)
            return None if key is None else value_problem(key, value, override.input_line.partition("=")[2])
        return f"unknown key {name}; {self.meant(name)}"

    def meant(self, name: str) -> str:
        """What to do about a key that there is not: the one that was meant, by another program's name or by likeness.

        A key of the same section whose own name is the same, but for a slip, comes before another program's.
        """
        last, section = name.rpartition(".")[2], name.partition(".")[0]
        same = [path for path in self.keys if path.rpartition(".")[2] == last and path.count(".") < 2]
        if not same and (told := advice(name, {*self.keys, *self.groups})):
            return told
        near = [path for path in same if path.startswith(f"{section}.")] or same or [*self.keys, *self.groups]
        return did_you_mean(name, near, f"`llmtrain config {self.command}` lists the keys")

    def near(self, name: str, names: Iterable[str], otherwise: str) -> str:
        """``did you mean X?`` among ``names``."""
        return did_you_mean(name, names, otherwise)

    def below_open(self, name: str) -> bool:
        return any(key.open and name.startswith(path + ".") for path, key in self.keys.items())

    def _group_problem(self, override: Any, group: str, value: Any) -> str | None:
        options = self.options(group)
        for option in [value] if isinstance(value, str) else value or []:
            if option not in options:
                near = self.near(str(option), options, f"choose from {', '.join(options)}")
                near = self.elsewhere(group, str(option)) or near.replace("did you mean ", f"did you mean {group}=")
                return f"unknown option {group}={option}; {near}"
        if override.is_delete():
            return None
        line = override.input_line
        if group in self.chosen:
            return f"{group} is chosen already; did you mean {line.lstrip('+')}?" if override.is_add() else None
        return None if override.is_add() or override.is_force_add() else (
            f"{group} is not chosen yet and must be added; did you mean +{line}?")


def value_problem(key: Key, value: Any, shown: str) -> str | None:
    """One line for a value that does not fit the key's type as OmegaConf takes it; None where only it can tell.

    ``shown``: the value as it was written.
    """
    if isinstance(value, str) and ("${" in value or value in (*key.choices, key.word)):
        return None
    from omegaconf import BooleanNode, EnumNode, FloatNode, IntegerNode
    from omegaconf.errors import ValidationError

    kinds: dict[Any, Any] = {int: IntegerNode, float: FloatNode, bool: BooleanNode}
    kind = kinds.get(key.type)
    try:
        if kind is not None:
            kind(value, is_optional=key.optional)
        elif isinstance(key.type, type) and issubclass(key.type, Enum):
            EnumNode(key.type, value, is_optional=key.optional)
        elif key.type is not str or not isinstance(value, list | dict):
            return None
        else:
            raise ValidationError
    except (ValidationError, OverflowError) as error:
        if isinstance(error, OverflowError):
            return f"{key.path} is a number out of range; give a smaller one"
        shown = shorten(shown, 80)
        if key.choices:
            hint = did_you_mean(shown, key.choices, f"give {key.expects}")
            return f"{key.path}={shown} is not {key.expects}; {hint}"
        return f"{key.path}={shown} is not {key.expects}{' or null' if key.optional else ''}; give one"
    return None
