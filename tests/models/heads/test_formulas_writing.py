"""A writing head's likelihoods, copy mixture and losses against torch's own, and written out in fp64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from formulas import SIZES, B, Given, S, T, document, drawn, labels, near, numbers
from llmtrain.models.heads.base import EncoderStates
from llmtrain.models.heads.copy import _blocks, gold_log_probability, mix_all, smoothed


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_label_smoothing_is_torchs(smoothing: float) -> None:
    logits, gold = numbers(6, 11), torch.tensor([0, 10, 3, 3, 7, 1])
    every = torch.log_softmax(logits, 1)
    near(smoothed(every.gather(1, gold.unsqueeze(1)).squeeze(1), every, smoothing),
         F.cross_entropy(logits, gold, reduction="none", label_smoothing=smoothing))


def test_no_smoothing_needs_no_other_token() -> None:
    gold = numbers(4)
    assert torch.equal(smoothed(gold, None, 0.1), -gold)
    assert torch.equal(smoothed(gold, torch.full((4, 2), math.nan), 0.0), -gold)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_likelihood_over_many_rows_is_cross_entropy(dtype: torch.dtype) -> None:
    logits = (numbers(41, 9) * 3).to(dtype).requires_grad_()
    gold, upstream = torch.arange(41) % 9, numbers(41, seed=2)
    ours = gold_log_probability(logits, gold)
    exact_logits = logits.detach().double().requires_grad_()
    exact = -F.cross_entropy(exact_logits, gold, reduction="none")
    assert ours.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    near(ours, exact, 1e-12 if dtype == torch.float64 else 2e-6)
    before = logits.detach().clone()
    (mine,) = torch.autograd.grad(ours, logits, upstream.to(ours.dtype))
    assert torch.equal(logits, before)
    (wanted,) = torch.autograd.grad(exact, exact_logits, upstream.double())
    assert mine.dtype == dtype
    near(mine, wanted, {torch.float64: 1e-7, torch.float32: 2e-6, torch.bfloat16: 1e-2}[dtype])


def test_the_mixture_of_16_bit_logits_is_computed_in_fp32() -> None:
    logits, gate, scores = numbers(4, 9).bfloat16(), numbers(4), numbers(4, 5)
    source = torch.randint(0, 9, (4, 5), generator=torch.Generator().manual_seed(0))
    assert torch.equal(mix_all(logits, gate, scores, source), mix_all(logits.float(), gate, scores, source))


def written_out(head: Any, states: EncoderStates, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """In fp64, a token at a time: log-probabilities (B, T, V), the pointer's shares (B, T, S), the gate (B, T)."""
    p = {name: value.detach().double() for name, value in head.named_parameters()}
    options, every = head.options, torch.zeros(B, T, SIZES.vocabulary, dtype=torch.float64)
    shares, gates = torch.zeros(B, T, S, dtype=torch.float64), torch.zeros(B, T, dtype=torch.float64)
    output = states.embedding_VD.double() if options.tie_embeddings else p["output.weight"]
    for b in range(B):
        for t in range(T):
            h = head.given[b, t].double()
            x = p["transform.weight"] @ h + p["transform.bias"]
            x = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
            x = (x - x.mean()) / (x.var(correction=0) + 1e-12).sqrt()
            x = x * p["transform_norm.weight"] + p["transform_norm.bias"]
            chance = torch.exp(output @ x + p["output_bias"])
            chance = chance / chance.sum()
            if options.copy_gate:
                query = p["pointer_query.weight"] @ h + p["pointer_query.bias"]
                match = p["pointer_match.weight"] @ h + p["pointer_match.bias"]
                scores = torch.full((S,), -math.inf, dtype=torch.float64)
                for s in range(S):
                    if states.attention_mask_BS[b, s] == 0:
                        continue
                    key = p["pointer_key.weight"] @ states.hidden_BSD[b, s].double() + p["pointer_key.bias"]
                    scores[s] = query @ key / math.sqrt(len(query))
                    if s > 0 and states.input_ids_BS[b, s - 1] == inputs[b, t]:
                        scores[s] += match.item()
                    if states.steering_BS is not None:
                        scores[s] += states.steering_BS[b, s].double()
                shares[b, t] = torch.softmax(scores, 0)
                gates[b, t] = 1 / (1 + torch.exp(-(p["gate.weight"] @ h + p["gate.bias"]).squeeze()))
                chance = chance * (1 - gates[b, t])
                for s in range(S):
                    chance[states.input_ids_BS[b, s]] += gates[b, t] * shares[b, t, s]
            every[b, t] = chance.log()
    return every, shares, gates


VARIANTS: list[dict[str, Any]] = [{}, {"copy_gate": False}, {"tie_embeddings": False}, {"label_smoothing": 0.3},
                                  {"label_smoothing": 0.3, "copy_gate": False}, {"chunk_tokens": 4},
                                  {"chunk_tokens": 4, "label_smoothing": 0.3}]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_a_writing_heads_loss_and_probabilities_written_out(options: dict[str, Any]) -> None:
    head, states, gold = drawn(Given(4, **options)), document(steering=True), labels()
    inputs = torch.tensor([[SIZES.start_id, *(max(0, n) for n in row[:-1])] for row in gold.tolist()])
    every, shares, gates = written_out(head, states, inputs)
    near(head.log_probabilities(inputs, states), every)
    losses = [-(1 - head.options.label_smoothing) * every[b, t, gold[b, t]]
              - head.options.label_smoothing * every[b, t].mean()
              for b in range(B) for t in range(T) if gold[b, t] != -100]
    total, count = head.nll(states, gold)
    assert count.item() == len(losses) == 13
    assert total.dtype == torch.float32
    near(total, torch.stack(losses).sum())
    weights, evidence = head.attention_weights(states, gold), head.copy_evidence(gold, states)
    if not head.options.copy_gate:
        assert weights is None
        assert evidence is None
        return
    near(weights, shares)
    near(evidence[0], gates)
    assert torch.equal(evidence[1], shares.argmax(2))


