"""What a batch is: the tensors of some rows, padded on the right, and what its makers agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Batch = dict[str, Any]
IGNORED = -100  # a label that counts for nothing, torch's default ignore_index
L1 = "l1_"  # before the names of l1's own text
PARTS = "parts"  # where rows of several tasks are learnt together: those of each, by its name
MULTIPLE = 8  # source widths are padded to a multiple of this


@dataclass(frozen=True, slots=True)
class Context:
    """All that a transform may depend on besides the batch; ``step`` and ``epoch`` count from 0."""

    epoch: int
    seed: int
    step: int = 0


def pad(rows: Sequence[Sequence[int] | NDArray[np.int64]], value: int, multiple: int = 1) -> Tensor:
    """Put rows of numbers into one tensor, padded on the right.

    Args:
        value: What stands behind a row that is shorter than the longest.
        multiple: The width is rounded up to a multiple of it.

    Returns:
        (B, longest) long, at least one column wide.
    """
    width = max(1, max(len(row) for row in rows))
    width = -(-width // multiple) * multiple
    padded = np.full((len(rows), width), value, dtype=np.int64)
    for row, values in enumerate(rows):
        padded[row, :len(values)] = values
    return torch.from_numpy(padded)
