"""What a documented key is made of.

``affects`` says what a key can change: ``results`` (the trained weights or the scores), ``content`` (the same, by what
lies at a path and not by the path), ``speed`` (only time and memory) or ``where`` (names, folders, logging). The run's
hash covers ``results`` keys and what lies at the paths of ``content`` keys.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

RESULTS, CONTENT, SPEED, WHERE = "results", "content", "speed", "where"


def key(default: Any, meaning: str, unit: str = "", affects: str = RESULTS, late: bool = False) -> Any:
    """A documented field: ``default`` (a callable makes a fresh one), one-line meaning, unit, what it affects.

    ``late``: the key came when runs had been named already, so that the run's hash leaves it out at its default.
    """
    metadata = {"meaning": meaning, "unit": unit, "affects": affects, "late": late}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)
