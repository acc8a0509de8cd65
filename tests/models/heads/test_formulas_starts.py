"""What heads start from: sizes, epsilons and biases, and the base's own layers, norms and output."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from formulas import SIZES, B, Given, T, document, drawn, near, numbers
from llmtrain.core.errors import ConfigError
from llmtrain.models.heads.base import BaseParts
from llmtrain.models.heads.extractive.scorer import SentenceScorer
from llmtrain.models.heads.rnn.head import GruHead
from llmtrain.models.heads.rnn.options import GruHeadConfig
from llmtrain.models.heads.transformer.head import TransformerHead
from llmtrain.models.heads.transformer.options import TransformerHeadConfig
from llmtrain.models.heads.transformer.warm_start import chosen_layers

EPSILON = BertConfig().layer_norm_eps


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


def test_sizes_that_do_not_fit_are_told_with_where_they_come_from() -> None:
    with pytest.raises(ConfigError, match=r"of 6 \(the base's\) is no multiple of 4 attention heads \(head.heads\)"):
        TransformerHead(TransformerHeadConfig(heads=4), SIZES)
    with pytest.raises(ConfigError, match=r"of 5 \(head.width\) is no multiple of 2 attention heads \(the base's\)"):
        TransformerHead(TransformerHeadConfig(width=5), SIZES)


def test_which_linear_parts_have_a_bias() -> None:
    untied = TransformerHead(TransformerHeadConfig(layers=1, tie_embeddings=False), SIZES)
    assert untied.output.bias is None
    assert GruHead(GruHeadConfig(attention="general"), SIZES).attention.key.bias is None
    part = GruHead(GruHeadConfig(attention="additive"), SIZES).attention
    assert (part.query.bias is None, part.key.bias is None, part.energy.bias is None) == (True, False, True)


@pytest.mark.parametrize(("available", "wanted", "indices"), [(12, 1, [11]), (12, 2, [0, 11]), (12, 3, [0, 6, 11]),
                                                              (2, 2, [0, 1]), (6, 4, [0, 2, 3, 5]), (1, 3, [0, 0, 0])])
def test_warm_starting_layers_are_evenly_spaced(available: int, wanted: int, indices: list[int]) -> None:
    assert chosen_layers(available, wanted) == indices


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
    before = {name: value.clone() for name, value in model.state_dict().items()}
    head.start_from(base)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())  # the base's stay
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
    assert moved(made(warm_start=False), decoder) == set()
    if kind == "transformer":
        assert moved(made(width=4, tie_embeddings=False), base) == set()


def test_a_recurrent_heads_pointer_starts_as_the_last_layers_attention() -> None:
    _, base = bert()
    head = drawn(GruHead(GruHeadConfig(), SIZES))
    head.start_from(base)
    assert same(head.pointer_query, base.layers[2].attention.self.query)  # type: ignore[union-attr]
    assert same(head.pointer_key, base.layers[2].attention.self.key)  # type: ignore[union-attr]
    assert same(head.embedding_norm, base.embeddings.LayerNorm)  # type: ignore[union-attr]


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
