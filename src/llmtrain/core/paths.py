"""Paths that a user gives in a key or an environment variable."""

from __future__ import annotations

import os
from pathlib import Path

from llmtrain.core.errors import DataError, shown
from llmtrain.core.files import SURROGATE


def given_path(value: object, key: str) -> Path:
    """The path with ``~`` written out; whether anything is there is another question.

    Raises:
        DataError: Nothing can be there: no such user, a name that is too long, or no UTF-8, which no configuration
            could be saved with.
    """
    text = str(value)
    if SURROGATE.search(text):
        raise DataError(f"the path in {key} is not UTF-8 at {shown(text)}; rename it")
    try:
        path = Path(text).expanduser()
        path.is_file()
    except (OSError, RuntimeError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise DataError(f"the path in {key} cannot be looked at ({reason}) at {shown(text)}; check {key}") from error
    return path
