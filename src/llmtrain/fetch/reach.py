"""Whether the Hugging Face hub answers, found out in seconds, where its libraries try again for minutes; and whether
they can keep what it gives."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmtrain.core.errors import ConfigError, ResourceError, behind, shorten
from llmtrain.core.files import IN_THE_WAY, write_problem

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


@contextmanager
def closed_cache_told() -> Iterator[None]:
    """Tell by name the cache of the hub's libraries where what fails inside failed since nothing can be written there.

    Raises:
        ResourceError: The cache is closed.
        ConfigError: Something else stands in its place.
    """
    try:
        yield
    except Exception as error:
        for one in behind(error):
            if isinstance(one, OSError) and isinstance(one.filename, str | os.PathLike) and (
                    found := _cache_of(Path(one.filename))) is not None:
                variable, problem = found
                kind = ConfigError if problem.errno in IN_THE_WAY else ResourceError
                raise kind(f"cannot write at {one.filename} ({problem.strerror}), in the cache of the Hugging Face "
                           f"libraries; name a folder that you may write to in the environment variable {variable}",
                           ) from error
        raise


def _cache_of(path: Path) -> tuple[str, OSError] | None:
    """The variable that names the cache that a path is of, and why it cannot be written; None for any other path."""
    from huggingface_hub import constants

    set_apart = [(name, os.environ[name]) for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE") if os.environ.get(name)]
    for variable, place in [*set_apart, ("HF_HOME", constants.HF_HOME)]:
        folder = Path(place).expanduser()
        if (path.is_relative_to(folder) or folder.is_relative_to(path)) and (problem := write_problem(folder)):
            return variable, problem
    return None


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
