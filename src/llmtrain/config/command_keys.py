"""Keys that a command has beside those of train, such as ``show.*`` of ``llmtrain data show``."""

from __future__ import annotations

from typing import TypeVar

from llmtrain.config.bounds import out_of_range
from llmtrain.config.compose import parse, refuse_sweeps
from llmtrain.config.convert import build
from llmtrain.core.errors import ConfigError

Keys = TypeVar("Keys")


def own_keys(schema: type[Keys], name: str, overrides: list[str]) -> tuple[Keys, list[str]]:
    """(the command's own keys, typed and checked, the overrides that are left).

    Args:
        schema: A dataclass of them.
        name: What stands before the point.

    Raises:
        ConfigError: With one line for each that is unknown, of another type or out of its range.
    """
    parsed = parse([one for one in overrides if one.startswith(f"{name}.")])
    refuse_sweeps(parsed, "give one value")
    values = {one.key_or_group.removeprefix(f"{name}."): one.value() for one in parsed}
    made: Keys = build(schema, values, name)
    if problems := list(out_of_range(made, name)):
        raise ConfigError(problems)
    return made, [one for one in overrides if not one.startswith(f"{name}.")]
