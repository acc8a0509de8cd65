"""The heads' numbers against formulas from elsewhere: torch's own layers and losses, or written out in fp64."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, EncoderDecoderCache

from llmtrain.models.heads.base import BaseParts, EncoderStates, Sentences, Sizes
from llmtrain.models.heads.copy import gold_log_probability, mix_all, smoothed
from llmtrain.models.heads.extractive.scorer import (
    SentenceLayer,
    SentenceScorer,
    places,
    sentence_nll,
    sentence_vectors,
)
from llmtrain.models.heads.rnn.head import GruHead, LstmHead, RecurrentHead
from llmtrain.models.heads.rnn.options import GruHeadConfig, LstmHeadConfig
from llmtrain.models.heads.rnn.source_attention import SourceAttention
from llmtrain.models.heads.transformer.decoder import DecoderLayer, MultiHeadAttention
from llmtrain.models.heads.transformer.head import TransformerHead
from llmtrain.models.heads.transformer.options import TransformerHeadConfig
from llmtrain.models.heads.transformer.warm_start import chosen_layers
from llmtrain.models.heads.writer import WritingHead
from llmtrain.nn.attention import attend, trunk_attention

SIZES = Sizes(width=6, heads=2, ffn=10, vocabulary=17, positions=8, start_id=2)
B, S, T = 3, 7, 5


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def drawn(module: nn.Module) -> Any:
    """The module with every parameter drawn anew, so that each has a say in the result."""
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters(), 1):
            parameter.copy_(numbers(*parameter.shape, seed=seed) * 0.6)
    return module.eval()


def near(one: Tensor, exact: Tensor, tolerance: float = 1e-5) -> None:
    assert one.shape == exact.shape
    torch.testing.assert_close(one.double(), exact.double(), atol=tolerance, rtol=tolerance)


def document(steering: bool = False) -> EncoderStates:
    """Three documents, the second shorter, in which tokens stand repeatedly."""
    ids = torch.randint(3, 9, (B, S), generator=torch.Generator().manual_seed(4))
    mask = torch.ones(B, S, dtype=torch.long)
    mask[1, 4:] = 0
    return EncoderStates(numbers(B, S, SIZES.width, seed=1), mask, ids, numbers(SIZES.vocabulary, SIZES.width, seed=2),
                         steering_BS=numbers(B, S, seed=3) if steering else None)


def labels() -> Tensor:
    made = torch.randint(3, 12, (B, T), generator=torch.Generator().manual_seed(6))
    made[1, 3:] = -100
    return made


# Likelihood and the copy mixture


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


class Given(WritingHead):
    """A writing head whose decoder states are given."""

    def __init__(self, width: int, **options: Any) -> None:
        super().__init__(SimpleNamespace(**{"tie_embeddings": True, "copy_gate": True, "label_smoothing": 0.0,
                                            "chunk_tokens": 100} | options), SIZES)
        self.decodes = 0
        self.given = numbers(B, T, width, seed=9)
        self.add_output(width, SIZES)

    def decode(self, input_ids_BT: Tensor, states: EncoderStates, cache: Any = None) -> Tensor:
        self.decodes += 1
        return self.given


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
        head.nll(document(), labels())[0].backward()
        found.append([p.grad for p in head.parameters()])
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


@pytest.mark.parametrize("tied", [True, False])
def test_output_and_embeddings_start_as_the_bases_own(tied: bool) -> None:
    head = drawn(Given(6, tie_embeddings=tied))
    stored = {"dense.weight": numbers(6, 6, seed=1), "dense.bias": numbers(6, seed=2), "bias": numbers(17, seed=5),
              "norm.weight": numbers(6, seed=3), "norm.bias": numbers(6, seed=4)}
    table = numbers(17, 6, seed=7)
    head.start_output_from(BaseParts([], None, 0, stored, table))
    head.start()
    assert torch.equal(head.transform.weight, stored["dense.weight"])
    assert torch.equal(head.transform.bias, stored["dense.bias"])
    assert torch.equal(head.transform_norm.weight, stored["norm.weight"])
    assert torch.equal(head.transform_norm.bias, stored["norm.bias"])
    assert torch.equal(head.output_bias, stored["bias"])
    assert head.pointer_match.bias.item() == 4.0
    ids, states = torch.tensor([[3, 16, 0]]), document()
    assert torch.equal(head.embed(ids, states), (states.embedding_VD if tied else table)[ids])
    if not tied:
        assert torch.equal(head.output.weight, table)
    other = drawn(Given(4))  # of another width it keeps its own
    before = other.transform.weight.clone()
    other.start_output_from(BaseParts([], None, 0, stored, table))
    assert torch.equal(other.transform.weight, before)


# Attention


def fill(theirs: Any, ours: MultiHeadAttention) -> None:
    """torch's multi-head attention with our weights."""
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
    theirs.out_proj.load_state_dict(ours.out.state_dict())


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_torchs_multi_head_attention(masked: bool) -> None:
    ours, theirs = drawn(MultiHeadAttention(6, 2)), nn.MultiheadAttention(6, 2, batch_first=True)
    fill(theirs, ours)
    x, memory, mask = numbers(B, T, 6), numbers(B, S, 6, seed=1), document().attention_mask_BS.bool()
    made = ours(x, *ours.key_value(memory), mask[:, None, None, :] if masked else None, False)
    near(made, theirs(x, memory, memory, key_padding_mask=~mask if masked else None)[0])


