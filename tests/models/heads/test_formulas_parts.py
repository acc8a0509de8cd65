"""What the heads' formulas leave open: places of dropout, norms' epsilons, sizes, warm starts, 16-bit states."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.models.heads.test_formulas import (
    SIZES,
    B,
    Given,
    S,
    T,
    attended,
    document,
    drawn,
    labels,
    near,
    numbers,
    sentences,
    torchs_layer,
)
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel, DynamicCache, EncoderDecoderCache

from llmtrain.models.heads.base import BaseParts, EncoderStates, Sizes
from llmtrain.models.heads.extractive.scorer import SentenceLayer, SentenceScorer, sentence_vectors
from llmtrain.models.heads.rnn import recurrence
from llmtrain.models.heads.rnn.head import GruHead, LstmHead
from llmtrain.models.heads.rnn.options import GruHeadConfig, LstmHeadConfig
from llmtrain.models.heads.rnn.recurrence import recur
from llmtrain.models.heads.transformer.decoder import DecoderLayer
from llmtrain.models.heads.transformer.head import TransformerHead
from llmtrain.models.heads.transformer.options import TransformerHeadConfig
from llmtrain.nn.linear import linear

EPSILON = BertConfig().layer_norm_eps


class Doubled(nn.Module):
    """In dropout's place, so that it shows where that is."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def test_dropout_lies_on_the_branches_of_a_decoder_layer_as_on_torchs() -> None:
    ours = drawn(DecoderLayer(6, 2, 10, 0.0, 0))
    theirs = torchs_layer(ours).train()
    ours.dropout = theirs.dropout1 = theirs.dropout2 = theirs.dropout3 = Doubled()
    x, memory = numbers(B, T, 6), numbers(B, S, 6, seed=1)
    near(ours(x, memory, None), theirs(x, memory, tgt_mask=nn.Transformer.generate_square_subsequent_mask(T)))


def test_dropout_lies_on_the_branches_of_a_sentence_layer() -> None:
    ours, x, mask = drawn(SentenceLayer(6, 2, 10, 0.0)), numbers(B, 4, 6), torch.ones(B, 4, dtype=torch.bool)
    normed = ours.attention_norm(x)
    middle = x + 2 * ours.attention(normed, *ours.attention.key_value(normed), None, False)
    exact = middle + 2 * ours.down(F.gelu(ours.up(ours.ffn_norm(middle))))
    ours.dropout = Doubled()
    near(ours(x, mask), exact)


def test_dropout_lies_behind_the_embeddings_norm_and_the_recurrent_attention() -> None:
    states, ids = document(), labels().clamp_min(0)
    head = drawn(TransformerHead(TransformerHeadConfig(layers=1), SIZES))
    head.layers = nn.ModuleList()
    plain = head.decode(ids, states)
    head.dropout = Doubled()
    near(head.decode(ids, states), 2 * plain)
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


def test_norms_have_the_epsilon_of_what_they_are_laid_out_like() -> None:
    head = TransformerHead(TransformerHeadConfig(layers=1), SIZES)
    found = {norm.eps for part in (head, GruHead(GruHeadConfig(), SIZES)) for norm in part.modules()
             if isinstance(norm, nn.LayerNorm)}
    assert found == {EPSILON}
    scorer = SentenceScorer(SIZES, sentence="mean", layers=1)  # PreSumm's
    assert {norm.eps for norm in scorer.modules() if isinstance(norm, nn.LayerNorm)} == {1e-6}


