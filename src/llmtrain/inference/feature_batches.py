"""Rows of features through a model whose output is no text: sorted by length, in batches of bounded size.

What writes or chooses texts goes through :func:`llmtrain.inference.predict.predict_batches`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from llmtrain.data.features import Features
from llmtrain.data.loader import Collate
from llmtrain.data.order import Request
from llmtrain.inference.predict import batches_of
from llmtrain.models.hf_config import source_padding

if TYPE_CHECKING:
    from llmtrain.models.task_model import TaskModel

Made = TypeVar("Made")


@torch.no_grad()
def for_each_row(work: Callable[[dict[str, Any]], Sequence[Made]], model: TaskModel, features: Features,
                 rows: Sequence[int], tokens: int, precision: Any, progress: Callable[[int], None] | None = None,
                 ) -> list[Made]:
    """What ``work`` makes of each of some rows, in their order. Training mode is left as it was found.

    Args:
        work: Called with a batch on the model's device, as training collates it; gives one thing a row.
        rows: Which rows of the features.
        tokens: As many rows make a batch as fit into so many tokens at the longest one's size, one at least.
        precision: Something with ``autocast()``, usually a Precision.
        progress: Called with the number of rows just finished.
    """
    device, was_training = next(model.parameters()).device, model.training
    collate = Collate(features, source_padding(model.config), 0, [])
    found: dict[int, Made] = {}
    model.eval()
    try:
        with precision.autocast():
            for places in batches_of([len(features.input_ids[row]) for row in rows], tokens):
                batch = collate(Request(0, 0, [rows[place] for place in places]))
                made = work({name: value.to(device) if isinstance(value, torch.Tensor) else value
                             for name, value in batch.items()})
                found |= dict(zip(places, made, strict=True))
                if progress is not None:
                    progress(len(places))
    finally:
        model.train(was_training)
    return [found[place] for place in range(len(rows))]
