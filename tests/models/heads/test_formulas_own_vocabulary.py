"""A writing head whose targets have a vocabulary of their own: its mixture written out in fp64."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from formulas import SIZES, B, Given, S, T, document, drawn, near, numbers
from llmtrain.models.heads.writer import NOTHING

OWN = replace(SIZES, vocabulary=11, source_vocabulary=SIZES.vocabulary)
# of tokens 0 to 16 of documents, which are drawn from 3 to 8: two of them say the same, three say nothing
SAME = torch.tensor([NOTHING, NOTHING, 2, 5, 5, NOTHING, 7, NOTHING, NOTHING, *[NOTHING] * 8])


def head_of(same: torch.Tensor = SAME, **options: Any) -> Any:
    head = drawn(Given(4, OWN, **options))
    head.copy_by_surface(same)
    return head


def gold() -> torch.Tensor:
    made = torch.randint(3, 11, (B, T), generator=torch.Generator().manual_seed(6))
    made[1, 3:] = -100
    return made


def written_out(head: Any, states: Any, inputs: torch.Tensor) -> torch.Tensor:
    p = {name: value.detach().double() for name, value in head.named_parameters()}
    output = p["embedding.weight"] if head.options.tie_embeddings else p["output.weight"]
    every = torch.zeros(B, T, OWN.vocabulary, dtype=torch.float64)
    for b in range(B):
        copied = [int(SAME[one]) for one in states.input_ids_BS[b]]
        for t in range(T):
            h = head.given[b, t].double()
            x = p["transform.weight"] @ h + p["transform.bias"]
            x = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
            x = (x - x.mean()) / (x.var(correction=0) + 1e-12).sqrt()
            chance = torch.softmax(output @ (x * p["transform_norm.weight"] + p["transform_norm.bias"])
                                   + p["output_bias"], 0)
            places = [s for s in range(S) if states.attention_mask_BS[b, s] and copied[s] != NOTHING]
            if head.options.copy_gate and places:
                query = p["pointer_query.weight"] @ h + p["pointer_query.bias"]
                match = p["pointer_match.weight"] @ h + p["pointer_match.bias"]
                keys = states.hidden_BSD[b].double() @ p["pointer_key.weight"].T + p["pointer_key.bias"]
                scores = [keys[s] @ query / 2 + (match.item() if s and copied[s - 1] == inputs[b, t] else 0.0)
                          for s in places]
                shares = torch.softmax(torch.stack(scores), 0)
                g = torch.sigmoid(p["gate.weight"] @ h + p["gate.bias"])
                chance = chance * (1 - g)
                for s, share in zip(places, shares, strict=True):
                    chance[copied[s]] += (g * share).squeeze()
            every[b, t] = chance.log()
    return every


@pytest.mark.parametrize("options", [{}, {"copy_gate": False}, {"tie_embeddings": False}, {"label_smoothing": 0.3},
                                     {"chunk_tokens": 4, "label_smoothing": 0.3}], ids=str)
def test_loss_and_probabilities_written_out(options: dict[str, Any]) -> None:
    head, states, labels = head_of(**options), document(), gold()
    states.input_ids_BS[2] = torch.tensor([5, 7, 8, 5, 7, 8, 5])  # nothing there is in the target vocabulary
    inputs = head.shift(labels)
    every = written_out(head, states, inputs)
    found = head.log_probabilities(inputs, states)
    near(found, every)
    near(found.exp().sum(2), torch.ones(B, T))
    smoothing = head.options.label_smoothing
    losses = [-(1 - smoothing) * every[b, t, labels[b, t]] - smoothing * every[b, t].mean()
              for b in range(B) for t in range(T) if labels[b, t] != -100]
    near(head.nll(states, labels)[0], torch.stack(losses).sum())


def test_a_head_without_a_match_writes_by_its_vocabulary_alone() -> None:
    head, states = head_of(torch.full_like(SAME, NOTHING)), document()
    inputs = head.shift(gold())
    alone = head.vocabulary_logits(head.given.flatten(0, 1), states.embedding_VD).double().log_softmax(1)
    near(head.log_probabilities(inputs, states), alone.unflatten(0, (B, T)))
    gate, _ = head.copy_evidence(gold(), states)
    assert gate.abs().max() == 0
    total, _ = head.nll(states, gold())
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(total, list(head.parameters())))


def test_only_a_head_that_copies_keeps_what_it_copies() -> None:
    assert torch.equal(head_of().same_surface_V, SAME) and "same_surface_V" in head_of().state_dict()
    for other in (head_of(copy_gate=False), Given(4)):
        assert "same_surface_V" not in other.state_dict()
    head = head_of()
    assert head.embed(torch.tensor([[10]]), document()).shape == (1, 1, SIZES.width)
    assert torch.equal(head.embed(torch.tensor([[10]]), document())[0, 0], head.embedding.weight[10])
    near(Given(4).embed(torch.tensor([[3]]), document())[0, 0], numbers(17, 6, seed=2)[3])
