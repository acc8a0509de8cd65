"""Sentence vectors, scores and their loss, written out and against torch's pre-norm layer."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig

from formulas import SIZES, B, Doubled, document, drawn, fill, near, numbers, sentences
from llmtrain.models.heads.base import Sentences
from llmtrain.models.heads.extractive.choose import Selection
from llmtrain.models.heads.extractive.head import ExtractiveHead
from llmtrain.models.heads.extractive.options import ExtractiveHeadConfig
from llmtrain.models.heads.extractive.scorer import (
    SentenceLayer,
    SentenceScorer,
    places,
    sentence_nll,
    sentence_vectors,
)
from llmtrain.objectives.extraction import Extraction
from llmtrain.objectives.options import ExtractionConfig


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


def test_the_last_token_of_a_sentence_may_be_the_documents_first() -> None:
    hidden = document().hidden_BSD
    where = Sentences(torch.tensor([[0, 1]] * 3), torch.tensor([[1, 3]] * 3))
    near(sentence_vectors(hidden, where, "last"), hidden[:, [0, 2]])


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


def test_dropout_lies_on_the_branches_of_a_sentence_layer() -> None:
    ours, x, mask = drawn(SentenceLayer(6, 2, 10, 0.0)), numbers(B, 4, 6), torch.ones(B, 4, dtype=torch.bool)
    normed = ours.attention_norm(x)
    middle = x + 2 * ours.attention(normed, *ours.attention.key_value(normed), None, False)
    exact = middle + 2 * ours.down(F.gelu(ours.up(ours.ffn_norm(middle))))
    ours.dropout = Doubled()
    near(ours(x, mask), exact)


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


def extraction(width: int = 6, layers: int = 1) -> Any:
    """The term beside a model of this width."""
    base = BertConfig(hidden_size=width, num_attention_heads=2, intermediate_size=2 * width, vocab_size=17)
    model: Any = SimpleNamespace(trunk=SimpleNamespace(config=base), config=SimpleNamespace(decoder_start_token_id=2))
    torch.manual_seed(0)
    options = ExtractionConfig(sentence="last", layers=layers, positive_weight=2.5)
    return Extraction(model, options, None, None)  # type: ignore[arg-type]


def test_the_extraction_terms_scorer_starts_as_bert_does() -> None:
    scorer = extraction(width=64, layers=2).scorer
    assert scorer.sentence == "last" and len(scorer.layers) == 2
    for module in scorer.modules():
        if isinstance(module, nn.Linear):
            assert not module.bias.any()
            if module.weight.numel() > 1000:
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)
        elif isinstance(module, nn.LayerNorm):
            assert (module.weight == 1).all() and not module.bias.any()


def test_the_extraction_term_is_torchs_weighted_cross_entropy_of_its_own_or_the_heads_scores() -> None:
    term, states, where = extraction(), document(), sentences()
    states.sentences = where
    batch: Any = {"sentence_start": where.start_BN, "sentence_end": where.end_BN}
    assert (term.count(batch).item(), term.count(batch).dtype) == (5, torch.int64)
    own, others = drawn(term.scorer)(states), numbers(3, 3, seed=3)
    head = nn.Module()
    head.sentence_scores = lambda given: others if given is states else None  # type: ignore[assignment]
    model: Any = SimpleNamespace(head=head)
    real = where.end_BN > where.start_BN

    def exact(scores: torch.Tensor) -> torch.Tensor:
        wanted = where.labels_BN[real].double()  # type: ignore[index]
        return F.binary_cross_entropy_with_logits(scores[real].double(), wanted, reduction="sum",
                                                  pos_weight=torch.tensor(2.5, dtype=torch.float64))

    term.share(nn.Module())  # a head that scores no sentences
    near(term(model, states, batch, 0), exact(own))
    term.share(head)
    assert not list(term.parameters())
    near(term(model, states, batch, 0), exact(others))


def test_the_extractive_heads_loss_and_count_are_of_its_scorers_sentences() -> None:
    head, states = drawn(ExtractiveHead(ExtractiveHeadConfig(layers=1, positive_weight=2.5), SIZES)), document()
    states.sentences = sentences()
    total, count = head.sentence_nll(states)
    near(total, sentence_nll(head.scorer(states), states.sentences, 2.5))
    assert count.item() == 5
    head.settle(Selection(2, 0.123456))
    assert head.selection == Selection(2, 0.1235)
    assert [ExtractiveHeadConfig(sentence=how).sentence_input().marked for how in ("cls", "mean", "last")] == [
        True, False, False]


def test_a_scorer_has_no_dropout_unless_it_is_asked_for() -> None:
    assert [SentenceScorer(SIZES, sentence="mean", layers=1, **more).layers[0].dropout.p  # type: ignore[arg-type]
            for more in ({}, {"dropout": 0.2})] == [0.0, 0.2]
