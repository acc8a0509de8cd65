"""What a published model holds beside a Hugging Face model's files.

``llmtrain.json`` says what its training was; whoever made the folder wrote it. ``selector/``, where there is one, is
the model that shortens its documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmtrain import plugins
from llmtrain.checkpoint.manifest import JSON_LIMIT
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
    if problems := list(_problems(body)):
        raise CheckpointError(f"{problem} at {path}; use another checkpoint" for problem in problems)
    return body


def _problems(body: dict[str, Any]) -> Iterator[str]:
    step, config = body.get("step"), body.get("config")
    if type(step) is not int or step < 0:
        yield f"step is {str(step)[:40]}, which is no number of steps,"
    if not _are_plugins(body.get("plugins", [])):
        yield "plugins is no list of names, digests and parts"
    model = config.get("model") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(model, dict) or not isinstance(model.get("path"), str):
        yield "no configuration of a training run"
    elif _opens_files(config.get("data")):
        yield "data.preprocess names a file to be read, where a run stores the words themselves,"


def _are_plugins(found: object) -> bool:
    """As ``plugins.records`` makes them."""
    return isinstance(found, list) and all(
        isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("sha256"), str | None)
        and isinstance(one.get("parts"), list) and all(isinstance(part, str) for part in one["parts"])
        for one in found)


def _opens_files(data: object) -> bool:
    """A run reads such a file once and stores what it held (``config.preprocess.settled``)."""
    steps = data.get("preprocess") if isinstance(data, dict) else None
    steps = steps if isinstance(steps, list) else [steps]
    return any(isinstance(step, dict) and step.get("file") is not None for step in steps)


def check_plugins(stored: dict[str, Any], at: Path) -> None:
    """Warn of each plugin that is not the one the model at ``at`` was trained with.

    Raises:
        ConfigError: The model's head came from a plugin that is not loaded.
    """
    head = stored["config"].get("head")
    name = str(head.get("name")) if isinstance(head, dict) else ""
    for line in plugins.check_record(stored.get("plugins"), name, str(at)):
        warn(line)
