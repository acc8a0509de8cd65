"""The recurrent heads: decoding against teacher forcing, the cache, attention, precisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM, DynamicCache, EncoderDecoderCache

import llmtrain.hf  # noqa: F401
from helpers import make_tiny_base
from llmtrain.config.sections.model import ModelConfig
from llmtrain.models.backbone.families import layers, pretrained_mlm_head
from llmtrain.models.backbone.pretrained import open_base
from llmtrain.models.heads.rnn import source_attention
from llmtrain.models.heads.rnn.options import GruHeadConfig, LstmHeadConfig
from llmtrain.models.heads.rnn.recurrence import State, recur
from llmtrain.models.heads.rnn.source_attention import SourceAttention
from llmtrain.models.publish import load_weights
from llmtrain.models.seq2seq import LlmtrainForSeq2SeqLM
from reference_decode import beam, greedy, log_next

HEADS = {"gru": GruHeadConfig, "lstm": LstmHeadConfig}
SHAPES: list[dict[str, Any]] = [{"name": "gru"}, {"name": "lstm", "layers": 2},
                                {"name": "gru", "layers": 2, "input_feeding": True, "attention": "additive"},
                                {"name": "lstm", "input_feeding": True, "attention": "dot"},
                                {"name": "lstm", "width": 48, "attention": "additive"}]


def build(base: Path, **head: Any) -> LlmtrainForSeq2SeqLM:
    torch.manual_seed(0)
    options = HEADS[head.get("name", "gru")](**head)
    return LlmtrainForSeq2SeqLM.from_base(open_base(ModelConfig(path=str(base))), options)


def sharpened(base: Path, **head: Any) -> LlmtrainForSeq2SeqLM:
    """A head whose every part has a say in what is written, and no two tokens tie."""
    model = build(base, **head)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        model.head.output_bias.copy_(torch.randn(model.head.output_bias.shape, generator=generator))
        for name, p in model.head.named_parameters():
            if p.ndim == 2 and "pointer" not in name:
                p.copy_(torch.randn(p.shape, generator=generator) * 1.5 / p.shape[1] ** 0.5)
    return model.eval()


def batch() -> tuple[Tensor, Tensor, Tensor]:
    ids = torch.randint(5, 150, (4, 11), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    mask[2, 7:] = 0
    labels = torch.cat([ids[:, 2:7], torch.full((4, 1), 3)], 1)
    labels[1, 3:] = -100
    return ids, mask, labels


def off(one: Tensor, exact: Tensor) -> float:
    return float((one.detach().double() - exact.detach().double()).norm() / exact.detach().double().norm())


@pytest.mark.parametrize("options", SHAPES, ids=str)
def test_stepwise_log_probabilities_are_those_of_teacher_forcing(options: dict[str, Any], tiny_base: Path) -> None:
    model, (ids, mask, labels) = sharpened(tiny_base, **options), batch()
    with torch.no_grad():
        states, inputs = model.encode(ids, mask), model.head.shift(labels.clamp_min(0))
        forced = model.head.log_probabilities(inputs, states)
        cache = EncoderDecoderCache(DynamicCache(config=model.config), DynamicCache(config=model.config))
        stepped = [model.head.log_probabilities(part, states, cache)
                   for part in (inputs[:, :1], inputs[:, 1:4], inputs[:, 4:])]  # several tokens at once, too
    assert cache.get_seq_length() == inputs.shape[1]
    assert torch.allclose(torch.cat(stepped, 1), forced, atol=2e-5)
    assert (forced[:, 1:] - forced[:, :-1]).abs().max() > 0.1  # the state moves


@pytest.mark.parametrize("options", SHAPES, ids=str)
def test_generate_equals_an_uncached_reference(options: dict[str, Any], tiny_base: Path) -> None:
    model, (ids, mask, _) = sharpened(tiny_base, **options), batch()
    written = set()
    for beams in (1, 3):
        made = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=7, num_beams=beams)
        for row in range(len(ids)):
            own = ids[row][mask[row].bool()]
            wanted = greedy(model, own, 7) if beams == 1 else beam(model, own, 7, beams)
            assert made[row].tolist()[:len(wanted)] == wanted, (beams, row)
            written.add(tuple(wanted))
    assert len(written) > len(ids)  # documents differ, and so do greedy and beam
    uncached = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=7, num_beams=3, use_cache=False)
    assert torch.equal(made, uncached)
    torch.manual_seed(0)
    assert model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=5, do_sample=True,
                          num_return_sequences=2).shape[0] == 8


@pytest.mark.parametrize("options", SHAPES[2:4], ids=str)
def test_a_cache_is_reordered_repeated_selected_and_cropped(options: dict[str, Any], tiny_base: Path) -> None:
    model, (ids, _, _) = sharpened(tiny_base, **options), batch()
    prefixes = torch.tensor([[2, 50, 60], [2, 51, 70], [2, 52, 80], [2, 53, 90]])
    with torch.no_grad():
        states = model.encode(ids)
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        model.head.log_probabilities(torch.cat([prefixes, prefixes[:, :1]], 1), states, cache)
        cache.crop(-1)
        cache.reorder_cache(torch.tensor([3, 3, 0, 1]))
        cache.batch_repeat_interleave(2)
        cache.batch_select_indices(torch.tensor([1, 4, 7]))
        rows, last = [3, 0, 1], torch.tensor([[9], [9], [9]])
        found = model.head.log_probabilities(last, model.encode(ids[rows]), cache)[:, -1]
    for row, one in zip(rows, found, strict=True):
        assert torch.allclose(one, log_next(model, ids[row], [*prefixes[row].tolist(), 9]), atol=2e-5)


@pytest.mark.parametrize("options", [*SHAPES, {"copy_gate": False, "label_smoothing": 0.1}, {"tie_embeddings": False},
                                     {"warm_start": False, "chunk_tokens": 4}], ids=str)
def test_every_switch_trains_and_round_trips(options: dict[str, Any], tiny_base: Path, tmp_path: Path) -> None:
    model, (ids, mask, labels) = build(tiny_base, **options), batch()
    total, count = model.head.nll(model.encode(ids, mask), labels)
    assert int(count) == int((labels != -100).sum())
    total.backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert all("word" in name or ("attention" in name and "key.bias" in name) or "pointer_key.bias" in name
               for name in still), still  # a bias on all keys alike shifts no softmax
    with torch.no_grad():
        for p in model.head.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * 0.1)
    model.eval().save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    ours, theirs = (one(input_ids=ids, attention_mask=mask, labels=labels).loss for one in (model, loaded))
    assert torch.equal(ours, theirs)
    made, again = (one.generate(input_ids=ids, attention_mask=mask, max_new_tokens=6) for one in (model, loaded))
    assert torch.equal(made, again)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_weights_laid_out_as_cudnn_does_are_published_and_read_back(name: str, tiny_base: Path, tmp_path: Path) -> None:
    """On CUDA all weights of a recurrent layer are views of one buffer, which looks as if they were tied."""
    model, other = build(tiny_base, name=name), sharpened(tiny_base, name=name)
    for each in (model, other):
        weights = [p for module in each.head.modules() if isinstance(module, nn.RNNBase) for p in module.parameters()]
        buffer, at = torch.cat([p.detach().flatten() for p in weights]), 0
        for p in weights:
            p.data = buffer[at:at + p.numel()].view(p.shape)
            at += p.numel()
    other.save_pretrained(tmp_path)
    load_weights(model, tmp_path)
    for (key, mine), theirs in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), key


@pytest.mark.parametrize("options", SHAPES, ids=str)
def test_labels_that_all_count_for_nothing_give_a_connected_zero(options: dict[str, Any], tiny_base: Path) -> None:
    model, (ids, mask, labels) = build(tiny_base, **options), batch()
    total, count = model.head.nll(model.encode(ids, mask), torch.full_like(labels, -100))
    total.backward()
    assert (int(count), total.item()) == (0, 0.0)
    assert not [name for name, p in model.named_parameters() if p.grad is None]


def exact_layers(rnn: nn.GRU | nn.LSTM, x_BTI: Tensor, state: State) -> Tensor:
    """The layers by their published equations."""
    outputs = x_BTI
    for index in range(rnn.num_layers):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        w_i, w_h, b_i, b_h = (getattr(rnn, f"{name}_l{index}") for name in names)
        h, c, made = state[0][index], state[-1][index], []
        for x in outputs.unbind(1):
            if isinstance(rnn, nn.LSTM):
                i, f, g, o = (x @ w_i.T + b_i + h @ w_h.T + b_h).chunk(4, 1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
            else:
                (r, z, n), (r_h, z_h, n_h) = (x @ w_i.T + b_i).chunk(3, 1), (h @ w_h.T + b_h).chunk(3, 1)
                z = torch.sigmoid(z + z_h)
                h = (1 - z) * torch.tanh(n + torch.sigmoid(r + r_h) * n_h) + z * h
            made.append(h)
        outputs = torch.stack(made, 1)
    return outputs


@pytest.mark.parametrize("cells", [nn.GRU, nn.LSTM])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_layers_are_exact_in_every_precision(cells: Any, dtype: torch.dtype, limit: float) -> None:
    torch.manual_seed(0)
    rnn = cells(6, 8, 2, batch_first=True)
    x, upstream = torch.randn(3, 9, 6, requires_grad=True), torch.randn(3, 9, 8)
    state = tuple(torch.randn(2, 3, 8).tanh().requires_grad_() for _ in range(2 if cells is nn.LSTM else 1))
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        made, after = recur(rnn, x, state)
    leaves = [x, *state, *rnn.parameters()]
    wanted = torch.autograd.grad(exact_layers(rnn, x, state), leaves, upstream)
    assert len(after) == len(state)
    assert off(made, exact_layers(rnn, x, state)) < limit
    assert off(after[0][-1], made[:, -1]) < limit
    for one, two in zip(torch.autograd.grad(made, leaves, upstream.to(made.dtype)), wanted, strict=True):
        assert one.dtype == torch.float32
        assert off(one, two) < 2 * limit


@pytest.mark.parametrize("cells", [nn.GRU, nn.LSTM])
def test_fp16_rounds_operands_and_results_and_overflows(cells: Any) -> None:
    torch.manual_seed(0)
    rnn = cells(6, 8, batch_first=True)
    x, state = torch.randn(2, 5, 6), (torch.zeros(1, 2, 8),) * (2 if cells is nn.LSTM else 1)
    with torch.no_grad(), torch.autocast("cpu", torch.float16):
        made, _ = recur(rnn, x, state)
        far, _ = recur(rnn, x * 1e6, state)
    assert made.dtype == torch.float16
    with torch.no_grad():
        for p in rnn.parameters():
            p.copy_(p.half())
        wanted, _ = recur(rnn, x.half().float(), state)
    assert torch.equal(made, wanted.half())
    assert not torch.isfinite(far).all()  # a loss scaler must hear of it


@pytest.mark.parametrize("options", [*SHAPES, {"name": "lstm", "layers": 2, "dropout": 0.2},
                                     {"name": "gru", "layers": 2, "dropout": 0.2, "input_feeding": True}], ids=str)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 0.0), (torch.bfloat16, 0.08), (torch.float16, 0.02)])
def test_a_step_repeats_bitwise_and_16_bits_follow_fp32(options: dict[str, Any], dtype: torch.dtype, limit: float,
                                                        tiny_base: Path) -> None:
    model, (ids, mask, labels) = build(tiny_base, **options), batch()

    def step(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        torch.manual_seed(1)
        model.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            total, count = model.head.nll(model.encode(ids, mask), labels)
        (total / count).backward()
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        return (total / count).detach(), torch.cat([g.flatten() for g in grads])

    torch.use_deterministic_algorithms(True)
    try:
        (one, first), (two, second) = step(dtype), step(dtype)
        assert torch.equal(one, two)
        assert torch.equal(first, second)
        model.eval()
        wanted, exact = step(torch.float32)
        loss, found = step(dtype)
    finally:
        torch.use_deterministic_algorithms(False)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(wanted.item(), rel=5e-3)
    assert off(found, exact) <= limit
    assert ("dropout" in options) == (not torch.equal(first, found))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["general", "dot", "additive"])
def test_attention_is_the_published_formula(kind: str, masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_attention, "BLOCK_ELEMENTS", 2 * 3 * 7 * 6)  # additive scores in two blocks
    torch.manual_seed(0)
    layer = SourceAttention(kind, 6)
    state, memory = torch.randn(3, 4, 6, requires_grad=True), torch.randn(3, 7, 6, requires_grad=True)
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[1, 4:] = False
    made = layer(state, layer.keys(memory), memory, mask if masked else None)
    if kind == "additive":
        inner = layer.query(state).unsqueeze(2) + layer.key(memory).unsqueeze(1)
        scores = torch.tanh(inner) @ layer.energy.weight[0]
    else:
        scores = state @ (layer.key(memory) if kind == "general" else memory).transpose(1, 2)
    exact = torch.softmax(scores.masked_fill(~mask[:, None] & masked, -torch.inf), -1) @ memory
    assert torch.allclose(made, exact, atol=1e-6)
    for one, two in zip(torch.autograd.grad(made.square().sum(), [state, memory, *layer.parameters()]),
                        torch.autograd.grad(exact.square().sum(), [state, memory, *layer.parameters()]), strict=True):
        assert torch.allclose(one, two, atol=1e-5)


def test_the_state_starts_as_the_mean_of_the_real_tokens(tiny_base: Path) -> None:
    model, (ids, mask, _) = build(tiny_base, name="lstm", layers=2), batch()
    states = model.encode(ids, mask)
    state = model.head.initial_state(states)
    mean = states.hidden_BSD[2, :7].mean(0)
    wanted = torch.tanh(mean @ model.head.initial.weight.T + model.head.initial.bias).view(2, 2, 32)
    for part, one in zip(state, wanted, strict=True):
        assert part.shape == (2, 4, 32)
        assert torch.allclose(part[:, 2], one, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_a_warm_start_takes_over_what_the_base_has(family: str, tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path, family, mlm=True)
    warm, cold = build(base, tie_embeddings=False), build(base, tie_embeddings=False, warm_start=False)
    last, mlm = layers(warm.trunk)[-1], pretrained_mlm_head(base)
    key = last.attention.k_lin if family == "distilbert" else last.attention.self.key
    assert mlm is not None
    for model, same in ((warm, True), (cold, False)):
        assert torch.equal(model.head.pointer_key.weight, key.weight) == same
        assert torch.equal(model.head.transform.weight, mlm["dense.weight"]) == same
        assert torch.equal(model.head.embedding.weight, model.input_embedding_VD) == same
    assert (cold.head.rnn.bias_ih_l0 == warm.head.rnn.bias_ih_l0).all()
    other = build(base, width=48)
    assert torch.equal(other.head.pointer_match.bias, warm.head.pointer_match.bias)


def test_an_lstm_starts_by_remembering(tiny_base: Path) -> None:
    rnn = build(tiny_base, name="lstm", layers=2).head.rnn
    for bias in (rnn.bias_ih_l0, rnn.bias_ih_l1):
        assert (bias.view(4, 32) == 1).all(1).tolist() == [False, True, False, False]


def test_fp16_on_this_cpu_never_takes_torchs_own_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the CPU multiplies fp16 matrices: oneDNN refuses an fp16 LSTM in training."""
    monkeypatch.setattr("llmtrain.nn.linear.cpu_has_fp16", lambda: True)
    with torch.autocast("cpu", torch.float16):
        made, _ = recur(nn.LSTM(4, 4, batch_first=True), torch.randn(1, 2, 4), (torch.zeros(1, 1, 4),) * 2)
    assert made.dtype == torch.float16
