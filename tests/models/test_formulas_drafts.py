"""Drafts of what a model wrote: scores, copy evidence and traces of a batch, against one token at a time."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from formulas import SIZES, document, drawn, sentences
from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.models.heads.base import EncoderStates
from llmtrain.models.heads.ext_abs.head import ExtAbsHead
from llmtrain.models.heads.ext_abs.options import ExtAbsHeadConfig
from llmtrain.models.heads.transformer.head import TransformerHead
from llmtrain.models.heads.transformer.options import TransformerHeadConfig
from llmtrain.models.output import Output
from llmtrain.models.text_generation import WritingModel, as_transformers

END, PADDING = 15, 0
TOKENS: list[list[int]] = [[5, 6, 7, 8], [9], []]


def model_of(head: Any) -> Any:
    """What stands for a model: its head, and a trunk that gives states of the three documents."""
    where = sentences()
    batch = {"input_ids": document().input_ids_BS, "attention_mask": document().attention_mask_BS,
             "sentence_start": where.start_BN, "sentence_end": where.end_BN}

    def encode(ids: Any, mask: Any) -> EncoderStates:
        assert ids is batch["input_ids"] and mask is batch["attention_mask"]
        return document()

    config = SimpleNamespace(eos_token_id=END, pad_token_id=PADDING, bos_token_id=2, decoder_start_token_id=2)
    made = SimpleNamespace(config=config, head=head, encode=encode, batch=batch)
    for name in ("explain", "_trace", "write", "predict"):
        setattr(made, name, partial(getattr(WritingModel, name), made))
    return made


def alone(b: int, sentence: bool) -> EncoderStates:
    """The states of one document."""
    states, where = document(), sentences()
    for name in ("hidden_BSD", "attention_mask_BS", "input_ids_BS"):
        setattr(states, name, getattr(states, name)[b:b + 1])
    if sentence:
        where.start_BN, where.end_BN, where.labels_BN = where.start_BN[b:b + 1], where.end_BN[b:b + 1], None
        states.sentences = where
    return states


@pytest.mark.parametrize("kind", ["ext_abs", "transformer", "no gate"])
@torch.no_grad()
def test_evidence_of_a_batch_is_that_of_each_summary_alone(kind: str) -> None:
    cites = kind == "ext_abs"
    head: Any = drawn(ExtAbsHead(ExtAbsHeadConfig(layers=1, count=2), SIZES) if cites else TransformerHead(
        TransformerHeadConfig(layers=1, copy_gate=kind != "no gate"), SIZES))
    model = model_of(head)
    drafts = model.explain(model.batch, TOKENS)
    assert len(drafts) == 3
    for b, (row, draft) in enumerate(zip(TOKENS, drafts, strict=True)):
        states, labels = alone(b, cites), torch.tensor([[*row, END]])
        chances = head.log_probabilities(torch.tensor([[SIZES.start_id, *row]]), states)[0]
        score = sum(float(chances[t, token]) for t, token in enumerate([*row, END])) / (len(row) + 1)
        assert draft.token_ids == row and type(draft.score) is float
        assert draft.score == pytest.approx(score, rel=1e-5)
        if kind == "no gate":
            assert draft == Output(row, draft.score)
            continue
        gates, places = (found[0].tolist() for found in head.copy_evidence(labels, states))
        assert draft.copied is not None and len(draft.copied) == len(row)
        for (gate, place), one, other in zip(draft.copied, gates[:len(row)], places[:len(row)], strict=True):
            assert (gate, place) == (pytest.approx(one, rel=1e-5), other)
        if not cites:
            assert draft.sentences is None and draft.traced is None
            continue
        shares, where = head.attention_weights(states, labels)[0].tolist(), sentences()
        spans = list(zip(where.start_BN[b].tolist(), where.end_BN[b].tolist(), strict=True))
        assert draft.traced is not None and len(draft.traced) == len(row)
        for t, weights in enumerate(draft.traced):
            assert weights == [pytest.approx(gates[t] * sum(shares[t][start:end]), rel=1e-4) for start, end in spans]
        logits = head.sentence_scores(states)[0]
        real = [n for n, (start, end) in enumerate(spans) if end > start]
        best = sorted(sorted(real, key=lambda n: -logits[n])[:2])
        assert draft.sentences is not None and [choice.index for choice in draft.sentences] == best
        assert [choice.probability for choice in draft.sentences] == pytest.approx(
            [float(1 / (1 + torch.exp(-logits[n]))) for n in best], rel=1e-5)


def test_evidence_of_another_size_than_the_summaries_is_not_cut_to_fit() -> None:
    head: Any = drawn(TransformerHead(TransformerHeadConfig(layers=1), SIZES))
    model, real = model_of(head), head.copy_evidence
    for wrong in (lambda gate, place: (gate[:, :2], place), lambda gate, place: (gate[:2], place[:2])):
        head.copy_evidence = lambda labels, states, wrong=wrong: wrong(*real(labels, states))
        with torch.no_grad(), pytest.raises(ValueError, match="zip"):
            model.explain(model.batch, TOKENS)


def test_what_is_explained_lies_where_the_documents_lie() -> None:
    asked: list[torch.device] = []

    class Seen(Exception):
        pass

    class Head:
        log_probabilities = None

        def shift(self, labels: Any) -> Any:
            asked.append(labels.device)
            raise Seen

    model = model_of(Head())
    model.encode = lambda ids, mask: document()
    with pytest.raises(Seen):
        model.explain({"input_ids": torch.empty(3, 7, device="meta"), "attention_mask": None}, TOKENS)
    assert [device.type for device in asked] == ["meta"]


@pytest.mark.parametrize("cites", [False, True])
def test_summaries_are_what_generate_gives_up_to_the_end_token(cites: bool) -> None:
    model, asked = model_of(SimpleNamespace(cites=cites)), {}

    def generate(**given: Any) -> torch.Tensor:
        asked.update(given)
        return torch.tensor([[2, 5, END, 0], [2, 6, 7, 8], [2, END, 0, 0], [2, 9, END, 0]])

    model.generate = generate
    config = GenerationConfig(num_beams=2, num_return_sequences=2, max_new_tokens=3)
    made = model.predict(model.batch, config)
    assert made == [Output([5], others=(Output([6, 7, 8]),)), Output([], others=(Output([9]),))]
    assert asked.pop("generation_config").to_dict() == as_transformers(config, model.config).to_dict()
    assert asked == {name: value for name, value in model.batch.items() if cites or not name.startswith("sentence")}
    model.explain = lambda batch, rows: [Output(row, score=float(len(row))) for row in rows]
    made = model.predict(model.batch, config, evidence=True)
    assert made == [Output([5], 1.0, others=(Output([6, 7, 8], 3.0),)), Output([], 0.0, others=(Output([9], 1.0),))]


ODD = {"temperature": 0.3, "top_k": 7, "top_p": 0.2, "length_penalty": 2.5, "early_stopping": True,
       "no_repeat_ngram_size": 2, "repetition_penalty": 1.5, "max_new_tokens": 9}


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("beams", [1, 2, 3])
@pytest.mark.parametrize("least", [0, 4])
def test_what_does_nothing_is_given_the_value_that_transformers_has_for_it(sampled: bool, beams: int,
                                                                           least: int) -> None:
    asked = GenerationConfig(do_sample=sampled, num_beams=beams, min_new_tokens=least, **ODD)  # type: ignore[arg-type]
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3, "decoder_start_token_id": 4}
    made = as_transformers(asked, SimpleNamespace(**ids)).to_dict()
    own = transformers.GenerationConfig._get_default_generation_params()
    idle = (set() if sampled else {"temperature", "top_k", "top_p"}) | (
        set() if beams > 1 else {"length_penalty", "early_stopping"})
    acting = {field.name: getattr(asked, field.name) for field in fields(asked)
              if field.name not in {"batch_tokens"} | idle} | ids
    for name, value in made.items():
        if name in acting:
            assert value == (acting[name] if name != "min_new_tokens" else least or None), name
        elif value is not None and name in own:
            assert value == own[name] or own[name] is None, name
    assert as_transformers(asked, SimpleNamespace()).eos_token_id is None


def test_every_setting_that_a_stored_file_may_change_is_given_its_neutral_value() -> None:
    made = as_transformers(GenerationConfig(), SimpleNamespace())
    neutral = {"typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "encoder_repetition_penalty": 1.0,
               "encoder_no_repeat_ngram_size": 0, "use_cache": True, "remove_invalid_values": False,
               "renormalize_logits": False, "return_dict_in_generate": False, "output_scores": False}
    assert {name: getattr(made, name) for name in neutral} == neutral
