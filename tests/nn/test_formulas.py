"""What attention and the fp16 products round, and what they do not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from llmtrain.nn import attention
from llmtrain.nn.attention import attend, kept_probabilities, trunk_attention
from llmtrain.nn.linear import Transposed, cheapen_linear, half_on_cpu, linear, product


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_16_bit_attention_rounds_products_and_not_the_softmax() -> None:
    q, k, v = (numbers(2, 3, 9, 16, seed=n).bfloat16() * 3 for n in range(3))
    scores = torch.bmm(q.flatten(0, 1), k.flatten(0, 1).mT).float() * 0.4
    causal = torch.full((9, 9), -torch.inf).triu(1)
    for hidden, made in ((0, attend(q, k, v, scale=0.4)), (causal, attend(q, k, v, causal=True, scale=0.4))):
        exact = torch.bmm(torch.softmax(scores + hidden, -1).bfloat16(), v.flatten(0, 1)).unflatten(0, (2, 3))
        assert torch.equal(made, exact)


def test_the_gradient_of_added_numbers_is_summed_in_fp32() -> None:
    q, k, v = (numbers(400, 2, 3, 8, seed=n).bfloat16() for n in range(3))
    bias = torch.zeros(1, 1, 1, 3, requires_grad=True)
    upstream = numbers(400, 2, 3, 8, seed=4).bfloat16()
    (found,) = torch.autograd.grad(attend(q, k, v, bias), bias, upstream)
    every = torch.zeros(400, 2, 3, 3, requires_grad=True)
    exact = torch.softmax(q.float() @ k.float().mT * 8 ** -0.5 + every, -1) @ v.float()
    (wanted,) = torch.autograd.grad(exact, every, upstream.float())
    torch.testing.assert_close(found, wanted.sum((0, 1, 2), keepdim=True), rtol=2e-2, atol=0.2)
    assert not torch.equal(found, found.bfloat16().float())


def test_probabilities_are_kept_in_16_bits_on_a_cpu_up_to_a_limit() -> None:
    shape = (2, 3, 5, 7)
    assert kept_probabilities(shape, torch.bfloat16, "cpu") == 2 * 3 * 5 * 7 * 2
    assert kept_probabilities(shape, torch.float16, "cpu") == 0
    assert kept_probabilities(shape, torch.float32, "cpu") == 0
    assert kept_probabilities(shape, torch.bfloat16, "cuda") == 0
    assert kept_probabilities((attention.KEPT_BYTES // 2,), torch.bfloat16, "cpu") == attention.KEPT_BYTES == 2 ** 28
    assert kept_probabilities((attention.KEPT_BYTES // 2 + 1,), torch.bfloat16, "cpu") == 0


def test_a_trunk_without_a_word_on_it_looks_ahead_and_a_pair_of_tokens_does_not() -> None:
    q, k, v = (numbers(1, 2, 2, 4, seed=n) for n in range(3))
    module = nn.Module().eval()
    made, _ = trunk_attention(module, q, k, v, None)
    torch.testing.assert_close(made, F.scaled_dot_product_attention(q, k, v).transpose(1, 2))
    made, _ = trunk_attention(module, q, k, v, None, is_causal=True)
    torch.testing.assert_close(made, F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2))
    assert made.is_contiguous()


def test_a_trunk_attends_in_the_format_of_autocast() -> None:
    q, k, v = (numbers(1, 2, 5, 4, seed=n) for n in range(3))
    module = nn.Module().eval()
    with torch.autocast("cpu", torch.bfloat16):
        made, _ = trunk_attention(module, q, k, v.bfloat16(), None)
    assert torch.equal(made, attend(q.bfloat16(), k.bfloat16(), v.bfloat16()).transpose(1, 2))


def test_fp16_products_round_each_operand(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 + 2^-12 is 1 in fp16; 1024 times the difference would be seen."""
    monkeypatch.setattr("llmtrain.nn.linear.cpu_has_fp16", lambda: False)
    fine, coarse = torch.tensor([[1 + 2 ** -12, 1.0]]), torch.tensor([[1024.0, -1024.0]])
    for autocast in (True, False):
        with torch.autocast("cpu", torch.float16, enabled=autocast):
            kind = torch.float32 if autocast else torch.float16
            assert linear(fine.to(kind), coarse.to(kind)).item() == 0.0
            assert linear(coarse.to(kind), fine.to(kind)).item() == 0.0
            assert product(fine[None].to(kind), coarse.T[None].to(kind)).item() == 0.0
    x, weight = torch.ones(2, 1, requires_grad=True), torch.ones(1, 1, requires_grad=True)
    with torch.autocast("cpu", torch.float16):
        made = linear(x, weight)
    assert made.dtype == torch.float16
    upstream = torch.tensor([[2049.0], [-2047.0]]).half()  # 2048 and -2047: the sum is 1
    assert torch.autograd.grad(made, weight, upstream)[0].item() == 1.0


def test_only_fp16_on_a_cpu_is_rounded_so() -> None:
    x = numbers(2, 3)
    assert half_on_cpu(x.half()) and not half_on_cpu(x) and not half_on_cpu(x.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert not half_on_cpu(x.half())
    with torch.autocast("cpu", torch.float16):
        assert half_on_cpu(x)
    assert not half_on_cpu(torch.empty(1, dtype=torch.float16, device="meta"))


@pytest.mark.parametrize("fp16", [True, False])
def test_a_transposed_layer_is_gpt2s(fp16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrain.nn.linear.cpu_has_fp16", lambda: False)
    theirs = Conv1D(4, 3)
    ours = Conv1D(4, 3)
    ours.load_state_dict(theirs.state_dict())
    cheapen_linear(nn.Sequential(ours))
    assert type(ours) is Transposed
    x = numbers(2, 5, 3)
    with torch.autocast("cpu", torch.float16, enabled=fp16):
        torch.testing.assert_close(ours(x).float(), theirs(x).float(), atol=2e-3 if fp16 else 1e-6, rtol=1e-3)
