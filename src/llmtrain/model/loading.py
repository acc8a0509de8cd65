"""Whatever a loader raises becomes one line: a wrong file can make it fail in any way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llmtrain.errors import LlmtrainError, shorten

PANIC = "PanicException"  # of Rust code, the tokenizers' above all; it is no Exception and not to be imported
SHOWN = 150  # characters


@contextmanager
def refusing(kind: type[LlmtrainError], before: str, after: str) -> Iterator[None]:
    """Raise ``kind`` with the line ``before (what was raised)after`` for all that goes wrong inside.

    Our own errors, memory that ran out, and a stop pass through.
    """
    try:
        yield
    except (LlmtrainError, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != PANIC:
            raise
        raise kind(f"{before} ({shorten(str(error), SHOWN) or type(error).__name__}){after}") from error
