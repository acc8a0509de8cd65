"""One shape for every source: an example, the splits it stands in, and the hashes that share rows out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Example:
    """One document with its summary; ``references`` holds every reference, the summary first."""

    id: str
    document: str
    summary: str
    references: tuple[str, ...]


@dataclass(slots=True)
class Splits:
    """Examples of each split, the hash of all their text, and what the reader had to say."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    source: str
    notes: list[str] = field(default_factory=list)
    content_hash: str = ""


def digest(text: str) -> str:
    """sha256 of a text; lone surrogates are hashed as they are."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def share_out(document: str, percent: int, salt: str) -> bool:
    """Whether a hash of the document falls into the given percentage; the same answer everywhere."""
    return int(digest(salt + document)[:8], 16) % 100 < percent
