"""The user's cache: where it is, and what happens where nothing can be kept.

Nothing in it is needed: a start that finds none makes again what an earlier one had made. So where only the default
place is closed (no home folder, a read-only container) a run goes on without; a place that the user named must work.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from llmtrain.core.errors import ConfigError, LlmtrainError, ResourceError
from llmtrain.core.files import NOT_ALLOWED, make_folder, writing
from llmtrain.core.logging import warn
from llmtrain.core.paths import given_path

KEY, VARIABLE = "data.cache_dir", "LLMTRAIN_CACHE"
CLOSED = NOT_ALLOWED | {errno.EROFS, errno.ENOENT, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}


def default_folder() -> Path:
    """$LLMTRAIN_CACHE, else llmtrain in the user's cache folder.

    Raises:
        Closed: This user has no home folder.
    """
    if chosen := os.environ.get(VARIABLE):
        return given_path(chosen, VARIABLE)
    try:
        return Path.home() / ".cache" / "llmtrain"
    except (RuntimeError, KeyError) as error:
        raise Closed("this user has no home folder for the cache", VARIABLE) from error


def cache_folder(cache_dir: str | None = None) -> Path:
    """The folder that data.cache_dir names, else :func:`default_folder`."""
    return given_path(cache_dir, KEY) if cache_dir else default_folder()


def find_cached(cache_dir: str | None, name: str, files: Sequence[str]) -> Path | None:
    """The cache's folder of that name where all of these files are in it and may be read; it need not be writable."""
    try:
        folder = cache_folder(cache_dir) / name
    except Closed:
        return None
    # is_file() raises where a folder above is closed
    there = all(os.access(folder / file, os.R_OK) and (folder / file).is_file() for file in files)
    return folder if there else None


def open_cache(cache_dir: str | None, name: str) -> Path | None:
    """The cache's folder of that name, made and tried; None, with a warning, where a run goes on without one.

    Raises:
        ResourceError: A place that data.cache_dir or LLMTRAIN_CACHE names cannot be written, or a disk is full.
    """
    key = KEY if cache_dir else VARIABLE
    try:
        return make_writable(cache_folder(cache_dir) / name, key)
    except (Closed, ConfigError) as error:
        if cache_dir or os.environ.get(VARIABLE):
            raise
        _tell(error.problems[0].partition(";")[0])
        return None


class Closed(ResourceError):
    """A place that this user may not write."""

    def __init__(self, reason: str, key: str) -> None:
        super().__init__(f"{reason}; name a folder that you may write to in {_variable(key)}")


def _variable(key: str) -> str:
    return f"the environment variable {key}" if key == VARIABLE else key


def make_writable(folder: Path, key: str = VARIABLE) -> Path:
    """The folder, made, after something was written there.

    Raises:
        Closed: It may not be; ``key`` is what names another one.
        ResourceError: The disk is full or broken.
        ConfigError: Something else is in the way.
    """
    try:
        make_folder(folder)
        with writing(folder):
            tempfile.TemporaryFile(dir=folder).close()
    except (OSError, LlmtrainError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in CLOSED:
            raise Closed(f"cannot write at {cause.filename or folder} ({os.strerror(cause.errno)})", key) from error
        raise
    return folder


@cache
def _tell(reason: str) -> None:
    """Once a process."""
    warn(f"nothing is kept for the next start, which does this work again: {reason}; name a folder that you may write "
         f"to in {_variable(VARIABLE)}")
