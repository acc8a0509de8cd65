"""What ``--cfg job`` prints."""

from __future__ import annotations

from typing import Any

from llmtrain.core.errors import redact
from llmtrain.core.stdio import write_data


def print_configuration(content: dict[str, Any]) -> int:
    """Print a configuration as YAML, without secrets; returns the exit code."""
    from llmtrain.config.yaml_text import as_yaml

    print(redact(as_yaml(content, write_data())), end="")
    return 0
