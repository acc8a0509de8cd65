"""What Weights & Biases wrote into a run's folder while nobody was logged in.

Such a log cannot be asked what it holds, and its last rows reach the disk late: after a kill it has to be read. It is
LevelDB's log format (blocks of 32 KiB; a record in one piece or several, each behind a checksum, a size and a kind)
behind a head of seven bytes, and its records are W&B's own protocol messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEAD = 1 << 15, 7
WHOLE, LAST = 1, 4  # kinds of the pieces that end a record


def history(log: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(step, values as JSON by name) of each row of a ``.wandb`` file; what a kill cut off is left out."""
    from wandb.proto.wandb_internal_pb2 import Record

    for data in _records(log.read_bytes()):
        entry: Any = Record.FromString(data)
        if entry.WhichOneof("record_type") == "history":
            yield entry.history.step.num, {item.key or ".".join(item.nested_key): item.value_json
                                           for item in entry.history.item}


def _records(data: bytes) -> Iterator[bytes]:
    at, record = HEAD, b""
    while at + HEAD <= len(data):
        if (left := BLOCK - at % BLOCK) < HEAD:  # too little room for a head: the block ends with padding
            at += left
            continue
        size, kind = int.from_bytes(data[at + 4:at + 6], "little"), data[at + 6]
        end = at + HEAD + size
        if end > len(data):
            return
        record += data[at + HEAD:end]
        if kind in (WHOLE, LAST):
            yield record
            record = b""
        at = end
