"""How much a packed data file may unpack to: a small one that fills the memory, or takes hours to read, is no text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from llmtrain.core.errors import DataError

LARGE, DENSE = 256 << 20, 100  # bytes, and times the packed size: no text packs like that
THIN = 2000  # the same of what its lines and items take in memory; tables and logs as texts come to 200
ROW, ITEM = 200, 32  # bytes that a row takes beside its texts, and a number in a list
OPENING = (b"\n", b"{", b"[")  # what a row begins with


def bounded(path: Path, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces of an unpacked file. Raises DataError for one that unpacks to far more than any text would.

    What a reader makes of it counts too: a hundred million short lines, or empty lists, take few bytes, but more memory
    than there is, and hours to be looked at.
    """
    total = made = 0
    for piece in pieces:
        total += len(piece)
        made += ROW * sum(map(piece.count, OPENING)) + ITEM * piece.count(b",")
        check_bound(path, total)
        if made > LARGE and made > THIN * (packed := path.stat().st_size):
            raise DataError(f"the data file at {path} holds more lines or items than any text of {packed:,} packed "
                            "bytes would; unpack it yourself if you trust it")
        yield piece


def check_bound(path: Path, unpacked: int) -> None:
    """Raises DataError for more bytes than any text of the file's packed size would hold."""
    if unpacked > LARGE and unpacked > DENSE * (packed := path.stat().st_size):
        raise DataError(f"the data file at {path} unpacks to more than {DENSE} times its {packed:,} bytes, as no text "
                        "does; unpack it yourself if you trust it")
