"""Greedy and beam decoding without any cache, by the model's own full forward pass at every step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def log_next(model: Any, ids_S: Tensor, prefix: list[int]) -> Tensor:
    """(V,) log-probabilities of the token behind ``prefix`` for one unpadded document."""
    logits = model(input_ids=ids_S.unsqueeze(0), decoder_input_ids=torch.tensor([prefix])).logits
    return torch.log_softmax(logits[0, -1], 0)


def greedy(model: Any, ids_S: Tensor, max_new_tokens: int) -> list[int]:
    prefix = [model.config.decoder_start_token_id]
    for _ in range(max_new_tokens):
        prefix.append(int(log_next(model, ids_S, prefix).argmax()))
        if prefix[-1] == model.config.eos_token_id:
            break
    return prefix


def beam(model: Any, ids_S: Tensor, max_new_tokens: int, beams: int) -> list[int]:
    """The finished or longest hypothesis with the best mean log-probability (length penalty 1)."""
    start, end = model.config.decoder_start_token_id, model.config.eos_token_id
    live, done = [(0.0, [start])], []
    for _ in range(max_new_tokens):
        grown = []
        for score, prefix in live:
            values, tokens = log_next(model, ids_S, prefix).topk(2 * beams)
            grown += [(score + float(v), [*prefix, int(t)]) for v, t in zip(values, tokens, strict=True)]
        grown.sort(key=lambda one: -one[0])
        live = []
        for rank, (score, prefix) in enumerate(grown[:2 * beams]):
            if prefix[-1] == end:
                if rank < beams:
                    done.append((score / (len(prefix) - 1), prefix))
            elif len(live) < beams:
                live.append((score, prefix))
        if len(done) >= beams and max(d[0] for d in done) >= live[0][0] / max_new_tokens:
            break
    done += [(score / (len(prefix) - 1), prefix) for score, prefix in live]
    return max(done, key=lambda one: one[0])[1]
