"""The terms of the joint loss against torch's own losses, and written out."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig

from llmtrain.data.batch import Context
from llmtrain.models.heads.base import EncoderStates
from llmtrain.objectives.base import Vocabulary
from llmtrain.objectives.clm import CausalLm, NextTokens
from llmtrain.objectives.content_selection import ContentSelection
from llmtrain.objectives.denoise import Denoise, MaskSpans, _geometric, symmetric_kl
from llmtrain.objectives.mlm import MaskedLm, MaskTokens
from llmtrain.objectives.options import ClmConfig, DenoiseConfig, MlmConfig, SelectConfig


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))



class Trunk(nn.Module):
    """A model whose trunk looks its tokens up, so that terms can be computed by hand."""

    hidden_size = 6

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(numbers(11, 6))

    @property
    def input_embedding_VD(self) -> Tensor:
        return self.table

    def encode(self, ids_BS: Tensor, mask_BS: Tensor, noise_BSD: Tensor | None = None,
               segments_BS: Tensor | None = None) -> EncoderStates:
        hidden = self.table[ids_BS]
        return EncoderStates(hidden if noise_BSD is None else hidden + noise_BSD, mask_BS, ids_BS, self.table)


VOCABULARY: Any = Vocabulary(11, 4, frozenset(range(5)), torch.zeros(11, dtype=torch.bool))


def drawn(module: Any) -> Any:
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters(), 1):
            parameter.copy_(numbers(*parameter.shape, seed=seed))
    return module


def rows() -> dict[str, Tensor]:
    ids = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 9, 3, 0], [2, 5, 10, 9, 3]])
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "example_id": torch.tensor([1, 2, 3]),
            "labels": torch.tensor([[6, 7, 3], [9, 3, -100], [-100, -100, -100]])}


def test_content_selection_written_out() -> None:
    model, batch = Trunk(), rows()
    term = drawn(ContentSelection(model, SelectConfig(positive_weight=2.5), VOCABULARY, None))  # type: ignore[arg-type]
    states = model.encode(batch["input_ids"], batch["attention_mask"])
    exact, count = 0.0, 0
    for ids, summary in zip(batch["input_ids"].tolist()[:2], batch["labels"].tolist(), strict=False):
        for token in ids:
            if token > 4:
                score = model.table[token] @ term.scorer.weight[0] + term.scorer.bias[0]
                chance = 1 / (1 + math.exp(-score.item()))
                exact -= 2.5 * math.log(chance) if token in summary else math.log(1 - chance)
                count += 1
    assert term(model, states, batch, 0).item() == pytest.approx(exact, rel=1e-4)
    assert term.count(batch).item() == count == 5


@pytest.mark.parametrize(("step", "pretrained", "moves"), [(0, False, False), (1, False, False), (2, False, True),
                                                           (0, True, True)])
@pytest.mark.parametrize("shared", [True, False])
def test_masked_tokens_loss_is_cross_entropy(shared: bool, step: int, pretrained: bool, moves: bool) -> None:
    model, ids = Trunk(), torch.tensor([[2, 4, 6], [5, 8, 4]])
    term = drawn(MaskedLm(model, MlmConfig(shared_pass=shared, warm_steps=2), VOCABULARY, None))  # type: ignore[arg-type]
    term.pretrained = pretrained
    labels = torch.tensor([[-100, 7, -100], [5, -100, 9]])  # 3 of 6
    batch = {"mlm_input_ids": ids, "mlm_attention_mask": torch.ones_like(ids), "mlm_labels": labels}
    alone = term(model, model.encode(ids, ids), batch | {"mlm_labels": torch.where(labels == 7, 7, -100)}, step)
    none = term(model, model.encode(ids, ids), batch | {"mlm_labels": torch.full_like(labels, -100)}, step)
    assert alone.item() > 0 and none.item() == 0 and none.requires_grad
    seen = ids if shared else torch.zeros_like(ids)  # an own pass reads nothing of the shared one
    total = term(model, model.encode(seen, torch.ones_like(seen)), batch, step)
    hidden = F.layer_norm(F.gelu(F.linear(model.table[torch.tensor([4, 5, 4])], term.head.dense.weight,
                                          term.head.dense.bias)), (6,), term.head.norm.weight, term.head.norm.bias,
                          1e-12)
    exact = F.cross_entropy(hidden @ model.table.T + term.head.bias, torch.tensor([7, 5, 9]), reduction="sum")
    torch.testing.assert_close(total, exact)
    assert term.count(batch).item() == 3
    assert MaskedLm(model, MlmConfig(), VOCABULARY, None).pretrained is False  # type: ignore[arg-type]
    assert term.head.norm.eps == BertConfig().layer_norm_eps
    total.backward()
    assert (model.table.grad is not None) == moves


def test_a_fresh_masked_lm_head_starts_small() -> None:
    model = Trunk()
    model.hidden_size = 200
    torch.manual_seed(0)
    head = MaskedLm(model, MlmConfig(), VOCABULARY, None).head  # type: ignore[arg-type]
    assert head.dense.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert head.dense.bias.abs().sum().item() == head.bias.abs().sum().item() == 0


def test_content_selection_starts_small() -> None:
    model = Trunk()
    model.hidden_size = 5000
    torch.manual_seed(0)
    scorer = ContentSelection(model, SelectConfig(), VOCABULARY, None).scorer  # type: ignore[arg-type]
    assert scorer.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert scorer.bias.item() == 0


def test_whole_words_share_their_first_pieces_draw() -> None:
    continues = torch.zeros(40, dtype=torch.bool)
    continues[20:] = True
    vocabulary: Any = Vocabulary(40, 4, frozenset(range(5)), continues)
    source = torch.randint(0, 40, (60,), generator=torch.Generator().manual_seed(1))
    source[:3] = torch.tensor([25, 26, 7])  # pieces before any word
    open_S = source > 4
    made = MaskTokens(MlmConfig(mask_probability=0.5, whole_word=True), vocabulary)
    predicted, _ = made._choose(source, open_S, torch.Generator().manual_seed(9))
    draws = torch.rand(60, generator=torch.Generator().manual_seed(9))
    first = next(i for i in range(60) if not (continues[source[i]] and open_S[i]))
    for place in range(60):
        start = place
        while start > 0 and continues[source[start]] and open_S[start]:
            start -= 1
        start = max(start, first)
        assert predicted[place].item() == bool(draws[start] < 0.5 and open_S[place])


def test_a_shared_pass_masks_the_rows_that_are_read() -> None:
    made = MaskTokens(MlmConfig(shared_pass=True, fraction=0.0, mask_probability=1.0), VOCABULARY)
    batch = {**rows(), "labels": torch.full((3, 2), 6)}
    made(batch, Context(seed=0, epoch=0, step=0))  # type: ignore[arg-type]
    assert len(batch["mlm_labels"]) == 3
    assert torch.equal(batch["input_ids"], batch["mlm_input_ids"])
    assert (batch["mlm_labels"] != -100).sum() == (rows()["input_ids"] > 4).sum()
    apart = MaskTokens(MlmConfig(fraction=0.0, mask_probability=1.0), VOCABULARY)
    batch = rows()  # the third is a document alone, which always takes the pass
    apart(batch, Context(seed=0, epoch=0, step=0))  # type: ignore[arg-type]
    assert torch.equal(batch["input_ids"], rows()["input_ids"])
    assert batch["mlm_labels"].tolist() == [[-100, 5, 10, 9, -100]]
    dummy: Any = {**rows(), "dummy": True}
    apart(dummy, Context(seed=0, epoch=0, step=0))
    assert dummy["mlm_labels"].shape == dummy["mlm_input_ids"].shape == (0, 5)


def test_masks_are_drawn_from_the_epoch_or_for_documents_alone_the_step() -> None:
    made = MaskTokens(MlmConfig(fraction=1.0, mask_probability=0.5), Vocabulary(
        90, 4, frozenset(range(5)), torch.zeros(90, dtype=torch.bool)))
    ids = torch.randint(5, 90, (2, 60), generator=torch.Generator().manual_seed(2))

    def masks(epoch: int, step: int) -> Tensor:
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "example_id": torch.tensor([1, 2]),
                 "labels": torch.tensor([[7, -100], [-100, -100]])}
        made(batch, Context(seed=3, epoch=epoch, step=step))
        return batch["mlm_labels"]

    first, stepped, next_epoch = masks(0, 0), masks(0, 1), masks(1, 0)
    assert torch.equal(first[0], stepped[0]) and not torch.equal(first[1], stepped[1])
    assert not torch.equal(first[0], next_epoch[0]) and torch.equal(first[1], next_epoch[1])


def test_what_becomes_of_predicted_tokens() -> None:
    made = MaskTokens(MlmConfig(fraction=0.5, mask_probability=0.3), Vocabulary(
        1000, 4, frozenset(range(5)), torch.zeros(1000, dtype=torch.bool)))
    source = torch.randint(3, 1000, (400, 90), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(source)
    mask[:, 80:] = 0
    batch = {"input_ids": source, "attention_mask": mask, "example_id": torch.arange(400), "labels": source[:, :5]}
    made(batch, Context(seed=1, epoch=0, step=0))
    labels, shown = batch["mlm_labels"], batch["mlm_input_ids"]
    rows = len(labels)
    assert rows == pytest.approx(200, abs=30)
    original = torch.where(labels != -100, labels, shown)
    chosen = labels[:, :80] != -100
    assert chosen.float().mean().item() == pytest.approx(0.3, abs=0.012)
    assert (labels[:, 80:] == -100).all() and not (chosen & (original[:, :80] < 5)).any()
    now = shown[:, :80][chosen]
    assert (now == 4).float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert (now == labels[:, :80][chosen]).float().mean().item() == pytest.approx(0.1, abs=0.015)
    drawn = now[(now != 4) & (now != labels[:, :80][chosen])].float()
    assert drawn.mean().item() == pytest.approx(500, abs=45) and drawn.max() > 900 and drawn.min() < 100
    assert all((row == source).all(1).any() for row in original)


@pytest.mark.parametrize("size", [100, 2])
def test_next_tokens_loss_is_cross_entropy(size: int) -> None:
    model, batch = Trunk(), rows()
    NextTokens(ClmConfig(fraction=1.0))(batch, Context(seed=0, epoch=0, step=0))  # type: ignore[arg-type]
    assert batch["clm_labels"].tolist() == [[5, 6, 7, 3, -100], [8, 9, 3, -100, -100], [5, 10, 9, 3, -100]]
    term = CausalLm(model, ClmConfig(chunk_tokens=size), VOCABULARY, None)  # type: ignore[arg-type]
    states = model.encode(batch["input_ids"], batch["attention_mask"])
    total = term(model, states, batch, 0)
    exact = F.cross_entropy((model.table[batch["input_ids"]] @ model.table.T).mT, batch["clm_labels"], reduction="sum")
    torch.testing.assert_close(total, exact)
    torch.testing.assert_close(torch.autograd.grad(total, model.table)[0], torch.autograd.grad(exact, model.table)[0])
    assert term.count(batch).item() == 11


def test_rows_without_their_next_tokens_are_the_share_left() -> None:
    ids = torch.full((600, 4), 7)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "example_id": torch.arange(600)}
    NextTokens(ClmConfig(fraction=0.3))(batch, Context(seed=0, epoch=0, step=0))  # type: ignore[arg-type]
    taken = (batch["clm_labels"] != -100).sum(1)
    assert set(taken.tolist()) == {0, 3}
    assert (taken > 0).float().mean().item() == pytest.approx(0.3, abs=0.05)


def test_divergence_is_torchs_both_ways() -> None:
    one, two = torch.log_softmax(numbers(5, 7), 1), torch.log_softmax(numbers(5, 7, seed=1), 1)
    torch.testing.assert_close(symmetric_kl(one, two), F.kl_div(one, two, reduction="sum", log_target=True)
                               + F.kl_div(two, one, reduction="sum", log_target=True))


@pytest.mark.parametrize("noise", ["uniform", "normal"])
def test_prediction_under_noise_written_out(noise: str) -> None:
    model, ids = Trunk(), torch.tensor([[2, 4, 6, 7], [5, 8, 0, 0]])
    options = DenoiseConfig(mode="consistency", noise=noise, sigma=0.3, weight=0.7, warm_steps=0)
    term = drawn(Denoise(model, options, VOCABULARY, None))  # type: ignore[arg-type]
    batch = {"denoise_input_ids": ids, "denoise_attention_mask": (ids != 0).long(),
             "denoise_labels": torch.tensor([[-100, 7, -100, 9], [6, -100, -100, -100]]),
             "denoise_seed": torch.tensor([11, 12])}
    added = torch.zeros(2, 4, 6)
    for row, length in enumerate((4, 2)):
        generator = torch.Generator().manual_seed(11 + row)
        made = torch.rand if noise == "uniform" else torch.randn
        added[row, :length] = made(length, 6, generator=generator) * 0.3 * (2 if noise == "uniform" else 1)
        if noise == "uniform":
            added[row, :length] -= 0.3
    at, gold = torch.tensor([1, 3, 4]), torch.tensor([7, 9, 6])
    hidden = model.table[ids]
    clean, noisy = (torch.log_softmax(term.head(h.reshape(-1, 6)[at], model.table), 1)
                    for h in (hidden, hidden + added))
    kl = sum(F.kl_div(a, b, reduction="sum", log_target=True) for a, b in ((clean, noisy), (noisy, clean)))
    states = model.encode(torch.zeros_like(ids), torch.ones_like(ids))
    torch.testing.assert_close(term(model, states, batch, 0), F.nll_loss(clean, gold, reduction="sum") + 0.7 * kl)


def test_span_lengths_are_geometric() -> None:
    for mean in (1.0, 3.0, 4.5):
        found = [_geometric((n + 0.5) / 20_000, mean) for n in range(20_000)]
        share = 1 / mean
        assert min(found) == 1
        assert np.mean(found) == pytest.approx(mean, rel=0.01)
        assert Counter(found)[1] / 20_000 == pytest.approx(share, abs=1e-3)
        assert Counter(found)[2] / 20_000 == pytest.approx(share * (1 - share), abs=1e-3)


def test_spans_reach_the_share_in_the_mean() -> None:
    vocabulary: Any = Vocabulary(50, 4, frozenset(range(5)), torch.zeros(50, dtype=torch.bool))
    made = MaskSpans(MlmConfig(mask_probability=0.2), vocabulary, "denoise", 3, 2.5)
    source, found, runs = torch.arange(5, 18).repeat(500, 1), 0, []
    source[:, 6] = 3  # a special token, which no span crosses
    for row in range(500):
        predicted, kind = made._choose(source[row], source[row] > 4, torch.Generator().manual_seed(row))
        assert not predicted[6]
        found += int(predicted.sum())
        where = predicted.nonzero().squeeze(1).tolist()
        assert int(12 * 0.2) <= len(where) <= int(12 * 0.2) + 1
        runs += [kind[a].item() == kind[b].item() for a, b in pairwise(where) if b == a + 1]
    assert found / 500 == pytest.approx(12 * 0.2, abs=0.08)
    assert np.mean(runs) > 0.7  # neighbours are mostly of one span
