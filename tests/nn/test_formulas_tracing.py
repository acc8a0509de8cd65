"""Where a graph that is traced takes a way of its own, it computes the same, and by torch's own operations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import DynamicCache, EncoderDecoderCache

from formulas import SIZES, Given, document, drawn, labels, near, numbers
from llmtrain.models.heads.copy import gold_log_probability
from llmtrain.models.heads.transformer.decoder import DecoderLayer
from llmtrain.models.heads.transformer.head import TransformerHead
from llmtrain.models.heads.transformer.options import TransformerHeadConfig
from llmtrain.nn.attention import hiding, tracing

CPU = torch.device("cpu")


@pytest.fixture(params=["is_exporting", "is_compiling"])
def traced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """From its call on, a graph is being made."""
    def begin() -> None:
        monkeypatch.setattr(torch.compiler, request.param, lambda: True)
        assert tracing()

    assert not tracing()
    return begin


def test_a_mask_that_hides_nothing_stays_in_a_graph(traced: Any) -> None:
    whole, some = torch.ones(2, 3, dtype=torch.bool), torch.tensor([[True, False]])
    assert hiding(whole) is None and hiding(some) is some
    traced()
    assert hiding(whole) is whole and hiding(some) is some


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_traced_likelihood_is_cross_entropy(dtype: torch.dtype, traced: Any) -> None:
    logits, gold = (numbers(41, 9) * 3).to(dtype).requires_grad_(), torch.arange(41) % 9
    own = gold_log_probability(logits, gold)
    assert "GoldLogProbability" in type(own.grad_fn).__name__
    traced()
    made = gold_log_probability(logits, gold)
    assert "GoldLogProbability" not in type(made.grad_fn).__name__
    assert made.dtype == own.dtype
    near(made, -F.cross_entropy(logits.double(), gold, reduction="none"), 1e-12 if dtype is torch.float64 else 2e-6)


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_a_traced_loss_is_that_of_the_tokens_that_count(gate: bool, smoothing: float, traced: Any) -> None:
    head, gold = drawn(Given(4, copy_gate=gate, label_smoothing=smoothing)), labels()
    gold[0, 1] = 0  # a token as any other
    total, count = head.nll(document(), gold)
    traced()
    made, counted = head.nll(document(), gold)
    near(made, total)
    assert counted.item() == count.item() == 13


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (4, 4), (1, 5), (2, 5)])
def test_a_query_sees_what_stands_up_to_it(queries: int, keys: int, traced: Any) -> None:
    exact = torch.tensor([[key <= query + keys - queries for key in range(keys)] for query in range(queries)])
    causal, mask = DecoderLayer._causal(queries, keys, CPU)
    assert causal is (queries == keys > 1)
    if mask is None:  # a kernel's own causal mask, or the last token, which sees everything
        assert causal or exact.all()
    else:
        assert torch.equal(mask, exact)
    traced()
    causal, mask = DecoderLayer._causal(queries, keys, CPU)
    assert causal is False and mask is not None and torch.equal(mask, exact)


@torch.no_grad()
def test_a_traced_decoder_is_the_decoder_with_a_cache_and_without(traced: Any) -> None:
    head, states, ids = drawn(TransformerHead(TransformerHeadConfig(layers=2), SIZES)), document(), labels()
    ids = ids.clamp_min(0)
    exact = head.decode(ids, states)
    traced()
    near(head.decode(ids, states), exact)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    near(torch.cat([head.decode(part, states, cache) for part in ids.split([2, 1, 2], 1)], 1), exact)
