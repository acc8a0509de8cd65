"""The three standard streams, made fit for use whatever the program was started with."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading

from llmtrain.errors import as_told
from llmtrain.log import discard


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
            with contextlib.suppress(OSError):  # it flushes first
                stream.reconfigure(errors="backslashreplace")


def tell(problem: str) -> None:
    """One error as one line on stderr. That it cannot be written changes nothing: the exit code still says it."""
    try:
        print(as_told(problem), file=sys.stderr, flush=True)
    except OSError:
        with contextlib.suppress(OSError):
            discard(sys.stderr)


def settle() -> None:
    """Write what stdout still holds, or drop what cannot be written: Python would end with 120 over it."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            discard(sys.stdout)


def failed_in_thread(failure: threading.ExceptHookArgs) -> None:
    """Python's traceback of a thread, but for a failed write: TensorBoard raises it again where it is given more."""
    if os.environ.get("LLMTRAIN_DEBUG") == "1" or not isinstance(failure.exc_value, OSError):
        threading.__excepthook__(failure)
