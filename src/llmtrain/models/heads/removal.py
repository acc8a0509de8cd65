"""Taking a part of a model away for a while, to see what it is worth.

Shapes: B rows, S source tokens, D width of the trunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor

from llmtrain.models.heads.base import EncoderStates


@contextmanager
def replaced(owner: Any, method: str, other: Callable[..., Any]) -> Iterator[None]:
    """Call ``other`` in the place of an object's method meanwhile."""
    vars(owner)[method] = other  # found before the class's own
    try:
        yield
    finally:
        del vars(owner)[method]


def other_documents(states: EncoderStates) -> EncoderStates:
    """The states of a batch in which each row has the document of the row before it."""
    return replace(states, hidden_BSD=_moved(states.hidden_BSD), attention_mask_BS=_moved(states.attention_mask_BS),
                   input_ids_BS=_moved(states.input_ids_BS),
                   steering_BS=None if states.steering_BS is None else _moved(states.steering_BS))


def _moved(rows: Tensor) -> Tensor:
    return rows.roll(1, 0)
