"""The error tree and the exit code each error ends the program with.

Messages follow one form, ``WHAT at PATH[:LINE]; WHAT TO DO``, and fit one line each.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable, Iterator

TOKEN = re.compile(r"hf_[A-Za-z0-9]{20,}")  # also behind a letter: %3Ahf_... is one in a URL
# USER:PASSWORD of a URL, or a token alone, up to the last @: a password may hold @ and /. Without an @ before the first
# / there must be a colon that no port follows, since https://host:80/a@b is a plain address.
LOGIN = re.compile(r"(?<=://)(?=[^/\s]*@|[^/\s:]*:(?!\d{1,5}[/?#\s]))\S{1,4096}(?=@)")
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # what ends a line, moves a cursor, or is none
LONGEST_LINE = 399  # characters
SHOWN = 60  # characters of a name or an id; a stray line break makes them as long as the file
VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN")


def redact(text: str) -> str:
    """The text without hub tokens, logins in URLs, and what the environment holds as a token."""
    for value in (os.environ.get(name, "").strip() for name in VARIABLES):  # a file's last newline is no part of it
        text = text.replace(value, "***") if len(value) >= 8 else text  # "x" is no secret, and stands in every word
    return LOGIN.sub("***", TOKEN.sub("***", text))


def one_line(text: str) -> str:
    """The text with control characters, line ends and bytes that are no text written as escapes."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shorten(text: str, limit: int) -> str:
    """A foreign text as part of a message: secrets struck out first, then one line of at most ``limit`` characters.

    The middle goes: a message begins with what is wrong and ends with what to do.
    """
    return cut(" ".join(redact(text).split()), limit)


def cut(text: str, limit: int) -> str:
    """At most ``limit`` characters of a text that holds no secret: its beginning and its end."""
    end = (limit - 5) // 2
    return text if len(text) <= limit else f"{text[:limit - 5 - end]} ... {text[-end:]}"


def shown(name: str, most: int = SHOWN) -> str:
    """A user's text between quotes, shortened to so many characters."""
    return cut(repr(redact(name)), most + 2)


def as_told(message: str) -> str:
    """The line that an error or a warning is told in."""
    return cut(one_line(redact(f"llmtrain: {message}")), LONGEST_LINE)


def behind(error: BaseException) -> Iterator[BaseException]:
    """The error, then those in whose handling it came up."""
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:  # `raise error from error` leads to itself
        yield found
        seen.add(id(found))
        found = found.__cause__ or found.__context__


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


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP where no step is waited for. As Ctrl-C it is no Exception: nothing on the way takes it for a
    failure."""

    exit_code = 128 + signal.SIGTERM
