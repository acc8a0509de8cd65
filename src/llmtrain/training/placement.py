"""Batches on the device that computes with them."""

from __future__ import annotations

import torch
from torch import Tensor

from llmtrain.data.batch import Batch


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on a device, those of its parts too."""
    return {key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else
            moved(value, device) if isinstance(value, dict) else value for key, value in batch.items()}
