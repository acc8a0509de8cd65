"""What a documented key is made of.

``affects`` says what a key can change: ``results`` (the trained weights or the scores), ``content`` (the same, by what
lies at a path and not by the path), ``speed`` (only time and memory) or ``where`` (names, folders, logging). The run's
hash covers ``results`` keys and what lies at the paths of ``content`` keys.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

from llmtrain.config.bounds import Bounds

RESULTS, CONTENT, SPEED, WHERE = "results", "content", "speed", "where"


def key(default: Any, meaning: str, unit: str = "", affects: str = RESULTS, late: bool = False, *, fixed: bool = False,
        min: float | None = None, max: float | None = None, above: float | None = None,
        below: float | None = None) -> Any:
    """A documented field of an options dataclass.

    A number's range is checked wherever a configuration is made, in each entry of a list too, and shown with the key.

    Args:
        default: Its value where none is given; a callable makes a fresh one.
        meaning: What it is, in one line.
        unit: What a number counts or measures.
        affects: What it can change.
        late: It came when runs had been named already, so that the run's hash leaves it out at its default.
        fixed: A model is built for it: of data, it cannot be given beside a checkpoint.
        min: The smallest number it may be.
        max: The largest number it may be.
        above: What a number must be more than, instead of ``min``.
        below: What a number must be less than, instead of ``max``.

    Raises:
        ValueError: The range contradicts itself or the default.
    """
    bounds = Bounds(min, max, above, below)
    metadata = {"meaning": meaning, "unit": unit, "affects": affects, "late": late, "fixed": fixed,
                "bounds": bounds}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    if bounds and (isinstance(default, bool | str) or (default is not None and bounds.problem(default))):
        raise ValueError(f"the default {default!r} is not {bounds}; change the default or the range")
    return field(default=default, metadata=metadata)
