"""The three standard streams, made fit for use whatever the program was started with."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

from llmtrain.core.errors import as_told
from llmtrain.core.logging import discard

SHOWN = "llmtrain.shown"
MARKS = str.maketrans({"‖": "||", "⏎": "\\n", "█": "#", "▏": "|", "…": "..."})


def prepare() -> None:
    """Open what is closed, and let a character that a stream cannot encode be shown as an escape.

    Of a closed stream (``2>&-``) the number would be given to the next file that is opened, a checkpoint's perhaps, and
    what is meant for the terminal would be written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            handle = os.open(os.devnull, os.O_RDWR)
            os.dup2(handle, number)  # inheritable, as standard streams are
            if handle != number:
                os.close(handle)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))
        if number and type(stream := getattr(sys, name)) is io.TextIOWrapper:
            with contextlib.suppress(OSError, ValueError):  # it flushes first; ValueError: somebody has closed it
                stream.reconfigure(errors=SHOWN)


def _shown(error: UnicodeError) -> tuple[str | bytes, int]:
    """A codec's error handler: our own marks as what stands for them in ASCII, other characters as escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    if (mark := MARKS.get(ord(error.object[error.start]))) is not None:
        return mark, error.start + 1
    return codecs.backslashreplace_errors(UnicodeEncodeError(
        error.encoding, error.object, error.start, error.start + 1, error.reason))


codecs.register_error(SHOWN, _shown)


@contextlib.contextmanager
def borrowed() -> Iterator[None]:
    """Whatever is done to the standard streams inside, they are afterwards the caller's own again."""
    before = [(name, stream, getattr(stream, "errors", None)) for name in ("stdin", "stdout", "stderr")
              for stream in [getattr(sys, name)]]
    try:
        yield
    finally:
        for name, stream, errors in before:
            setattr(sys, name, stream)
            if type(stream) is io.TextIOWrapper and stream.errors != errors:
                with contextlib.suppress(OSError, ValueError):
                    stream.reconfigure(errors=errors)


def takes_any_character(stream: TextIO) -> bool:
    """Whether every character can be written to a stream as it is, and none as an escape."""
    encoding = getattr(stream, "encoding", None)
    try:
        return encoding is None or codecs.lookup(encoding).name.startswith("utf")
    except LookupError:
        return False


def write_data() -> bool:
    """Get stdout ready for what other programs read: UTF-8 unless it is a terminal, which shows its own characters.

    Returns whether it takes every character.
    """
    stream = sys.stdout
    if not takes_any_character(stream) and type(stream) is io.TextIOWrapper and not stream.isatty():
        with contextlib.suppress(OSError, ValueError):
            stream.reconfigure(encoding="utf-8")
    return takes_any_character(stream)


def tell(problem: str) -> None:
    """One error as one line on stderr. That it cannot be written changes nothing: the exit code still says it."""
    try:
        print(as_told(problem), file=sys.stderr, flush=True)
    except (OSError, ValueError):  # the latter where somebody has closed it
        with contextlib.suppress(OSError):
            discard(sys.stderr)


def settle() -> None:
    """Write what stdout still holds, or drop what cannot be written: Python would end with 120 over it."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError):
            discard(sys.stdout)


def failed_in_thread(failure: threading.ExceptHookArgs) -> None:
    """Python's traceback of a thread, but for a failed write: TensorBoard raises it again where it is given more."""
    if os.environ.get("LLMTRAIN_DEBUG") == "1" or not isinstance(failure.exc_value, OSError):
        threading.__excepthook__(failure)
