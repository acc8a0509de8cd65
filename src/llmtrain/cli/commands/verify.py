"""``llmtrain verify PATH``: is a checkpoint, a run, a model or a base whole, and what is it good for?"""

from __future__ import annotations

from pathlib import Path

from llmtrain.core.errors import CheckpointError, ConfigError, one_line


def run(arguments: list[str]) -> int:
    """Check the one path wholly; a line for each thing found, then one for each problem (exit 3)."""
    if len(arguments) != 1 or not arguments[0] or arguments[0].startswith("-"):
        raise ConfigError("verify takes one path; use llmtrain verify RUN, a checkpoint, a pointer, a model or a base "
                          "folder")
    from llmtrain.core.logging import quiet_libraries
    from llmtrain.integrity.verify import look

    quiet_libraries()
    problems: list[str] = []
    for found in look(Path(arguments[0]).expanduser()):
        print(one_line(found.describe()), flush=True)
        problems += found.problems
    if problems:
        raise CheckpointError(problems)
    return 0