def torchs_layer(ours: DecoderLayer) -> nn.TransformerDecoderLayer:
    made = nn.TransformerDecoderLayer(6, 2, 10, 0.0, "gelu", 1e-12, batch_first=True)
    fill(made.self_attn, ours.self_attention)
    fill(made.multihead_attn, ours.cross_attention)
    for theirs, own in ((made.linear1, ours.up), (made.linear2, ours.down), (made.norm1, ours.self_norm),
                        (made.norm2, ours.cross_norm), (made.norm3, ours.ffn_norm)):
        theirs.load_state_dict(own.state_dict())
    return made.eval()


def test_a_decoder_layer_is_torchs() -> None:
    ours = drawn(DecoderLayer(6, 2, 10, 0.0, 0))
    x, memory, mask = numbers(B, T, 6), numbers(B, S, 6, seed=1), document().attention_mask_BS.bool()
    causal = nn.Transformer.generate_square_subsequent_mask(T)
    near(ours(x, memory, mask[:, None, None, :]),
         torchs_layer(ours)(x, memory, tgt_mask=causal, memory_key_padding_mask=~mask))


@pytest.mark.parametrize("width", [None, 4])
@pytest.mark.parametrize("steps", [(5,), (2, 3), (1, 1, 1, 2)])
def test_the_transformer_head_decodes_as_torchs_layers_do(width: int | None, steps: tuple[int, ...]) -> None:
    head = drawn(TransformerHead(TransformerHeadConfig(layers=2, width=width), SIZES)) if width is None else drawn(
        TransformerHead(TransformerHeadConfig(layers=2, width=6, ffn=10), Sizes(9, 2, 10, 17, 8, 2)))
    states, ids = document(), labels().clamp_min(0)
    if width is not None:
        states.hidden_BSD, states.embedding_VD = numbers(B, S, 9, seed=1), numbers(17, 9, seed=2)
    x, memory = F.embedding(ids, states.embedding_VD), states.hidden_BSD
    if width is not None:
        x, memory = (F.linear(value, layer.weight, layer.bias) for value, layer in
                     ((x, head.input_projection), (memory, head.memory_projection)))
    x = F.layer_norm(x + head.positions.weight[:T], (6,), head.embedding_norm.weight, head.embedding_norm.bias, 1e-12)
    for layer in head.layers:
        x = torchs_layer(layer)(x, memory, tgt_mask=nn.Transformer.generate_square_subsequent_mask(T),
                                memory_key_padding_mask=~states.attention_mask_BS.bool())
    near(head.decode(ids, states), x)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    with torch.no_grad():
        parts = [head.decode(part, states, cache) for part in ids.split(list(steps), 1)]
    near(torch.cat(parts, 1), x)


def test_places_behind_the_last_position_share_it() -> None:
    head, states = drawn(TransformerHead(TransformerHeadConfig(layers=1), SIZES)), document()
    ids = torch.full((B, 10), 5)
    assert torch.isfinite(head.decode(ids, states)).all()


def test_steering_adds_to_the_scores_of_cross_attention() -> None:
    head, states = drawn(TransformerHead(TransformerHeadConfig(layers=1), SIZES)), document()
    ids = labels().clamp_min(0)
    states.attention_mask_BS[:] = 1
    plain = head.decode(ids, states)
    states.steering_BS = torch.zeros(B, S)
    near(head.decode(ids, states), plain)
    states.steering_BS = torch.where(torch.arange(S) < 4, 0.0, -1e9).expand(B, S)
    hidden = head.decode(ids, states)
    states.steering_BS, states.attention_mask_BS[:, 4:] = None, 0
    near(hidden, head.decode(ids, states))
    states.steering_BS = torch.zeros(B, S)
    near(hidden, head.decode(ids, states))


