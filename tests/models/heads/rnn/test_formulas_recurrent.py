"""The recurrent heads against torch's cells, unrolled a row and a token at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, EncoderDecoderCache

from formulas import SIZES, B, Doubled, S, T, document, drawn, labels, near, numbers
from llmtrain.models.heads.base import EncoderStates, Sizes
from llmtrain.models.heads.rnn import recurrence
from llmtrain.models.heads.rnn.head import GruHead, LstmHead, RecurrentHead
from llmtrain.models.heads.rnn.options import GruHeadConfig, LstmHeadConfig
from llmtrain.models.heads.rnn.recurrence import recur
from llmtrain.models.heads.rnn.source_attention import SourceAttention


def cell_of(rnn: Any, layer: int) -> Any:
    cell = (nn.GRUCell if isinstance(rnn, nn.GRU) else nn.LSTMCell)(rnn.input_size if layer == 0 else rnn.hidden_size,
                                                                    rnn.hidden_size)
    cell.load_state_dict({name.removesuffix(f"_l{layer}"): value for name, value in rnn.state_dict().items()
                          if name.endswith(f"_l{layer}")})
    return cell


def attended(head: Any, output: Tensor, memory: Tensor, real: int) -> Tensor:
    """tanh(W [context; output]) of one row and token."""
    memory, attention = memory[:real], head.attention
    if attention.kind == "additive":
        scores = torch.stack([attention.energy.weight[0] @ torch.tanh(
            attention.query.weight @ output + attention.key.weight @ m + attention.key.bias) for m in memory])
    else:
        scores = torch.stack([output @ (m if attention.kind == "dot" else attention.key.weight @ m) for m in memory])
    context = torch.softmax(scores, 0) @ memory
    return torch.tanh(head.combine.weight @ torch.cat([context, output]) + head.combine.bias)


def unrolled(head: RecurrentHead, states: EncoderStates, ids: Tensor) -> Tensor:
    """(B, T, W) by torch's cells, a row and a token at a time."""
    rows, options, width = [], head.options, head.width
    cells = [cell_of(head.rnn, layer) for layer in range(options.layers)]
    for b in range(B):
        real = int(states.attention_mask_BS[b].sum())
        memory = states.hidden_BSD[b]
        first = torch.tanh(head.initial.weight @ memory[:real].mean(0) + head.initial.bias)
        parts = first.view(head.state_parts, options.layers, 1, width)
        state = [tuple(part[layer] for part in parts) for layer in range(options.layers)]
        if head.projects:
            memory = F.linear(memory, head.memory_projection.weight, head.memory_projection.bias)
        fed, made = torch.zeros(width), []
        for token in ids[b]:
            x = F.layer_norm(states.embedding_VD[token], (SIZES.width,), head.embedding_norm.weight,
                             head.embedding_norm.bias, 1e-12)
            if head.projects:
                x = F.linear(x, head.input_projection.weight, head.input_projection.bias)
            if options.input_feeding:
                x = torch.cat([x, fed])
            x = x.unsqueeze(0)
            for layer, cell in enumerate(cells):
                after = cell(x, state[layer] if head.state_parts == 2 else state[layer][0])
                state[layer] = after if head.state_parts == 2 else (after,)
                x = state[layer][0]
            fed = attended(head, x[0], memory, real)
            made.append(fed)
        rows.append(torch.stack(made))
    return torch.stack(rows)


RECURRENT: list[dict[str, Any]] = [{"name": "gru"}, {"name": "lstm", "layers": 2, "attention": "dot"},
                                   {"name": "gru", "layers": 2, "input_feeding": True, "attention": "additive"},
                                   {"name": "lstm", "input_feeding": True, "width": 4},
                                   {"name": "gru", "width": 4, "attention": "additive"}]


@pytest.mark.parametrize("options", RECURRENT, ids=str)
@torch.no_grad()
def test_recurrent_heads_are_torchs_cells_unrolled(options: dict[str, Any]) -> None:
    kind, config = (GruHead, GruHeadConfig) if options["name"] == "gru" else (LstmHead, LstmHeadConfig)
    head, states, ids = drawn(kind(config(**options), SIZES)), document(), labels().clamp_min(0)
    exact = unrolled(head, states, ids)
    near(head.decode(ids, states), exact)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    near(torch.cat([head.decode(part, states, cache) for part in ids.split([1, 2, 2], 1)], 1), exact)