def test_chunked_and_whole_losses_have_the_same_gradient() -> None:
    found = []
    for size in (100, 4):
        head = drawn(Given(4, chunk_tokens=size, label_smoothing=0.2))
        found.append(torch.autograd.grad(head.nll(document(), labels())[0], list(head.parameters())))
    for one, two in zip(*found, strict=True):
        near(one, two)


def test_a_training_step_decodes_once_for_the_same_labels() -> None:
    head, states, gold = drawn(Given(4)), document(), labels()
    head.nll(states, gold)
    head.nll(states, gold)
    assert head.decodes == 2
    states.shared = {}
    first = head.nll(states, gold)[0]
    assert torch.equal(head.nll(states, gold)[0], first)
    near(head.attention_weights(states, gold).sum(2), torch.ones(B, T))
    assert head.decodes == 3
    head.nll(states, gold.clone())
    assert head.decodes == 4


def test_a_head_that_says_nothing_keeps_one_layer_of_one_head_and_cites_nothing() -> None:
    head = Given(4)
    assert (head.cache_layers, head.cache_heads, head.cites, head.positions_limit) == (1, 1, False, None)


def test_off_a_cpu_all_rows_are_worked_on_at_once() -> None:
    assert _blocks(torch.empty(5, 9, device="meta")) == [slice(0, 5)]
    assert _blocks(torch.empty(0, 9, device="meta")) == []


def test_a_decoder_reads_the_start_token_and_then_the_labels() -> None:
    head = Given(4)
    assert head.shift(torch.tensor([[0, 5, 6], [7, -100, -100]])).tolist() == [[2, 0, 5], [2, 7, 0]]


@pytest.mark.parametrize("smoothing", [0.0, 0.4])
@pytest.mark.parametrize("gate", [False, True])
def test_probabilities_of_16_bit_logits_are_fp32(gate: bool, smoothing: float) -> None:
    """The logits, gates and scores are rounded; what is made of them is not."""
    head, states, gold = drawn(Given(5, copy_gate=gate, label_smoothing=smoothing)), document(), labels()
    head.given = head.given.bfloat16()
    states.hidden_BSD, states.embedding_VD = states.hidden_BSD.bfloat16(), states.embedding_VD.bfloat16()
    head = head.bfloat16()
    inputs = head.shift(gold)
    logits = head.vocabulary_logits(head.given.flatten(0, 1), states.embedding_VD)
    assert logits.dtype == torch.bfloat16
    chance = torch.softmax(logits.double(), 1)
    if gate:
        scores = head.pointer_query(head.given) @ head.pointer_key(states.hidden_BSD).mT
        scores = scores.float() * 5 ** -0.5
        follows = inputs.unsqueeze(2) == F.pad(states.input_ids_BS[:, :-1], (1, 0), value=-1).unsqueeze(1)
        scores = scores + head.pointer_match(head.given).float() * follows
        scores = scores.masked_fill(states.attention_mask_BS[:, None] == 0, -1e30).flatten(0, 1)
        near(head.pointer_scores(head.given, inputs, states), scores)
        copied = torch.sigmoid(head.gate(head.given).double()).flatten(0, 1)
        chance = chance * (1 - copied)
        chance = chance.scatter_add(1, states.input_ids_BS.repeat_interleave(T, 0),
                                    torch.softmax(scores.double(), 1) * copied)
        evidence = head.copy_evidence(gold, states)
        near(evidence[0].flatten(), copied.flatten(), 1e-6)
        assert evidence[0].dtype == torch.float32
    made = head.log_probabilities(inputs, states)
    assert made.dtype == torch.float32
    near(made.flatten(0, 1), chance.log(), 1e-5)
    at = (gold != -100).flatten()
    every = chance.log()[at]
    exact = -(1 - smoothing) * every.gather(1, gold.flatten()[at].unsqueeze(1)).sum() - smoothing * every.mean(1).sum()
    total, _ = head.nll(states, gold)
    assert total.dtype == torch.float32
    near(total, exact, 1e-5)


def test_a_chunk_of_all_tokens_is_not_recomputed(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmtrain.models.heads import writer

    calls: list[int] = []
    real = writer.checkpoint
    monkeypatch.setattr(writer, "checkpoint", lambda *given, **named: calls.append(1) or real(*given, **named))
    for size, chunks in ((13, 0), (12, 2), (100, 0)):
        calls.clear()
        drawn(Given(4, chunk_tokens=size)).nll(document(), labels())
        assert len(calls) == chunks
    total, count = drawn(Given(4)).nll(document(), torch.full((B, T), -100))
    assert (total.item(), count.item()) == (0.0, 0)
