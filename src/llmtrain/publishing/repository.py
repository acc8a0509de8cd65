"""The hub's side: a repository is made, the files go there in one commit, and each failure is one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmtrain.core.errors import ConfigError, LlmtrainError, ResourceError, behind, shorten
from llmtrain.fetch.reach import offline, unreachable

LOGIN_ADVICE = "run `hf auth login`, or set HF_TOKEN to a token that may write"
EXISTS, NO_LOGIN, FORBIDDEN, NOT_FOUND = 409, 401, 403, 404


def endpoint() -> str:
    """The hub that is meant: HF_ENDPOINT, or huggingface.co."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def check_name(name: str) -> None:
    """Raise ConfigError for what no repository can be called."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"--repo {shorten(name, 80)!r} is no name of a repository ({shorten(str(error), 120)}); use "
                          "--repo NAME or --repo OWNER/NAME") from error


def check_can_send() -> None:
    """Raise ConfigError where nothing can be sent from here: offline, or nobody is logged in. Connects to nothing."""
    from huggingface_hub import get_token

    if offline():
        raise ConfigError("HF_HUB_OFFLINE forbids connecting; unset it to push")
    if not get_token():
        raise ConfigError(f"no token for {endpoint()}; {LOGIN_ADVICE}")


def send(folder: Path, files: list[str], repo: str, *, public: bool, update: bool, message: str) -> str:
    """Make the repository, put the files there in one commit, and return its address.

    Args:
        update: The repository may be there already; it then holds these files and no others.

    Raises:
        ConfigError: The hub refuses it: the token, the name, a repository that is there, or one that all can read.
        ResourceError: The hub cannot be reached, or fails.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    disable_progress_bars()
    if problem := unreachable("/api/models"):
        raise ResourceError(f"the hub cannot be reached ({problem}); nothing was sent")
    api = HfApi()
    with _told(repo):
        made = api.create_repo(repo, private=not public, exist_ok=update)
    with _told(made.repo_id):
        if update and not public and not api.repo_info(made.repo_id).private:
            raise ConfigError(f"{made.repo_id} is public: everybody would read what is sent; --public says that this "
                              "is meant")
        # what an earlier push left there beside these files would make a download of it one with unknown files
        api.upload_folder(repo_id=made.repo_id, folder_path=folder, allow_patterns=files, commit_message=message,
                          delete_patterns="*" if update else None)
    return str(made)


@contextmanager
def _told(repo: str) -> Iterator[None]:
    """Turn what the hub answers into one line."""
    try:
        yield
    except LlmtrainError:
        raise
    except Exception as error:
        status = next((code for one in behind(error) if (code := _status(one)) is not None), None)
        reason = shorten(str(getattr(error, "server_message", None) or error), 120)
        if status == EXISTS:
            raise ConfigError(f"there is a repository {repo} already; --update adds a commit to it, or choose another "
                              "--repo") from error
        if status == NO_LOGIN:
            raise ConfigError(f"the hub does not know the token (401, {reason}); {LOGIN_ADVICE}") from error
        if status == FORBIDDEN:
            raise ConfigError(f"the token may not write to {repo} (403, {reason}); use one that may, or another "
                              "owner") from error
        if status == NOT_FOUND:
            raise ConfigError(f"the hub has no place for {repo} (404, {reason}); look at its owner's name") from error
        if status is None and isinstance(error, ValueError):
            raise ConfigError(f"the hub refuses what is sent ({reason}); nothing of it is there") from error
        if status is not None:
            raise ResourceError(f"the hub answers with status {status} ({reason}); push again later, with "
                                "--update") from error
        raise ResourceError(f"the connection to the hub broke ({type(error).__name__}: {reason}); push again with "
                            "--update") from error


def _status(error: BaseException) -> int | None:
    answer: Any = getattr(error, "response", None)
    return getattr(answer, "status_code", None)