def test_an_lstm_starts_with_a_forget_bias_of_one() -> None:
    head = LstmHead(LstmHeadConfig(layers=2, width=4), SIZES)
    for layer in range(2):
        bias = getattr(head.rnn, f"bias_ih_l{layer}").detach()
        assert bias[4:8].tolist() == [1.0] * 4
        assert not (bias[:4] == 1).any() and not (bias[8:] == 1).any()


def test_a_first_state_lies_in_one_piece_as_cudnn_asks() -> None:
    head = LstmHead(LstmHeadConfig(layers=2), SIZES)
    parts = head.initial_state(document())
    assert [(part.shape, part.is_contiguous()) for part in parts] == [((2, B, 6), True)] * 2


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_a_state_of_another_format_goes_on_in_that_of_the_input(kind: Any) -> None:
    rnn, x = drawn(kind(3, 5, 2, batch_first=True)), numbers(2, 4, 3)
    state = tuple(numbers(2, 2, 5, seed=seed).bfloat16() for seed in range(1 if kind is nn.GRU else 2))
    wide = tuple(part.float() for part in state)
    near(recur(rnn, x, state)[0], rnn(x, wide if kind is nn.LSTM else wide[0])[0])


@pytest.mark.parametrize("known", [False, True])
def test_which_layers_have_no_16_bit_kernel(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrence, "_cpu_has_bf16", lambda: known)
    found = recurrence._without_kernel
    gru, lstm, x = nn.GRU(3, 5), nn.LSTM(3, 5), numbers(2, 4, 3)
    rounded = None if known else torch.bfloat16
    assert [found(gru, x), found(lstm, x), found(gru, x.bfloat16()), found(lstm, x.bfloat16())] == [None, None, None,
                                                                                                rounded]
    assert found(gru, x.half()) is found(lstm, x.half()) is torch.float16
    assert found(lstm, x.bfloat16().to("meta")) is None
    with torch.autocast("cpu", torch.bfloat16):
        assert [found(gru, x), found(lstm, x)] == [None, rounded]


def test_additive_scores_in_blocks_are_those_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmtrain.models.heads.rnn import source_attention as rooms

    part = drawn(SourceAttention("additive", 6))
    state, memory = numbers(B, T, 6).requires_grad_(), numbers(B, S, 6, seed=1)
    once = part(state, part.keys(memory), memory, None)
    (gradient,) = torch.autograd.grad(once.sum(), state)
    for most in (2 * B * S * 6, 1):
        monkeypatch.setattr(rooms, "BLOCK_ELEMENTS", most)
        blocks = part(state, part.keys(memory), memory, None)
        near(blocks, once)
        near(torch.autograd.grad(blocks.sum(), state)[0], gradient)


def test_dropout_lies_behind_the_embeddings_norm_and_the_recurrent_attention() -> None:
    states, ids = document(), labels().clamp_min(0)
    head = drawn(GruHead(GruHeadConfig(), SIZES))
    x = head.embedding_norm(head.embed(ids, states))
    output, _ = head.rnn(2 * x, head.initial_state(states)[0])
    exact = torch.stack([torch.stack([2 * attended(head, token, states.hidden_BSD[b], S if b != 1 else 4)
                                      for token in output[b]]) for b in range(B)])
    head.dropout = Doubled()
    near(head.decode(ids, states), exact)


@pytest.mark.parametrize(("layers", "between"), [(1, 0.0), (2, 0.3)])
def test_torchs_recurrent_dropout_is_for_several_layers(layers: int, between: float) -> None:
    head = GruHead(GruHeadConfig(layers=layers, dropout=0.3), SIZES)
    assert (head.rnn.dropout, head.dropout.p) == (between, 0.3)


