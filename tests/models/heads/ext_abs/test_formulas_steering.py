"""What steers the head that selects and writes, against a document, a sentence and a token at a time in fp64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from formulas import SIZES, B, S, document, drawn, near, numbers
from llmtrain.models.heads.base import EncoderStates, Sentences
from llmtrain.models.heads.ext_abs.head import ExtAbsHead
from llmtrain.models.heads.ext_abs.options import ExtAbsHeadConfig
from llmtrain.models.heads.transformer.head import TransformerHead

# of the three documents: four sentences, two (the second place has no tokens), and none; token 0 is in none
START = torch.tensor([[1, 2, 4, 6], [1, 3, 3, 0], [0, 0, 0, 0]])
END = torch.tensor([[2, 4, 6, 7], [3, 3, 4, 0], [0, 0, 0, 0]])
LABELS = torch.tensor([[0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]])
SCORES = torch.tensor([[3.0, 0.5, 6.0, -4.0], [-2.0, 9.0, 1.0, 9.0], [9.0, 8.0, 7.0, 6.0]])
HIDDEN = -1e8  # what hides a token adds less than this


def head_of(**options: Any) -> Any:
    return drawn(ExtAbsHead(ExtAbsHeadConfig(layers=1, **options), SIZES))


def read(labelled: bool = True) -> EncoderStates:
    states = document()
    states.sentences = Sentences(START, END, LABELS if labelled else None)
    return states


def known(head: Any, states: EncoderStates, scores: Tensor) -> EncoderStates:
    """The states with the sentences' scores given."""
    states.shared = {"sentence_scores": scores}
    return states


def places_of(b: int) -> list[int]:
    return [n for n in range(4) if END[b, n] > START[b, n]]


def test_soft_steering_written_out_with_its_gradients() -> None:
    head = head_of()
    assert head.cites and ExtAbsHead(ExtAbsHeadConfig(layers=1), SIZES).steering.item() == 1.0
    scores = SCORES.clone().requires_grad_()
    made = head.steer(known(head, read(), scores)).steering_BS
    exact_scores, strength = SCORES.double().requires_grad_(), head.steering.detach().double().requires_grad_()
    wanted = torch.zeros(B, S, dtype=torch.float64)
    for b in range(B):
        logs = {n: -torch.log1p(torch.exp(-exact_scores[b, n])) for n in places_of(b)}
        best = max((float(one.detach()) for one in logs.values()), default=0.0)  # a constant: it has no gradient
        for n, one in logs.items():
            wanted[b, START[b, n]:END[b, n]] = strength * (one - best)
    near(made, wanted)
    upstream = numbers(B, S, seed=8)
    found = torch.autograd.grad(made, (scores, head.steering), upstream)
    for one, exact in zip(found, torch.autograd.grad(wanted, (exact_scores, strength), upstream.double()), strict=True):
        near(one, exact)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_top_k_steering_written_out(count: int, labelled: bool, training: bool) -> None:
    head = head_of(steer="top_k", count=count).train(training)
    assert not hasattr(head, "steering")
    states = known(head, read(labelled), SCORES)
    chosen, added = head.chosen(SCORES, states), head.steer(states).steering_BS
    for b in range(B):
        def worth(n: int, b: int = b) -> float:
            first = int(LABELS[b, n]) if labelled and training else 0
            return first + 1 / (1 + math.exp(-float(SCORES[b, n])))

        best = sorted(places_of(b), key=worth, reverse=True)[:count]
        # a place without a sentence takes none of the count
        assert chosen[b].tolist() == [n in best for n in range(4)]
        hidden = {s for n in places_of(b) if n not in best for s in range(START[b, n], END[b, n])}
        assert [float(value) < HIDDEN for value in added[b]] == [s in hidden for s in range(S)]
        assert all(value == 0 for s, value in enumerate(added[b].tolist()) if s not in hidden)


def test_labelled_sentences_come_first_and_the_others_by_their_score() -> None:
    head = head_of(steer="top_k", count=2).train()
    chosen = head.chosen(SCORES, read())
    assert chosen.tolist() == [[False, False, True, True], [True, False, True, False], [False] * 4]


def test_documents_without_sentences_or_steered_already_are_left_as_they_are() -> None:
    head = head_of()
    states = document()
    assert head.steer(states) is states
    states = read()
    states.steering_BS = numbers(B, S)
    assert head.steer(states) is states


def test_sentences_are_scored_once_in_a_training_step_and_else_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    head, states = head_of(), read()
    asked: list[EncoderStates] = []
    real = head.scorer.forward
    monkeypatch.setattr(head.scorer, "forward", lambda given: asked.append(given) or real(given))
    exact = real(states)
    for _ in range(2):
        near(head.sentence_scores(states), exact)
    assert len(asked) == 2
    states.shared = {}
    first = head.sentence_scores(states)
    near(first, exact)
    assert head.sentence_scores(states) is first
    assert len(asked) == 3


def test_the_written_loss_reads_the_steered_document() -> None:
    """As the transformer head with the same parameters does, told what is added to its scores."""
    head = head_of()
    plain = TransformerHead(ExtAbsHeadConfig(layers=1), SIZES).eval()
    plain.load_state_dict(head.state_dict(), strict=False)
    states, ids = read(), torch.tensor([[3, 4], [5, 6], [7, 8]])
    steered = document()
    steered.steering_BS = head.steer(states).steering_BS
    near(head.nll(states, ids)[0], plain.nll(steered, ids)[0])
    assert not torch.allclose(head.nll(states, ids)[0], plain.nll(document(), ids)[0])