@pytest.mark.parametrize(("available", "wanted", "indices"), [(12, 1, [11]), (12, 2, [0, 11]), (12, 3, [0, 6, 11]),
                                                              (2, 2, [0, 1]), (6, 4, [0, 2, 3, 5]), (1, 3, [0, 0, 0])])
def test_warm_starting_layers_are_evenly_spaced(available: int, wanted: int, indices: list[int]) -> None:
    assert chosen_layers(available, wanted) == indices


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


# Recurrent heads


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


def test_additive_scores_in_blocks_are_those_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmtrain.models.heads.rnn import source_attention as rooms

    part = drawn(SourceAttention("additive", 6))
    state, memory = numbers(B, T, 6).requires_grad_(), numbers(B, S, 6, seed=1)
    once = part(state, part.keys(memory), memory, None)
    (gradient,) = torch.autograd.grad(once.sum(), state)
    monkeypatch.setattr(rooms, "BLOCK_ELEMENTS", 2 * B * S * 6)
    blocks = part(state, part.keys(memory), memory, None)
    near(blocks, once)
    near(torch.autograd.grad(blocks.sum(), state)[0], gradient)


# Sentences


def sentences() -> Sentences:
    """Of three documents: three, two and no sentences."""
    return Sentences(torch.tensor([[1, 3, 4], [0, 2, 0], [0, 0, 0]]), torch.tensor([[3, 4, 7], [2, 4, 0], [0, 0, 0]]),
                     torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 0]]))


@pytest.mark.parametrize("how", ["mean", "last", "cls"])
def test_sentence_vectors_written_out(how: str) -> None:
    hidden, where = document().hidden_BSD, sentences()
    exact = torch.zeros(3, 3, SIZES.width)
    for b in range(3):
        for n, (start, end) in enumerate(zip(where.start_BN[b].tolist(), where.end_BN[b].tolist(), strict=True)):
            if end > start:
                exact[b, n] = {"mean": hidden[b, start:end].mean(0), "last": hidden[b, end - 1],
                               "cls": hidden[b, start]}[how]
    near(sentence_vectors(hidden, where, how), exact)


@pytest.mark.parametrize("width", [6, 7])
def test_places_are_sines_and_cosines(width: int) -> None:
    exact = torch.tensor([[(math.cos if i % 2 else math.sin)(n / 10_000 ** (2 * (i // 2) / width))
                           for i in range(width)] for n in range(5)])
    near(places(5, width, torch.zeros(1)), exact)
    assert places(5, width, torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_sentence_layer_is_torchs_pre_norm_layer() -> None:
    ours, theirs = drawn(SentenceLayer(6, 2, 10, 0.0)), nn.TransformerEncoderLayer(
        6, 2, 10, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True)
    fill(theirs.self_attn, ours.attention)
    for one, own in ((theirs.linear1, ours.up), (theirs.linear2, ours.down), (theirs.norm1, ours.attention_norm),
                     (theirs.norm2, ours.ffn_norm)):
        one.load_state_dict(own.state_dict())
    x, mask = numbers(B, 4, 6), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()
    near(ours(x, mask)[mask], theirs(x, src_key_padding_mask=~mask)[mask])  # in training mode: by the plain formula


def test_a_scorer_is_its_layers_over_vectors_and_places() -> None:
    scorer, states = drawn(SentenceScorer(SIZES, sentence="mean", layers=2)), document()
    states.sentences = sentences()
    x = sentence_vectors(states.hidden_BSD, states.sentences, "mean") + places(3, 6, states.hidden_BSD)
    mask = states.sentences.mask_BN.clone()
    mask[2, 0] = True
    for layer in scorer.layers:
        x = layer(x, mask)
    x = F.layer_norm(x, (6,), scorer.norm.weight, scorer.norm.bias, 1e-6)
    near(scorer(states), x @ scorer.logit.weight[0] + scorer.logit.bias)


def test_sentence_loss_weighs_the_labelled_ones() -> None:
    where, logits = sentences(), numbers(3, 3)
    exact = 0.0
    for b in range(3):
        for n in range(3):
            if where.end_BN[b, n] > where.start_BN[b, n]:
                chance = 1 / (1 + math.exp(-logits[b, n].item()))
                exact -= 2.5 * math.log(chance) if where.labels_BN[b, n] else math.log(1 - chance)  # type: ignore[index]
    assert sentence_nll(logits, where, 2.5).item() == pytest.approx(exact, rel=1e-5)
