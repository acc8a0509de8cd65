"""Dropout's cheap draws: how many it takes from torch's generator, and whose dropout is used where."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from formulas import numbers
from llmtrain.nn.dropout import Dropout, dropout_factor


@pytest.mark.parametrize(("count", "words"), [(1, 1), (3, 1), (4, 1), (5, 2), (8, 2), (9, 3), (102, 26)])
def test_four_elements_share_a_word_of_the_generator(count: int, words: int) -> None:
    torch.manual_seed(1)
    dropout_factor((count,), 0.5, torch.float32)
    behind = torch.rand(3)
    torch.manual_seed(1)
    torch.empty(words, dtype=torch.int64).random_(-(2**63), None)
    assert torch.equal(torch.rand(3), behind)


def test_a_cpu_draws_its_own_and_other_devices_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    x, asked = numbers(6, 7), []
    monkeypatch.setattr(F, "dropout", lambda x, p, training: asked.append((x.device.type, p, training)) or x)
    for p in (0.0, 0.3, 1.0):
        layer = Dropout(p).train()
        torch.manual_seed(2)
        made = layer(x)
        if 0 < p < 1:
            torch.manual_seed(2)
            assert torch.equal(made, x * dropout_factor((6, 7), p, torch.float32))
        assert layer(x.to("meta")).device.type == "meta"
        assert layer.eval()(x) is x
    assert asked == [("meta", 0.3, True), ("cpu", 1.0, True), ("meta", 1.0, True)]


@pytest.mark.parametrize(("p", "kept"), [(1e-9, 4000), (1 - 1e-9, 0)])
def test_a_probability_next_to_none_or_all_is_drawn(p: float, kept: int) -> None:
    torch.manual_seed(3)
    assert int((dropout_factor((4000,), p, torch.float64) > 0).sum()) == kept