def test_sizes_are_the_bases_own_or_the_options() -> None:
    head = TransformerHead(TransformerHeadConfig(layers=1), SIZES)
    assert (head.layers[0].self_attention.heads, head.layers[0].up.out_features, head.cache_heads) == (2, 10, 2)
    head = TransformerHead(TransformerHeadConfig(layers=3, heads=3, ffn=7), SIZES)
    assert (head.layers[0].cross_attention.heads, head.layers[2].up.out_features) == (3, 7)
    assert (head.cache_layers, head.cache_heads, head.positions.num_embeddings) == (3, 3, SIZES.positions)
    scorer = SentenceScorer(SIZES, sentence="mean", layers=1, heads=3, ffn=7)
    assert (scorer.layers[0].attention.heads, scorer.layers[0].up.out_features) == (3, 7)
    scorer = SentenceScorer(SIZES, sentence="mean", layers=1)
    assert (scorer.layers[0].attention.heads, scorer.layers[0].up.out_features) == (2, 10)
    assert GruHead(GruHeadConfig(layers=2), SIZES).cache_layers == 2
    assert GruHead(GruHeadConfig(layers=2, input_feeding=True), SIZES).cache_layers == 3
    assert not head.output_bias.any()


def test_which_linear_parts_have_a_bias() -> None:
    untied = TransformerHead(TransformerHeadConfig(layers=1, tie_embeddings=False), SIZES)
    assert untied.output.bias is None
    assert GruHead(GruHeadConfig(attention="general"), SIZES).attention.key.bias is None
    part = GruHead(GruHeadConfig(attention="additive"), SIZES).attention
    assert (part.query.bias is None, part.key.bias is None, part.energy.bias is None) == (True, False, True)


def test_the_last_position_is_the_last_that_is_told_apart() -> None:
    head, states = drawn(TransformerHead(TransformerHeadConfig(layers=0), SIZES)), document()
    made = head.decode(torch.full((B, 10), 5), states)
    distinct = {tuple(row) for row in made[0].tolist()}
    assert len(distinct) == SIZES.positions
    assert torch.equal(made[:, 7], made[:, 9])


# Warm starts


def bert(layers: int = 3) -> tuple[Any, BaseParts]:
    torch.manual_seed(0)
    model = drawn(BertModel(BertConfig(vocab_size=17, hidden_size=6, num_hidden_layers=layers, num_attention_heads=2,
                                       intermediate_size=10, max_position_embeddings=12), add_pooling_layer=False))
    stored = {"dense.weight": numbers(6, 6, seed=1), "dense.bias": numbers(6, seed=2), "bias": numbers(17, seed=5),
              "norm.weight": numbers(6, seed=3), "norm.bias": numbers(6, seed=4)}
    table = model.embeddings.word_embeddings.weight
    return model, BaseParts(list(model.encoder.layer), model.embeddings, 2, stored, table)


def same(one: Any, other: Any) -> bool:
    return torch.equal(one.weight, other.weight) and torch.equal(one.bias, other.bias)


def test_a_warm_started_transformer_head_is_the_bases_layers() -> None:
    model, base = bert()
    head = drawn(TransformerHead(TransformerHeadConfig(layers=2), SIZES))
    fresh = head.layers[0].cross_attention.query.weight.clone()
    head.start_from(base)
    for layer, own in zip(head.layers, (base.layers[0], base.layers[2]), strict=True):
        x = numbers(B, T, 6)
        theirs = own.attention.output(own.attention.self(x)[0], x)
        key, value = layer.self_attention.key_value(x)
        middle = layer.self_norm(x + layer.self_attention(x, key, value, None, False))
        near(middle, theirs)
        near(layer.ffn_norm(middle + layer.down(F.gelu(layer.up(middle)))),
             own.output(own.intermediate(theirs), theirs))
        assert same(layer.cross_norm, own.attention.output.LayerNorm)
    assert torch.equal(head.layers[0].cross_attention.query.weight, fresh)
    embeddings: Any = model.embeddings
    near(head.positions.weight,
         embeddings.position_embeddings.weight[2:10] + embeddings.token_type_embeddings.weight[0])
    assert same(head.embedding_norm, embeddings.LayerNorm)
    assert same(head.pointer_query, base.layers[2].attention.self.query)  # type: ignore[union-attr]
    assert same(head.pointer_key, base.layers[2].attention.self.key)  # type: ignore[union-attr]
    assert torch.equal(head.transform.weight, numbers(6, 6, seed=1))


