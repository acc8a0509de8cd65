"""Whether the Hugging Face hub answers: found out in seconds, where its libraries try again for minutes."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from llmtrain.core.errors import shorten

REACH_SECONDS = 5.0  # in all: looking up the name, connecting, and the first answer


def offline() -> bool:
    """Whether the environment forbids connecting."""
    return os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON")


def cached_folder(name: str, revision: str | None = None) -> Path | None:
    """The folder of a model in the hub's local cache; None unless its configuration and weights are there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [try_to_load_from_cache(name, file, revision=revision) for file in ("config.json", "model.safetensors")]
    except HFValidationError:
        return None
    return Path(found[0]).parent if isinstance(found[0], str) and isinstance(found[1], str) else None


def base_place(name: str, revision: str | None = None) -> str:
    """Where the hub answers for a model."""
    return f"/{name}/resolve/{revision or 'main'}/config.json"


def dataset_place(name: str) -> str:
    """Where the hub answers for a dataset."""
    return f"/api/datasets/{name}"


def unreachable(place: str) -> str:
    """Why the hub does not answer at a place, or nothing. HF_ENDPOINT and the proxies are respected.

    Any answer will do but a server's error: the hub's libraries tell the others well and at once.
    """
    from huggingface_hub import constants, get_session

    problems = [f"no answer from {constants.ENDPOINT} within {REACH_SECONDS:.0f} s"]

    def ask() -> None:
        try:
            status = get_session().head(constants.ENDPOINT + place, timeout=REACH_SECONDS).status_code
            problems[:] = ["" if status < 500 else f"{constants.ENDPOINT} answers with status {status}"]
        except Exception as error:
            if "timeout" not in type(error).__name__.lower():
                problems[:] = [f"{constants.ENDPOINT}: {shorten(str(error), 100) or type(error).__name__}"]

    thread = threading.Thread(target=ask, daemon=True)  # a name's look-up has no time limit of its own
    thread.start()
    thread.join(REACH_SECONDS)
    return problems[0]
