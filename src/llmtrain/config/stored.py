"""A run's stored configuration, read from a folder that others may have changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from llmtrain.config.convert import from_dict
from llmtrain.config.schema import TrainConfig
from llmtrain.core.errors import CheckpointError, LlmtrainError, shorten
from llmtrain.core.files import read_regular

LIMIT = 1 << 20  # bytes


class _Plain(yaml.SafeLoader):
    """YAML without aliases, of which a few lines can stand for more than any memory holds. We write none."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"line {self.peek_event().start_mark.line + 1} has an alias")
        return super().compose_node(parent, index)


def read_config(path: Path) -> TrainConfig:
    """The configuration that ``train`` wrote there.

    Raises:
        CheckpointError: It cannot be read, or is none.
    """
    try:
        stored = yaml.load(read_regular(path, LIMIT).decode(), _Plain)
        if isinstance(stored, dict):
            return from_dict(stored)
    # SafeLoader itself fails with any kind of error over a tag that does not fit its value: `!!int ''`, `!!bool x`
    except Exception as error:
        first = error.problems[0] if isinstance(error, LlmtrainError) else str(error) or type(error).__name__
        raise CheckpointError(f"cannot read the run's configuration at {path} ({shorten(first, 150)}); restore it, or "
                              "choose another run.name") from error
    raise CheckpointError(f"no mapping at {path}; restore the run's configuration, or choose another run.name")
