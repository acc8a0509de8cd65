"""A configuration as YAML that is read back alike, by llmtrain, by Hydra and by other readers of YAML."""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """PyYAML's, which leaves 1e3 unquoted: a text to itself, a number to others."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    from omegaconf._utils import get_yaml_loader

    tag = "tag:yaml.org,2002:str"
    read = get_yaml_loader()("").resolve(yaml.ScalarNode, value, (True, False))
    return dumper.represent_scalar(tag, value, style=None if read == tag else "'")


_Dumper.add_representer(str, _text)


def as_yaml(content: dict[str, Any], any_character: bool = True) -> str:
    """A YAML document, its texts in quotes where another reader would take them for something else.

    Args:
        any_character: Where it goes takes more than ASCII; else other characters are written as escapes.
    """
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=any_character)
