"""The error tree and the exit code each error ends the program with.

Messages follow one form, ``WHAT at PATH[:LINE]; WHAT TO DO``, and fit one line each.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

TOKEN = re.compile(r"hf_[A-Za-z0-9]{20,}")  # also behind a letter: %3Ahf_... is one in a URL
LOGIN = re.compile(r"(?<=://)[^/\s@]+(?=@)")  # USER:PASSWORD of a URL, or a token alone
VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN")


def redact(text: str) -> str:
    """The text without hub tokens, logins in URLs, and what the environment holds as a token."""
    for value in (os.environ.get(name, "") for name in VARIABLES):
        text = text.replace(value, "***") if len(value) >= 8 else text  # "x" is no secret, and stands in every word
    return LOGIN.sub("***", TOKEN.sub("***", text))


class LlmtrainError(Exception):
    """An expected failure: printed as ``llmtrain: MESSAGE``, one line for each problem, no traceback."""

    exit_code = 2

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [*map(redact, [problems] if isinstance(problems, str) else problems)]
        super().__init__("\n".join(self.problems))


class ConfigError(LlmtrainError):
    """A wrong key, value, combination or command line (exit 2)."""


class DataError(LlmtrainError):
    """Rows or files that cannot be used (exit 2)."""


class CheckpointError(LlmtrainError):
    """A checkpoint or model folder that is damaged, foreign or unsafe (exit 3)."""

    exit_code = 3


class NumericsError(LlmtrainError):
    """A loss or gradient that is not finite (exit 4)."""

    exit_code = 4


class ResourceError(LlmtrainError):
    """Disk or memory exhausted, or a folder that may not be written (exit 5)."""

    exit_code = 5


class Stopped(LlmtrainError):
    """Training ended by a signal, after the state was saved (exit 128 + signal number)."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