@pytest.mark.parametrize("format", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_layers_without_a_16_bit_kernel_round_operands_and_the_result(kind: Any, format: torch.dtype,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrence, "_cpu_has_bf16", lambda: False)
    if kind is nn.GRU and format is torch.bfloat16:
        return  # torch's own kernel takes it
    rnn, x = drawn(kind(3, 5, 2, batch_first=True)), numbers(2, 4, 3)
    state = tuple(numbers(2, 2, 5, seed=seed) for seed in range(1 if kind is nn.GRU else 2))
    exact = drawn(kind(3, 5, 2, batch_first=True)).to(format).double()
    rounded = tuple(part.to(format).double() for part in state)
    wanted, after = exact(x.to(format).double(), rounded if kind is nn.LSTM else rounded[0])
    with torch.autocast("cpu", format):
        made, last = recur(rnn, x, state)
    assert made.dtype == format
    near(made, wanted.to(format), 1e-2 if format is torch.bfloat16 else 2e-3)
    for one, two in zip(last, after if kind is nn.LSTM else (after,), strict=True):
        assert one.dtype == torch.float32
        near(one, two, 1e-5)


def test_a_recurrent_head_in_16_bit_states_is_near_the_fp32_one() -> None:
    states, ids = document(), labels().clamp_min(0)
    for options in ({"attention": "additive", "input_feeding": True}, {"attention": "general"}, {"attention": "dot"}):
        head = drawn(LstmHead(LstmHeadConfig(**options), SIZES))
        exact = head.decode(ids, states)
        with torch.no_grad():
            half_states = EncoderStates(states.hidden_BSD.bfloat16(), states.attention_mask_BS, states.input_ids_BS,
                                        states.embedding_VD)
            with torch.autocast("cpu", torch.bfloat16):
                near(head.decode(ids, half_states), exact, 8e-2)
                cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
                parts = [head.decode(part, half_states, cache) for part in ids.split(1, 1)]
                near(torch.cat(parts, 1), exact, 8e-2)


def test_the_first_state_of_a_16_bit_document_is_its_mean_in_fp32() -> None:
    head, states = drawn(GruHead(GruHeadConfig(), Sizes(6, 2, 10, 17, 8, 2))), document()
    states.hidden_BSD = numbers(B, 701, 6).bfloat16()
    states.attention_mask_BS = torch.ones(B, 701, dtype=torch.long)
    states.attention_mask_BS[0, 1:] = 0
    states.attention_mask_BS[2] = 0
    (first,) = head.initial_state(states)
    means = torch.stack([states.hidden_BSD[0, 0].float(), states.hidden_BSD[1].double().mean(0).float(),
                         torch.zeros(6)])
    near(first[0], torch.tanh(head.initial(means)), 1e-6)


OPTIONS: list[dict[str, Any]] = [{"attention": "additive", "input_feeding": True}, {"attention": "general"},
                                 {"attention": "dot"}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@torch.no_grad()
def test_a_document_of_one_token_is_kept_as_any_other(options: dict[str, Any]) -> None:
    head, states, ids = drawn(GruHead(GruHeadConfig(**options), SIZES)), document(), labels().clamp_min(0)
    states.hidden_BSD, states.attention_mask_BS, states.input_ids_BS = (
        x[:, :1] for x in (states.hidden_BSD, states.attention_mask_BS, states.input_ids_BS))
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    parts = [head.decode(part, states, cache) for part in ids.split(1, 1)]
    near(torch.cat(parts, 1), head.decode(ids, states))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("how", ["all in 16 bits", "fp32 states under autocast"])
@torch.no_grad()
def test_a_recurrent_head_takes_states_and_numbers_of_either_format(options: dict[str, Any], how: str) -> None:
    states, ids = document(), labels().clamp_min(0)
    head = drawn(LstmHead(LstmHeadConfig(**options), SIZES))
    exact = head.decode(ids, states)
    if how == "all in 16 bits":
        head = head.bfloat16()
        states.hidden_BSD, states.embedding_VD = states.hidden_BSD.bfloat16(), states.embedding_VD.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=how != "all in 16 bits"):
        near(head.decode(ids, states), exact, 8e-2)
