"""The kernels under trunk and head, against torch's own in fp64: attention, dropout, fp16 products, likelihood."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers import make_tiny_base
from llmtrain.config.sections.model import ModelConfig
from llmtrain.core.errors import ConfigError
from llmtrain.models.backbone.families import layers, pretrained_mlm_head
from llmtrain.models.backbone.pretrained import open_base
from llmtrain.models.heads.copy import gold_log_probability
from llmtrain.models.heads.transformer.options import TransformerHeadConfig
from llmtrain.models.heads.transformer.warm_start import chosen_layers
from llmtrain.models.seq2seq import LlmtrainForSeq2SeqLM
from llmtrain.nn import attention
from llmtrain.nn.attention import attend
from llmtrain.nn.dropout import Dropout, cheapen_dropout, dropout_factor
from llmtrain.nn.linear import Linear, cheapen_linear, linear, product


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def off(one: Tensor, exact: Tensor) -> float:
    """Relative distance."""
    return float((one.detach().double() - exact.detach()).norm() / exact.detach().norm())


@pytest.mark.parametrize(("queries", "causal", "masked"), [(9, False, False), (9, True, False), (9, False, True),
                                                           (4, False, True)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_attention_is_softmax_attention(queries: int, causal: bool, masked: bool, dtype: torch.dtype,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "CACHE_ELEMENTS", 100)  # several blocks
    mask = torch.ones(3, 1, 1, 9, dtype=torch.bool)
    mask[1, :, :, 5:] = False
    inputs = [numbers(3, n, 2, 8, seed=n + i, dtype=dtype).transpose(1, 2).requires_grad_()
              for i, n in enumerate((queries, 9, 9))]
    exact_inputs = [x.detach().double().requires_grad_() for x in inputs]
    upstream = numbers(3, 2, queries, 8, seed=5, dtype=dtype)
    given = mask if masked else None
    ours = attend(*inputs, given, causal, scale=0.3)
    exact = F.scaled_dot_product_attention(*exact_inputs, given, is_causal=causal, scale=0.3)
    assert ours.dtype == dtype
    limit = {torch.bfloat16: 2e-2, torch.float16: 3e-3, torch.float32: 1e-5}[dtype]
    assert off(ours, exact) < limit
    wanted = torch.autograd.grad(exact, exact_inputs, upstream.double())
    for one, two in zip(torch.autograd.grad(ours, inputs, upstream), wanted, strict=True):
        assert off(one, two) < limit


def test_a_document_that_is_all_padding_gives_no_nan() -> None:
    x = numbers(1, 1, 4, 8, dtype=torch.bfloat16).requires_grad_()
    made = attend(x, x, x, torch.zeros(1, 1, 1, 4, dtype=torch.bool))
    made.sum().backward()
    assert torch.isfinite(made).all()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_attention_dropout_uses_one_mask_in_both_passes() -> None:
    inputs = [numbers(2, 3, 11, 8, seed=i, dtype=torch.bfloat16).requires_grad_() for i in range(3)]
    query, key, value = exact_inputs = [x.detach().double().requires_grad_() for x in inputs]
    torch.manual_seed(4)
    ours = attend(*inputs, dropout=0.25)
    torch.manual_seed(4)
    factor = dropout_factor((6, 11, 11), 0.25, torch.bfloat16).view(2, 3, 11, 11)
    exact = (torch.softmax(query @ key.transpose(2, 3) * 8 ** -0.5, -1) * factor.double()) @ value
    assert (factor == 0).any()
    assert off(ours, exact) < 2e-2
    upstream = numbers(2, 3, 11, 8, seed=5, dtype=torch.bfloat16)
    wanted = torch.autograd.grad(exact, exact_inputs, upstream.double())
    for one, two in zip(torch.autograd.grad(ours, inputs, upstream), wanted, strict=True):
        assert off(one, two) < 2e-2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_its_share_scales_the_rest_and_repeats_under_a_seed(dtype: torch.dtype) -> None:
    layer, x = Dropout(0.1), torch.ones(301, 333, dtype=dtype, requires_grad=True)
    torch.manual_seed(7)
    made = layer(x)
    (grad,) = torch.autograd.grad(made.sum(), x)
    assert (made == 0).float().mean() == pytest.approx(0.1, abs=0.005)
    assert torch.equal(made.detach(), grad)
    assert made.max().item() == pytest.approx(1 / 0.9, rel=1e-2)
    torch.manual_seed(7)
    assert torch.equal(layer(x), made)
    assert not torch.equal(layer(x), made)
    assert layer.eval()(x) is x
    assert (dropout_factor((5000,), 0.5, torch.float32) == 0).float().mean() == pytest.approx(0.5, abs=0.03)


def test_cheap_parts_take_the_place_of_torchs_and_keep_the_weights() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Dropout(0.3)))
    weight = module[0].weight
    cheapen_dropout(module)
    cheapen_linear(module)
    assert type(module[0]) is Linear and module[0].weight is weight
    assert type(module[1][0]) is Dropout and module[1][0].p == 0.3
    assert list(module.state_dict()) == ["0.weight", "0.bias"]


@pytest.fixture
def without_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrain.nn.linear.cpu_has_fp16", lambda: False)


def test_fp16_products_round_operands_and_results(without_fp16: None) -> None:
    x, weight, bias = numbers(2, 5, 7), numbers(4, 7, seed=1), numbers(4, seed=2)
    leaves = [t.requires_grad_() for t in (x, weight, bias)]
    with torch.autocast("cpu", torch.float16):
        made = linear(x, weight, bias)
    assert made.dtype == torch.float16
    rounded = [t.detach().half().double().requires_grad_() for t in leaves]
    exact = F.linear(*rounded)
    upstream = numbers(2, 5, 4, seed=3).half()
    assert torch.equal(made, exact.half()) or off(made, exact) < 5e-4
    wanted = torch.autograd.grad(exact, rounded, upstream.double())
    for one, two in zip(torch.autograd.grad(made, leaves, upstream), wanted, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, one.half().float())  # a gradient rounded to fp16, as torch's own is
        assert off(one, two) < 1e-3


def test_fp16_products_overflow_as_fp16_does(without_fp16: None) -> None:
    with torch.autocast("cpu", torch.float16):
        assert torch.isinf(linear(torch.full((1, 4), 300.0), torch.full((1, 4), 300.0))).all()
        small = linear(torch.full((1, 1), 1e-5), torch.full((1, 1), 1e-5))
    assert small.item() == 0.0


def test_fp16_batched_products(without_fp16: None) -> None:
    left, right = numbers(3, 4, 5).requires_grad_(), numbers(3, 5, 6, seed=1).requires_grad_()
    with torch.autocast("cpu", torch.float16):
        made = product(left, right)
    exact = torch.bmm(left.detach().double(), right.detach().double())
    assert made.dtype == torch.float16
    assert off(made, exact) < 2e-3
    upstream = numbers(3, 4, 6, seed=2)
    one, two = torch.autograd.grad(made, (left, right), upstream.half())
    assert off(one, torch.bmm(upstream.double(), right.detach().double().transpose(1, 2))) < 3e-3
    assert off(two, torch.bmm(left.detach().double().transpose(1, 2), upstream.double())) < 3e-3


def test_cpus_with_fp16_and_other_formats_use_torchs_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrain.nn.linear.cpu_has_fp16", lambda: True)
    x, weight = numbers(2, 3).half(), numbers(4, 3).half().requires_grad_()
    assert "HalfLinear" not in type(linear(x, weight).grad_fn).__name__
    monkeypatch.setattr("llmtrain.nn.linear.cpu_has_fp16", lambda: False)
    assert "HalfLinear" in type(linear(x, weight).grad_fn).__name__
    with torch.autocast("cpu", torch.bfloat16):
        assert "HalfLinear" not in type(linear(x.float(), weight).grad_fn).__name__


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_gold_log_probability_is_exact_for_the_logits_it_gets(dtype: torch.dtype) -> None:
    logits = (numbers(40, 50) * 3).to(dtype).requires_grad_()  # 40 rows: three blocks
    gold = torch.arange(40) % 50
    exact_logits = logits.detach().double().requires_grad_()
    exact = torch.log_softmax(exact_logits, 1).gather(1, gold.unsqueeze(1)).squeeze(1)
    ours = gold_log_probability(logits, gold)
    assert ours.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.allclose(ours.double(), exact, atol=1e-5)
    weights = numbers(40, seed=1)
    (one,) = torch.autograd.grad(ours, logits, weights.to(ours.dtype))
    (two,) = torch.autograd.grad(exact, exact_logits, weights.double())
    assert one.dtype == dtype
    assert off(one, two) < (4e-3 if dtype == torch.bfloat16 else 1e-5)


def build(base: Path, config: dict[str, Any] | None = None, **head: Any) -> LlmtrainForSeq2SeqLM:
    torch.manual_seed(0)
    options = TransformerHeadConfig(**{"layers": 2, **head})
    return LlmtrainForSeq2SeqLM.from_base(open_base(ModelConfig(path=str(base), **(config or {}))), options)


def step(model: LlmtrainForSeq2SeqLM, dtype: torch.dtype = torch.float32) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(1)
    ids = torch.randint(5, 150, (4, 12), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(ids)
    mask[0, 7:] = 0
    model.zero_grad()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        total, count = model.head.nll(model.encode(ids, mask), ids[:, 2:7].clone())
    (total / count).backward()
    return total.detach() / count, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_step_with_dropout_repeats_bitwise_under_deterministic_algorithms(dtype: torch.dtype, tiny_base: Path,
                                                                            ) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        (one, first), (two, second) = (step(build(tiny_base).train(), dtype) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(one, two)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_sixteen_bit_losses_and_gradients_are_those_of_fp32(dtype: torch.dtype, limit: float, tiny_base: Path,
                                                            ) -> None:
    model = build(tiny_base).eval()
    wanted_loss, wanted = step(model)
    loss, found = step(model, dtype)
    assert loss.item() == pytest.approx(wanted_loss.item(), rel=5e-3)
    total = torch.cat([g.flatten() for g in wanted.values()]).double()
    assert off(torch.cat([found[name].flatten() for name in wanted]), total) < limit


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_gradient_checkpointing_changes_no_gradient(dtype: torch.dtype, tiny_base: Path) -> None:
    plain = build(tiny_base).train()
    saving = build(tiny_base).train()
    saving.trunk.gradient_checkpointing_enable({"use_reentrant": False})
    assert any(getattr(layer, "gradient_checkpointing", False) for layer in layers(saving.trunk))
    wanted, found = step(plain, dtype)[1], step(saving, dtype)[1]
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_the_pointer_goes_on_where_a_copied_phrase_stands(tiny_base: Path) -> None:
    model = build(tiny_base).eval()
    ids = torch.tensor([[2, 50, 51, 52, 53, 54, 3]])
    states = model.encode(ids)
    with torch.no_grad():
        model.head.pointer_query.weight.zero_()
        model.head.pointer_query.bias.zero_()
        scores = model.head.pointer_scores(model.head.decode(torch.tensor([[2, 51, 60]]), states),
                                     torch.tensor([[2, 51, 60]]), states)
    assert scores.argmax(1).tolist()[:2] == [1, 3]  # behind the start token, and behind 51
    assert scores[2].abs().max() == 0  # 60 stands nowhere


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_a_warm_start_copies_the_base(family: str, tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path, family, mlm=True)
    warm, cold = build(base), build(base, warm_start=False)
    mlm = pretrained_mlm_head(base)
    last = layers(warm.trunk)[-1]
    query = last.attention.q_lin if family == "distilbert" else last.attention.self.query
    assert torch.equal(warm.head.pointer_query.weight, query.weight)
    assert torch.equal(warm.head.layers[1].self_attention.query.weight, query.weight)
    assert mlm is not None and torch.equal(warm.head.transform.weight, mlm["dense.weight"])
    assert torch.equal(warm.head.output_bias, mlm["bias"])
    assert not torch.equal(cold.head.pointer_query.weight, query.weight)
    assert not torch.equal(cold.head.transform.weight, mlm["dense.weight"])
    assert torch.equal(cold.head.pointer_match.bias, warm.head.pointer_match.bias)


def test_a_feed_forward_layer_of_another_width_starts_fresh_and_the_rest_warm(tiny_base: Path) -> None:
    model = build(tiny_base, ffn=48)
    last = layers(model.trunk)[-1]
    assert model.head.layers[1].up.weight.shape == (48, 32)
    assert torch.equal(model.head.layers[1].self_attention.query.weight, last.attention.self.query.weight)
    assert torch.isfinite(step(model)[0])


def test_heads_that_do_not_divide_a_width_are_refused(tiny_base: Path) -> None:
    with pytest.raises(ConfigError, match="no multiple of 3 attention heads"):
        build(tiny_base, heads=3)
    assert build(tiny_base, heads=4).config.num_attention_heads == 4


def test_warm_starts_spread_over_the_base() -> None:
    assert chosen_layers(6, 3) == [0, 2, 5]
    assert chosen_layers(12, 1) == [11]
    assert chosen_layers(2, 4) == [0, 0, 1, 1]
