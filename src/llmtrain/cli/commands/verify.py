"""``llmtrain verify PATH``: is a checkpoint, a run, a model or a base whole, and what is it good for?"""

from __future__ import annotations

from pathlib import Path

from llmtrain.cli.command_table import TAKES_A_PATH
from llmtrain.cli.options import Given
from llmtrain.core.errors import CheckpointError, ConfigError, one_line


def run(paths: list[str], _given: Given) -> int:
    """Check the one path wholly; a line for each thing found, then one for each problem (exit 3)."""
    if len(paths) != 1 or not paths[0]:
        raise ConfigError(TAKES_A_PATH)
    from llmtrain.core.logging import quiet_libraries
    from llmtrain.integrity.verify import look

    quiet_libraries()
    problems: list[str] = []
    for found in look(Path(paths[0]).expanduser()):
        print(one_line(found.describe()), flush=True)
        problems += found.problems
    if problems:
        raise CheckpointError(problems)
    return 0
