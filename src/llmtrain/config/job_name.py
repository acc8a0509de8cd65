"""What a run is called among others of one sweep or study: by what it changes."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

LONGEST = 100  # characters
UNSAFE = re.compile(r"[^A-Za-z0-9._+=-]")


def job_name(changes: Sequence[tuple[str, str]]) -> str:
    """``lam=0.3-seed=1`` of keys and their values; what a folder's name cannot hold is replaced, and a digest keeps
    the names apart."""
    plain = "-".join(f"{key}={value}" for key, value in changes)
    safe = UNSAFE.sub("_", plain)
    if safe == plain and len(safe) < LONGEST:
        return safe
    return f"{safe[:LONGEST - 10]}-{hashlib.sha256(f'-{plain}'.encode()).hexdigest()[:8]}"


def short_keys(keys: Sequence[str]) -> list[str]:
    """The last part of each key, where no other has the same."""
    last = [key.rpartition(".")[2] for key in keys]
    many = Counter(last)
    return [short if many[short] == 1 else key for key, short in zip(keys, last, strict=True)]
