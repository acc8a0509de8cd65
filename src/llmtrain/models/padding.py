"""Padding of what others give a published model: rows that are padded on the left are moved to the left.

Everything else in llmtrain pads on the right, and a base counts its positions from a row's first column.

Shapes: B rows, S tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from llmtrain.nn.attention import tracing


def leading(mask_BS: Tensor) -> Tensor:
    """(B, 1): how many tokens of padding stand before a row's first real token; 0 for a row without any."""
    lead_B1 = (mask_BS != 0).cumsum(1).eq(0).sum(1, keepdim=True)
    return lead_B1 % mask_BS.shape[1] if mask_BS.shape[1] else lead_B1


def moved(x_BS: Tensor, lead_B1: Tensor, back: bool = False) -> Tensor:
    """Each row with its first ``lead`` columns put behind the others, or ``back``; further dimensions go along."""
    width = x_BS.shape[1]
    place_S = torch.arange(width, device=x_BS.device)
    from_BS = (place_S - lead_B1 if back else place_S + lead_B1) % max(1, width)
    for _ in range(x_BS.dim() - 2):
        from_BS = from_BS.unsqueeze(-1)
    return x_BS.gather(1, from_BS.expand_as(x_BS))


def right_padded(ids_BS: Tensor, mask_BS: Tensor | None, sentences: tuple[Tensor, Tensor] | None = None,
                 ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
    """Documents padded on the right: token ids, mask, and the places (B, N) of their sentences, if any.

    Raises:
        ValueError: A sentence begins in the padding: its places do not count from the row's first column.
    """
    if mask_BS is None:
        return ids_BS, torch.ones_like(ids_BS), sentences
    lead_B1 = leading(mask_BS)
    if sentences is not None:
        start_BN, end_BN = sentences
        if not tracing() and bool(((end_BN > start_BN) & (start_BN < lead_B1)).any()):
            raise ValueError("sentence_start names padding: with rows padded on the left it counts from the row's "
                             "first column, padding included; add the padding's length to sentence_start and "
                             "sentence_end, or pad on the right")
        sentences = (start_BN - lead_B1).clamp_min(0), (end_BN - lead_B1).clamp_min(0)
    return moved(ids_BS, lead_B1), moved(mask_BS, lead_B1), sentences


def check_written(mask_BT: Tensor | None) -> None:
    """Raise ValueError for targets that are padded on the left: a decoder counts from its first column."""
    if mask_BT is not None and not tracing() and mask_BT.shape[1] and not bool(mask_BT[:, 0].all()):
        raise ValueError("decoder_input_ids are padded on the left, which no head reads; pad them on the right")