def test_feed_forward_layers_of_another_width_start_fresh() -> None:
    _, base = bert()
    head = drawn(TransformerHead(TransformerHeadConfig(layers=1, ffn=7), SIZES))
    before = head.layers[0].up.weight.clone()
    head.start_from(base)
    assert torch.equal(head.layers[0].up.weight, before)
    assert same(head.layers[0].self_attention.out, base.layers[2].attention.output.dense)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["transformer", "gru"])
def test_what_a_head_takes_over_where_it_is_of_another_kind(kind: str) -> None:
    _, base = bert()

    def made(**options: Any) -> Any:
        if kind == "gru":
            return drawn(GruHead(GruHeadConfig(**options), SIZES))
        return drawn(TransformerHead(TransformerHeadConfig(layers=1, **options), SIZES))

    def moved(head: Any, parts: BaseParts) -> set[str]:
        before = {name: value.clone() for name, value in head.state_dict().items()}
        head.start_from(parts)
        return {name.split(".")[0] for name, value in head.state_dict().items() if not torch.equal(before[name], value)}

    output = {"transform", "transform_norm", "output_bias"}
    assert moved(made(warm_start=False), base) == set()
    own = {"embedding_norm", "pointer_query", "pointer_key"} | output
    assert moved(made(), base) == (own if kind == "gru" else own | {"layers", "positions"})
    without = own - {"pointer_query", "pointer_key"}
    assert moved(made(copy_gate=False), base) == (without if kind == "gru" else without | {"layers", "positions"})
    narrow = moved(made(width=4), base)  # a transformer's parts are all of its own width
    assert narrow == ({"embedding_norm", *({"transform_norm", "output_bias"} & narrow)} if kind == "gru" else set())
    decoder = BaseParts([], None, 0, base.mlm_head, base.embedding_VD)
    assert moved(made(), decoder) == output


def test_a_recurrent_heads_pointer_starts_as_the_last_layers_attention() -> None:
    _, base = bert()
    head = drawn(GruHead(GruHeadConfig(), SIZES))
    head.start_from(base)
    assert same(head.pointer_query, base.layers[2].attention.self.query)  # type: ignore[union-attr]
    assert same(head.pointer_key, base.layers[2].attention.self.key)  # type: ignore[union-attr]
    assert same(head.embedding_norm, base.embeddings.LayerNorm)  # type: ignore[union-attr]


# 16 bits


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


def test_sentence_logits_of_16_bit_states_are_fp32() -> None:
    scorer, states = drawn(SentenceScorer(SIZES, sentence="mean", layers=1)).bfloat16(), document()
    states.hidden_BSD, states.sentences = states.hidden_BSD.bfloat16(), sentences()
    before = states.sentences.mask_BN.clone()
    assert sentence_vectors(states.hidden_BSD, states.sentences, "mean").dtype == torch.bfloat16
    assert scorer(states).dtype == torch.float32
    assert torch.equal(states.sentences.mask_BN, before)
    states.sentences.start_BN, states.sentences.end_BN = (x[:, :2] for x in (states.sentences.start_BN,
                                                                             states.sentences.end_BN))
    assert scorer(states).shape == (B, 2)


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
    states.hidden_BSD = numbers(B, 700, 6).bfloat16()
    states.attention_mask_BS = torch.ones(B, 700, dtype=torch.long)
    states.attention_mask_BS[0, 1:] = 0
    states.attention_mask_BS[2] = 0
    (first,) = head.initial_state(states)
    means = torch.stack([states.hidden_BSD[0, 0].float(), states.hidden_BSD[1].double().mean(0).float(),
                         torch.zeros(6)])
    near(first[0], torch.tanh(head.initial(means)), 1e-6)


def test_products_without_a_gradient_compute_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrain.nn.linear.cpu_has_fp16", lambda: False)
    x, weight = numbers(3, 4), numbers(5, 4, seed=1).requires_grad_()
    with torch.autocast("cpu", torch.float16):
        made = linear(x, weight)
    (gradient,) = torch.autograd.grad(made.float().sum(), weight)
    near(gradient, x.half().float().sum(0).expand(5, 4), 3e-3)
