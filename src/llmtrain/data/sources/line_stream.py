"""Lines of a stream as they come: a pipe that waits between two lines never stalls what reads it."""

from __future__ import annotations

import codecs
import os
import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from llmtrain.data.sources.encodings import as_utf8, mark_of

READ_BYTES = 1 << 16
LONGEST_MARK = 4  # bytes of a byte order mark


def batches_of_stdin(size: int) -> Iterator[list[str]]:
    """Lines of standard input, ``size`` or fewer together, as :func:`batches_of_lines`."""
    try:
        descriptor = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):  # a text in memory, as a program that calls main() may put there
        lines = [line.rstrip("\r\n") for line in sys.stdin]
        return (lines[first:first + size] for first in range(0, len(lines), size))
    return batches_of_lines(descriptor, size)


def batches_of_lines(descriptor: int, size: int) -> Iterator[list[str]]:
    """Lines of a stream in batches: up to ``size``, fewer when nothing more is waiting, so that a pipe never stalls."""
    chunk: bytes | None = _opening(descriptor)
    decoder = _decoder(chunk or b"")
    held, ended = b"", False
    lines: list[str] = []
    while not ended or lines:
        if not ended and (not lines or (len(lines) < size and _waiting(descriptor))):
            chunk = os.read(descriptor, READ_BYTES) if chunk is None else chunk
            ended = not chunk
            *whole, held = (held + decoder(chunk, ended)).split(b"\n")
            chunk = None
            if ended and held:
                whole.append(held)
            lines += [line.decode("utf-8", "replace").rstrip("\r") for line in whole]
            continue
        yield lines[:size]
        lines = lines[size:]


def _opening(descriptor: int) -> bytes:
    """The first bytes of a stream, a whole line or as many as a byte order mark may have."""
    opening = b""
    while len(opening) < LONGEST_MARK and b"\n" not in opening and (more := os.read(descriptor, READ_BYTES)):
        opening += more
    return opening


def _decoder(opening: bytes) -> Callable[[bytes, bool], bytes]:
    """What makes a stream's bytes UTF-8, by its byte order mark. Raises DataError for UTF-16 without one."""
    name = mark_of(opening)
    if name is None:
        as_utf8(Path("/dev/stdin"), opening)
        name = "utf-8-sig"
    decoder = codecs.getincrementaldecoder(name)("replace")
    return lambda chunk, ended: decoder.decode(chunk, ended).encode("utf-8", "replace")


def _waiting(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])
