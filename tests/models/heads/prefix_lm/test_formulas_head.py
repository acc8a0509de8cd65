"""The head of a base that writes itself: its words, written out in fp64, and what it starts from."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from formulas import SIZES, B, T, document, drawn, near, numbers
from llmtrain.models.heads.base import BaseParts
from llmtrain.models.heads.prefix_lm.head import PrefixLmHead
from llmtrain.models.heads.prefix_lm.options import PrefixLmHeadConfig


def head_of(**options: Any) -> Any:
    return drawn(PrefixLmHead(PrefixLmHeadConfig(**options), SIZES))


def words() -> dict[str, Tensor]:
    return {"dense.weight": numbers(6, 6, seed=1), "dense.bias": numbers(6, seed=2), "bias": numbers(17, seed=5),
            "norm.weight": numbers(6, seed=3), "norm.bias": numbers(6, seed=4)}


class Cache:
    def __init__(self, seen: int) -> None:
        self.seen = seen

    def get_seq_length(self) -> int:
        return self.seen


@pytest.mark.parametrize("transform", [False, True])
def test_words_are_the_bases_embeddings_behind_its_transform(transform: bool) -> None:
    head, states, given = head_of(mlm_transform=transform), document(), numbers(B, T, 6, seed=9)
    states.go_on = lambda ids, cache: given
    p = {name: value.detach().double() for name, value in head.named_parameters()}
    x = given.double()
    if transform:
        x = x @ p["transform.weight"].T + p["transform.bias"]
        x = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        x = (x - x.mean(2, keepdim=True)) / (x.var(2, correction=0, keepdim=True) + 1e-12).sqrt()
        x = x * p["transform_norm.weight"] + p["transform_norm.bias"]
        assert head.transform_norm.eps == 1e-12
    logits = x @ states.embedding_VD.double().T + p["output_bias"]
    near(head.log_probabilities(torch.full((B, T), 3), states), F.log_softmax(logits, 2))


def test_the_first_token_is_read_as_the_one_that_writing_starts_from() -> None:
    head, states = head_of(mlm_transform=False), document()
    asked: list[tuple[list[list[int]], Any]] = []

    def go_on(ids: Tensor, cache: Any) -> Tensor:
        asked.append((ids.tolist(), cache))
        return torch.zeros(*ids.shape, 6)

    states.go_on = go_on
    caches = (None, Cache(0), Cache(1), Cache(3))
    for cache in caches:
        assert head.log_probabilities(torch.tensor([[9, 5, 6], [8, 9, 9]]), states, cache).shape == (2, 3, 17)
    start, own = [[2, 5, 6], [2, 9, 9]], [[9, 5, 6], [8, 9, 9]]
    assert asked == [(start, None), (start, caches[1]), (own, caches[2]), (own, caches[3])]


def test_what_the_prefix_head_starts_from() -> None:
    fresh = PrefixLmHead(PrefixLmHeadConfig(mlm_transform=True), SIZES)
    assert not fresh.output_bias.any()
    head, values, table = head_of(mlm_transform=True, copy_gate=True), words(), numbers(17, 6)
    kept = head.pointer_query.weight.clone()
    assert head.pointer_key.weight.shape == (6, 6)
    head.start_from(BaseParts([], None, 0, values, table))
    for name, theirs in (("transform.weight", "dense.weight"), ("transform.bias", "dense.bias"),
                         ("transform_norm.weight", "norm.weight"), ("transform_norm.bias", "norm.bias"),
                         ("output_bias", "bias")):
        assert torch.equal(head.get_parameter(name), values[theirs])
    assert torch.equal(head.pointer_query.weight, kept)
    for transform, known in ((False, values), (False, None), (True, None)):
        head = head_of(mlm_transform=transform)
        before = {name: value.clone() for name, value in head.state_dict().items()}
        head.start_from(BaseParts([], None, 0, known, table))
        assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
