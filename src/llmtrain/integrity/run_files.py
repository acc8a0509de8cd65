"""A run's own files: configuration, logs, results, pointers. Each function adds to the finding it is given."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

from llmtrain.checkpoint.locate import digest_of, identity, read_pointer
from llmtrain.config.stored import read_config
from llmtrain.core.errors import CheckpointError
from llmtrain.core.files import JSON_LIMIT, read_json
from llmtrain.integrity.finding import Finding


def configuration(found: Finding) -> None:
    read_config(found.path)


def regular(path: Path, limit: float = math.inf) -> None:
    if not path.is_file() or path.stat().st_size > limit:  # a pipe would block, a device never end
        raise CheckpointError(f"no regular file of a sane size at {path}; restore it")


def json_object(found: Finding) -> None:
    if not isinstance(read_json(found.path), dict):
        raise CheckpointError(f"no JSON object at {found.path}; remove it to have it written again")


def lines(found: Finding) -> None:
    """Each line is one JSON object; the last one of a log may be unfinished."""
    count = 0
    regular(found.path)
    with found.path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(JSON_LIMIT), b""), start=1):
            try:
                if not isinstance(json.loads(line), dict):
                    raise ValueError("no object")
            except (ValueError, RecursionError) as error:
                if not line.endswith(b"\n"):
                    found.what += ", its last line unfinished"
                    break
                found.problems.append(f"no JSON object at {found.path}:{number} ({str(error)[:80]}); the file was "
                                      "changed or damaged")
                return
            count += 1
    found.what += f", {count} lines"


def pointer(found: Finding, is_whole: Callable[[Path], bool]) -> None:
    _, folder = read_pointer(found.path)
    found.what += f" to {folder.name}"
    if not is_whole(folder):
        state = "damaged" if folder.is_dir() else "gone"
        found.problems.append(f"{found.path.name} points at {folder}, which is {state}; the run's next start mends it, "
                              "from a checkpoint that is whole")
    elif found.path.name == "last" and identity(read_json(found.path)).get("digest") != digest_of(folder):
        found.problems.append(f"{found.path} was written for another content than {folder} has now; one of the two "
                              "was changed, and the run's next start goes on from the folder, as it is whole")
