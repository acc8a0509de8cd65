"""What a published model holds beside a Hugging Face model's files.

``llmtrain.json`` says what its training was; whoever made the folder wrote it. ``selector/``, where there is one, is
the model that shortens its documents.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmtrain import plugins
from llmtrain.checkpoint.manifest import JSON_LIMIT
from llmtrain.checkpoint.untrusted import record_problems
from llmtrain.core.errors import CheckpointError
from llmtrain.core.files import read_json
from llmtrain.core.logging import warn

DESCRIPTION, SELECTOR = "llmtrain.json", "selector"


def read_model_config(model_dir: Path | str) -> dict[str, Any]:
    """What the training of a model folder was: its "step", its "plugins", and the whole configuration, "config".

    Their types are checked here, once for everybody who reads them; the configuration's own keys by ``from_dict``.

    Raises:
        CheckpointError: It is missing, no such JSON object, or would have files opened that are not the model's.
    """
    path = Path(model_dir) / DESCRIPTION
    body = read_json(path, JSON_LIMIT)
    if not isinstance(body, dict):
        raise CheckpointError(f"no JSON object at {path}; use another checkpoint")
    if problems := list(record_problems(body)):
        raise CheckpointError(f"{problem} at {path}; use another checkpoint" for problem in problems)
    return body


def check_plugins(stored: dict[str, Any], at: Path) -> None:
    """Warn of each plugin that is not the one the model at ``at`` was trained with.

    Raises:
        ConfigError: The model's head or task came from a plugin that is not loaded.
    """
    needed = {kind: str(section["name"]) for kind in ("head", "task")
              if isinstance(section := stored["config"].get(kind), dict) and "name" in section}
    for line in plugins.check_record(stored.get("plugins"), needed, str(at)):
        warn(line)
