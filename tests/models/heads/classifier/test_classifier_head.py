"""The classifying head: pooling past padding, sums and counts, weights, smoothing, several labels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from llmtrain.core.errors import ConfigError
from llmtrain.data.batch import IGNORED
from llmtrain.models.heads.base import EncoderStates, Sizes
from llmtrain.models.heads.classifier.head import ClassifierHead, label_nll, weights_of
from llmtrain.models.heads.classifier.options import POOLINGS, ClassifierHeadConfig

FACTS = {"labels": ["a", "b", "c"], "counts": [6, 3, 1], "rows": 10, "multi_label": False}
SEVERAL = FACTS | {"multi_label": True}


def sizes(facts: dict[str, Any]) -> Sizes:
    return Sizes(width=8, heads=2, ffn=16, vocabulary=20, positions=16, start_id=1, facts=facts)


def head(facts: dict[str, Any] = FACTS, **options: Any) -> ClassifierHead:
    torch.manual_seed(0)
    return ClassifierHead(ClassifierHeadConfig(dropout=0.0, **options), sizes(facts))


def states(lengths: tuple[int, ...] = (5, 3, 1), width: int = 6, seed: int = 1) -> EncoderStates:
    draw = torch.Generator().manual_seed(seed)
    hidden_BSD = torch.randn(len(lengths), 6, 8, generator=draw)[:, :width]
    mask_BS = (torch.arange(width) < torch.tensor(lengths).unsqueeze(1)).long()
    return EncoderStates(hidden_BSD, mask_BS, torch.zeros_like(mask_BS), torch.zeros(20, 8))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_has_no_part_in_what_stands_for_a_text(pooling: str) -> None:
    made = head(pooling=pooling)
    whole = made.logits(states())
    noisy = states()
    noisy.hidden_BSD = noisy.hidden_BSD + 100 * (1 - noisy.attention_mask_BS).unsqueeze(2)
    assert torch.equal(whole, made.logits(noisy))
    assert torch.allclose(whole, made.logits(states(width=5)), atol=1e-6)


def test_each_pooling_is_what_it_says() -> None:
    given = states()
    hidden_BSD, lengths = given.hidden_BSD, (5, 3, 1)
    pools = {name: head(pooling=name).pooling for name in POOLINGS}
    pooled = {name: pool(hidden_BSD, given.attention_mask_BS) for name, pool in pools.items()}
    assert torch.allclose(pooled["mean"], torch.stack([hidden_BSD[b, :n].mean(0) for b, n in enumerate(lengths)]))
    assert torch.equal(pooled["first"], hidden_BSD[:, 0])
    assert torch.equal(pooled["last"], torch.stack([hidden_BSD[b, n - 1] for b, n in enumerate(lengths)]))
    score = pools["attention"].score
    wanted = [torch.softmax(score(hidden_BSD[b, :n]).squeeze(1), 0) @ hidden_BSD[b, :n]
              for b, n in enumerate(lengths)]
    assert torch.allclose(pooled["attention"], torch.stack(wanted), atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_row_without_a_token_has_finite_logits_and_gradients(pooling: str) -> None:
    made = head(pooling=pooling)
    given = states((0, 2))
    given.hidden_BSD.requires_grad_(True)
    made.nll(given, torch.tensor([[0], [1]]))[0].backward()
    assert given.hidden_BSD.grad is not None and bool(given.hidden_BSD.grad.isfinite().all())


@pytest.mark.parametrize("options", [{}, {"class_weights": "balanced"}, {"label_smoothing": 0.2},
                                     {"class_weights": {"a": 3}, "label_smoothing": 0.1}], ids=str)
@pytest.mark.parametrize("facts", [FACTS, SEVERAL], ids=["one", "several"])
def test_the_sum_of_parts_is_the_sum_of_the_whole_and_unlabelled_rows_count_nothing(
        facts: dict[str, Any], options: dict[str, Any]) -> None:
    made = head(facts, **options)
    labels = torch.tensor([[2], [0], [1]]) if facts is FACTS else torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    total, count = made.nll(states(), labels)
    assert int(count) == (3 if facts is FACTS else 9) and total.dtype == torch.float32
    parts = [made.nll(EncoderStates(*(part[i:i + 1] for part in (
        states().hidden_BSD, states().attention_mask_BS, states().input_ids_BS)), torch.zeros(20, 8)), labels[i:i + 1])
        for i in range(3)]
    assert torch.allclose(total, torch.stack([part for part, _ in parts]).sum(), rtol=1e-5)
    labels[1] = IGNORED
    less, fewer = made.nll(states(), labels)
    assert torch.allclose(less, parts[0][0] + parts[2][0], rtol=1e-5) and int(fewer) == int(count) * 2 // 3
    none, zero = made.nll(states(), torch.full((3, 1), IGNORED))
    none.backward()
    assert float(none.detach()) == 0 and int(zero) == 0
    assert all(p.grad is not None and not p.grad.any() for p in made.parameters())


def test_the_losses_are_torchs_own() -> None:
    logits, labels = states().hidden_BSD[:, 0, :3], torch.tensor([2, 0, 1])
    weights = (0.5, 2.0, 1.0)
    assert torch.allclose(label_nll(logits, labels.view(-1, 1), False, weights, 0.1)[0], F.cross_entropy(
        logits, labels, weight=torch.tensor(weights), label_smoothing=0.1, reduction="sum"))
    wanted = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    assert torch.allclose(label_nll(logits, wanted, True, weights)[0], F.binary_cross_entropy_with_logits(
        logits, wanted.float(), pos_weight=torch.tensor(weights), reduction="sum"))


def test_balanced_weights_give_every_label_the_same_share_of_the_training_rows() -> None:
    weights = weights_of("balanced", FACTS)
    assert weights is not None
    shares = [weight * count for weight, count in zip(weights, FACTS["counts"], strict=True)]  # type: ignore[call-overload]
    assert shares == pytest.approx([10 / 3] * 3) and sum(shares) == pytest.approx(10)
    assert weights_of("balanced", SEVERAL) == pytest.approx((4 / 6, 7 / 3, 9))
    assert weights_of({"b": 2}, FACTS) == (1, 2, 1) and weights_of(None, FACTS) is None
    assert ClassifierHeadConfig(class_weights={1: 2.0, "a": 1, None: 1}).class_weights == {"1": 2, "a": 1, "None": 1}
    assert ClassifierHeadConfig(class_weights={False: 2, 1.0: 1}).class_weights == {"false": 2, "1": 1}
    assert ClassifierHeadConfig(class_weights="{很好: 2, yes: 0.5, don't: 1}").class_weights == {
        "很好": 2, "yes": 0.5, "don't": 1}
    for none in ("{broken", "{a: [}", "{}"):
        assert next(iter(ClassifierHeadConfig(class_weights=none).problems())).startswith("head.class_weights=")
    with pytest.raises(ConfigError, match="names d and no training row has that label; the labels are a, b, c"):
        weights_of({"d": 1}, FACTS)


def test_probabilities_are_a_softmax_or_one_sigmoid_a_label() -> None:
    one, several = head().probabilities(states()), head(SEVERAL).probabilities(states())
    assert torch.allclose(one.sum(1), torch.ones(3))
    assert torch.allclose(torch.logit(several), head(SEVERAL).logits(states()), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_near_fp32_and_the_loss_is_fp32(dtype: torch.dtype) -> None:
    made = head(pooling="attention", hidden=None)
    exact, labels = made.nll(states(), torch.tensor([[0], [1], [2]]))[0], torch.tensor([[0], [1], [2]])
    with torch.autocast("cpu", dtype):
        low = made.nll(states(), labels)[0]
    assert low.dtype == torch.float32 and torch.allclose(low, exact, rtol=0.02)


def shapes(**options: Any) -> dict[str, tuple[int, ...]]:
    made: dict[str, Tensor] = head(**options).state_dict()
    return {name: tuple(value.shape) for name, value in made.items()}


def test_what_the_options_shape() -> None:
    assert shapes() == {"output.weight": (3, 8), "output.bias": (3,)}
    assert shapes(hidden=None, bias=False) == {"hidden.weight": (8, 8), "hidden.bias": (8,), "output.weight": (3, 8)}
    assert shapes(hidden=5)["output.weight"] == (3, 5)
    assert shapes(pooling="attention")["pooling.score.weight"] == (1, 8)
    assert shapes(facts=SEVERAL)["tuned_threshold"] == ()
