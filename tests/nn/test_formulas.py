"""Attention against softmax and torch's own, and what it and the fp16 products round."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from formulas import near, numbers
from llmtrain.nn import attention
from llmtrain.nn.attention import attend, kept_probabilities, trunk_attention
from llmtrain.nn.linear import Transposed, cheapen_linear, half_on_cpu, linear, product


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


@pytest.mark.parametrize("format", [torch.float16, torch.bfloat16])
def test_what_an_fp32_kernel_keeps_for_its_backward_pass_is_rounded_to_the_format_it_came_from(
        format: torch.dtype) -> None:
    """exp keeps its result; of other types or shapes (row norms) nothing is rounded."""
    for shape, dtype in (((2, 3, 4, 5), torch.float32), ((2, 3, 4), torch.float32), ((2, 3, 4, 5), torch.float64),
                         ((1, 2, 3, 4, 5), torch.float32)):
        x, upstream = numbers(*shape).to(dtype).requires_grad_(), numbers(*shape, seed=1).to(dtype)
        with attention._kept_as(format):
            made = x.exp()
        (found,) = torch.autograd.grad(made, x, upstream)
        kept = x.detach().exp()
        rounded = len(shape) == 4 and dtype is torch.float32
        assert torch.equal(found, upstream * (kept.to(format).float() if rounded else kept))
        assert torch.equal(made, kept)  # what is given on is not rounded here


def test_fp16_attention_keeps_its_operands_and_result_in_fp16() -> None:
    q, k, v = (numbers(2, 3, 9, 16, seed=n).half().requires_grad_() for n in range(3))
    kept: list[torch.Tensor] = []
    real = attention._kept_as

    def watched(format: torch.dtype) -> object:
        hooks = real(format)
        pack = hooks.pack_hook  # type: ignore[attr-defined]
        hooks.pack_hook = lambda given: kept.append(pack(given)) or kept[-1]  # type: ignore[attr-defined]
        return hooks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "_kept_as", watched)
        made = attend(q, k, v)
    assert sorted(x.dtype == torch.float16 for x in kept if x.dim() == 4) == [True] * 4  # query, key, value, result
    exact = [x.detach().float().requires_grad_() for x in (q, k, v)]
    upstream = numbers(2, 3, 9, 16, seed=5).half()
    wanted = torch.autograd.grad(F.scaled_dot_product_attention(*exact), exact, upstream.float())
    for one, two in zip(torch.autograd.grad(made, (q, k, v), upstream), wanted, strict=True):
        near(one, two, 2e-3)


def test_16_bit_products_serve_up_to_the_bytes_that_may_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = (numbers(2, 3, count, 4, seed=count).bfloat16() for count in (5, 7, 7))
    fused: list[torch.dtype] = []
    real = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *given, **named: fused.append(given[0].dtype) or real(
        *given, **named))
    found = []
    for limit in (2 * 3 * 5 * 7 * 2, 2 * 3 * 5 * 7 * 2 - 1):
        monkeypatch.setattr(attention, "KEPT_BYTES", limit)
        found.append(attend(q, k, v))
    assert fused == [torch.float32]  # the second
    near(found[0], found[1], 2e-2)
    assert attend(q[:, :, :0], k, v).shape == attend(q[:, :, :0].half(), k.half(), v.half()).shape == (2, 3, 0, 4)


def test_fp64_stays_fp64_and_other_devices_have_16_bit_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = (numbers(2, 3, count, 4, seed=count).double() for count in (5, 7, 7))
    near(attend(q, k, v), torch.softmax(q @ k.mT / 2, -1) @ v, 1e-12)
    asked: list[tuple[torch.dtype, torch.dtype]] = []
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *given, **_: asked.append(
        (given[0].dtype, given[3].dtype)) or given[0])
    q, k, v = (x.bfloat16().to("meta") for x in (q, k, v))
    attend(q, k, v, torch.zeros(1, 1, 1, 7, device="meta"))
    attend(q, k, v, torch.ones(1, 1, 1, 7, dtype=torch.bool, device="meta"))
    assert asked == [(torch.bfloat16, torch.bfloat16), (torch.bfloat16, torch.bool)]


def test_a_trunk_that_names_no_dropout_has_none() -> None:
    q, k, v = (numbers(1, 2, 5, 4, seed=n) for n in range(3))
    made, _ = trunk_attention(nn.Module().train(), q, k, v, None)
    near(made, attend(q, k, v).transpose(1, 2))


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows", [1, 3])
def test_numbers_added_to_scores_and_their_gradient(dtype: torch.dtype, rows: int) -> None:
    q, k, v = (numbers(3, 2, n, 8, seed=i).to(dtype).requires_grad_() for i, n in enumerate((4, 6, 6)))
    bias = numbers(rows, 1, 1, 6, seed=5).requires_grad_()
    exact = [x.detach().double().requires_grad_() for x in (q, k, v, bias)]
    made = attend(q, k, v, bias)
    wanted = torch.softmax(exact[0] @ exact[1].mT / math.sqrt(8) + exact[3], -1) @ exact[2]
    limit = {torch.float32: 1e-5, torch.bfloat16: 5e-2, torch.float16: 1e-2}[dtype]
    near(made, wanted, limit)
    upstream = numbers(3, 2, 4, 8, seed=7)
    mine = torch.autograd.grad(made, (q, k, v, bias), upstream.to(dtype))
    for one, two in zip(mine, torch.autograd.grad(wanted, exact, upstream.double()), strict=True):
        near(one, two, limit * 2)


@pytest.mark.parametrize(("own", "told", "masked", "looks_ahead"), [
    (True, None, False, False), (False, None, False, True), (True, False, False, True), (False, True, False, False),
    (True, None, True, True)])
def test_trunk_attention_shares_keys_among_heads_and_hides_what_comes(own: bool, told: bool | None, masked: bool,
                                                                      looks_ahead: bool) -> None:
    module = nn.Module().eval()
    module.is_causal = own  # type: ignore[assignment]
    q, k, v = numbers(2, 4, 5, 8), numbers(2, 2, 5, 8, seed=1), numbers(2, 2, 5, 8, seed=2)
    mask = torch.tensor([True, True, False, True, True]).expand(2, 1, 5, 5) if masked else None
    made, nothing = trunk_attention(module, q, k, v, mask, 0.5, 0.7, told)
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), mask, is_causal=not looks_ahead,
                                           scale=0.7, enable_gqa=True)
    assert nothing is None
    near(made, exact.transpose(1, 2))
    one, _ = trunk_attention(module, q[:, :, -1:], k, v, None, 0.0, 0.7, told)  # the last token sees all of them
    near(one, F.scaled_dot_product_attention(q[:, :, -1:], k, v, scale=0.7, enable_gqa=True).transpose(1, 2))


def test_products_without_a_gradient_compute_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrain.nn.linear.cpu_has_fp16", lambda: False)
    x, weight = numbers(3, 4), numbers(5, 4, seed=1).requires_grad_()
    with torch.autocast("cpu", torch.float16):
        made = linear(x, weight)
    (gradient,) = torch.autograd.grad(made.float().sum(), weight)
    near(gradient, x.half().float().sum(0).expand(5, 4), 3e-3)


def test_other_formats_than_fp16_are_not_rounded_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrain.nn.linear.cpu_has_fp16", lambda: False)
    fine, coarse = torch.tensor([[1 + 2 ** -12, 1.0]]), torch.tensor([[1024.0, -1024.0]])
    assert linear(fine, coarse).item() == product(fine[None], coarse.T[None]).item() == 0.25


def test_fp16_products_are_of_fp16_whatever_autocast_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 + 2^-10 is a number of fp16 and none of bf16, which autocast takes on a CPU unless told."""
    monkeypatch.setattr("llmtrain.nn.linear.cpu_has_fp16", lambda: False)
    x, one = torch.full((1, 1), 1 + 2 ** -10, dtype=torch.float16), torch.ones(1, 1, dtype=torch.float16)
    assert linear(x, one).item() == linear(one, x).item() == product(x[None], one[None]).item() == 1 + 2 ** -10


@pytest.mark.parametrize("autocast", [False, True])
def test_each_operand_alone_has_its_gradient(autocast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrain.nn.linear.cpu_has_fp16", lambda: False)
    kind = torch.float32 if autocast else torch.float16
    x, weight, bias = numbers(3, 4).to(kind), numbers(5, 4, seed=1).to(kind), numbers(5, seed=2).to(kind)
    upstream = numbers(3, 5, seed=3).half()
    wide = [part.half().double() for part in (x, weight, upstream)]
    exact = (wide[2] @ wide[1], wide[2].T @ wide[0], wide[2].sum(0))
    with torch.autocast("cpu", torch.float16, enabled=autocast):
        for place in range(3):
            given = [part.clone().requires_grad_(n == place) for n, part in enumerate((x, weight, bias))]
            (found,) = torch.autograd.grad(linear(*given), given[place], upstream)
            near(found, exact[place].to(found.dtype), 4e-3)
            assert found.dtype == kind
        for place in range(2):
            given = [part.clone()[None].requires_grad_(n == place) for n, part in enumerate((x, weight.T))]
            (found,) = torch.autograd.grad(product(*given), given[place], upstream[None])
            near(found[0], (exact[0], exact[1].T)[place].to(found.dtype), 4e-3)
