"""Decode settings: each acts as transformers' own, nothing else does, and what does nothing is told."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import tiny_tokenizer
from llmtrain.cli.commands.checkpoint_config import idle_told
from llmtrain.config.decode_checks import decoding_problems, idle_settings
from llmtrain.config.load import load_config
from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.config.sections.model import ModelConfig
from llmtrain.hf import load
from llmtrain.inference.predict import Documents, predict_batches
from llmtrain.models.backbone.pretrained import open_base
from llmtrain.models.heads.transformer.options import TransformerHeadConfig
from llmtrain.models.seq2seq import LlmtrainForSeq2SeqLM

PLAIN = GenerationConfig(max_new_tokens=10, no_repeat_ngram_size=0)
SAMPLED = replace(PLAIN, do_sample=True, temperature=1.5)
BEAMS = replace(PLAIN, num_beams=3)
# each setting from a value at which it does nothing, or another one acts, to one at which it does
SETTINGS: list[tuple[GenerationConfig, dict[str, Any]]] = [
    (PLAIN, {"num_beams": 3}), (PLAIN, {"do_sample": True}), (SAMPLED, {"temperature": 0.3}), (SAMPLED, {"top_k": 5}),
    (SAMPLED, {"top_k": 0}), (SAMPLED, {"top_p": 0.3}), (PLAIN, {"max_new_tokens": 4}), (PLAIN, {"min_new_tokens": 10}),
    (BEAMS, {"length_penalty": -4.0}), (BEAMS, {"early_stopping": True}), (PLAIN, {"no_repeat_ngram_size": 1}),
    (replace(PLAIN, num_beams=2, max_new_tokens=20), {"early_stopping": "never"}), (PLAIN, {"repetition_penalty": 3.0}),
    (BEAMS, {"num_return_sequences": 3}), (SAMPLED, {"num_return_sequences": 2}), (BEAMS, {"do_sample": True}),
]


@pytest.fixture(scope="module")
def model(tiny_base: Path) -> LlmtrainForSeq2SeqLM:
    """A seeded model that ends now and then."""
    torch.manual_seed(4)
    made = LlmtrainForSeq2SeqLM.from_base(open_base(ModelConfig(path=str(tiny_base))), TransformerHeadConfig(layers=1))
    with torch.no_grad():
        made.head.output_bias[made.config.eos_token_id] += 3.2
        made.head.transform_norm.weight *= 3
    return made.eval()


def batch(rows: int = 12) -> dict[str, torch.Tensor]:
    ids_BS = torch.randint(5, 150, (rows, 12), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids_BS, "attention_mask": torch.ones_like(ids_BS)}


def written(model: Any, config: GenerationConfig) -> list[list[int]]:
    torch.manual_seed(7)
    with torch.no_grad():
        found: list[list[int]] = model.write(batch(), config)
    return found


@pytest.mark.parametrize(("config", "change"), SETTINGS, ids=[str(change) for _, change in SETTINGS])
def test_each_setting_acts_and_acts_as_transformers_own(config: GenerationConfig, change: dict[str, Any],
                                                        model: LlmtrainForSeq2SeqLM) -> None:
    changed = replace(config, **change)
    found = written(model, changed)
    assert found != written(model, config)
    asked = {field.name: getattr(changed, field.name) for field in fields(changed)
             if field.name != "batch_tokens" and getattr(changed, field.name) != field.default}
    asked = {"max_new_tokens": 32, "no_repeat_ngram_size": 3} | asked  # the only defaults that are not transformers'
    torch.manual_seed(7)
    with torch.no_grad():
        plain = model.generate(**batch(), **asked)
    assert [row[1:] for row in plain.tolist()] == found
    (name, value), = change.items()
    if name not in ("num_beams", "do_sample", "num_return_sequences") and value != 0:
        assert f"{name} {value}" in model.describe_decoding(changed)
    assert model.describe_decoding(changed) != model.describe_decoding(config)


def test_sampling_says_how_many_tokens_it_draws_from(model: LlmtrainForSeq2SeqLM) -> None:
    assert model.describe_decoding(GenerationConfig(do_sample=True)) == (
        "sampling, max_new_tokens 32, top_k 50, no_repeat_ngram_size 3")
    assert model.describe_decoding(GenerationConfig(temperature=0.5, top_k=3, length_penalty=2.0)) == (
        "greedy, max_new_tokens 32, no_repeat_ngram_size 3")
    assert model.describe_decoding(replace(BEAMS, do_sample=True, num_return_sequences=2)).startswith(
        "beam 3, sampling, max_new_tokens 10, top_k 50, length_penalty 1.0, the best of 2")


STORED = {"do_sample": True, "num_beams": 4, "num_return_sequences": 4, "top_k": 1, "temperature": 9.0,
          "repetition_penalty": 5.0, "length_penalty": -3.0, "early_stopping": True, "min_length": 9,
          "no_repeat_ngram_size": 1, "suppress_tokens": [10, 11, 12], "begin_suppress_tokens": [13],
          "bad_words_ids": [[14]], "forced_bos_token_id": 15, "forced_eos_token_id": 16, "min_p": 0.5,
          "typical_p": 0.5, "eta_cutoff": 0.1, "epsilon_cutoff": 0.1, "encoder_no_repeat_ngram_size": 1,
          "encoder_repetition_penalty": 4.0, "exponential_decay_length_penalty": [2, 3.0], "max_length": 3,
          "eos_token_id": 40, "decoder_start_token_id": 41, "renormalize_logits": True, "use_cache": False}


@pytest.mark.parametrize("name", [*STORED, "everything"])
def test_a_stored_generation_config_changes_nothing(name: str, model: LlmtrainForSeq2SeqLM, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps(STORED if name == "everything" else {
        name: STORED[name]}))
    loaded, _ = load(tmp_path)
    for config in (PLAIN, SAMPLED, BEAMS):
        assert written(loaded.eval(), config) == written(model, config)


def test_every_setting_of_transformers_that_has_a_default_is_given(model: LlmtrainForSeq2SeqLM) -> None:
    """A default that a later transformers adds is looked at before it acts."""
    from transformers import GenerationConfig as Theirs

    from llmtrain.models.text_generation import as_transformers

    given = as_transformers(PLAIN, model.config).to_dict()
    assisted = {"num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold",
                "assistant_lookbehind", "target_lookbehind"}  # of a second model, which there never is
    lengths = {"max_length", "min_length"}  # max_new_tokens and min_new_tokens stand above them
    neutral = {name for name, value in Theirs._get_default_generation_params().items() if value is not None}
    assert {name for name in neutral - assisted - lengths if given.get(name) is None} == {"num_beam_groups",
        "diversity_penalty"} & neutral


def test_what_does_nothing_is_told() -> None:
    assert idle_settings(GenerationConfig()) == []
    assert idle_settings(GenerationConfig(temperature=0.7, top_k=5, top_p=0.5)) == [
        f"generation.{one} does nothing without generation.do_sample=true"
        for one in ("temperature=0.7", "top_k=5", "top_p=0.5")]
    assert idle_settings(GenerationConfig(length_penalty=2.0, early_stopping=True)) == [
        f"generation.{one} does nothing without generation.num_beams=2 or more"
        for one in ("length_penalty=2", "early_stopping=true")]
    acting = GenerationConfig(num_beams=2, do_sample=True, temperature=0.7, length_penalty=2.0, early_stopping="never")
    assert idle_settings(acting) == []
    assert idle_settings(GenerationConfig(num_beams=4, max_new_tokens=5, batch_tokens=99), writes=False) == [
        "generation.num_beams=4 does nothing with a head that writes nothing"]


def test_a_head_that_chooses_is_told_of_what_was_typed_alone() -> None:
    """The rest may come from an experiment that decodes for heads that write."""
    typed = ["generation.num_beams=4"]
    config: Any = load_config("eval", typed)
    config.generation.length_penalty = 2.0
    assert idle_told(config, [], writes=False) == []
    assert idle_told(config, typed, writes=False) == ["generation.num_beams=4 does nothing with a head that writes "
                                                      "nothing"]
    config.generation.num_beams = 1
    assert len(idle_told(config, [], writes=True)) == 1


@pytest.mark.parametrize(("asked", "told"), [
    ({"num_return_sequences": 2}, "needs generation.num_beams=2 or more, or generation.do_sample=true"),
    ({"num_return_sequences": 3, "num_beams": 2}, "more than generation.num_beams=2; raise that to 3"),
    ({"num_return_sequences": 3, "num_beams": 2, "do_sample": True}, "more than generation.num_beams=2"),
    ({"early_stopping": "nevr"}, "early_stopping=nevr is not one of true, false, never; did you mean never"),
    ({"min_new_tokens": 40}, "more than generation.max_new_tokens=32"),
])
def test_settings_that_do_not_go_together_are_refused(asked: dict[str, Any], told: str) -> None:
    problem, = decoding_problems(GenerationConfig(**asked))
    assert told in problem
    for good in ({"num_return_sequences": 2, "num_beams": 2}, {"num_return_sequences": 9, "do_sample": True}):
        assert not list(decoding_problems(GenerationConfig(**good)))


def test_several_summaries_of_a_document_follow_the_best(model: LlmtrainForSeq2SeqLM) -> None:
    """Each with its own score, whatever else shares the batch; the best is the one that is made alone."""
    tokenizer = tiny_tokenizer()
    documents = Documents(batch(5)["input_ids"].tolist(), ["x"] * 5)
    several = replace(BEAMS, num_return_sequences=3)

    def made(config: GenerationConfig) -> Any:
        return predict_batches(model, tokenizer, documents, config, _Fp32(), evidence=True)

    alone, all_of_them = made(BEAMS), made(several)
    for one, found in zip(alone, all_of_them, strict=True):
        assert (found.text, found.token_ids) == (one.text, one.token_ids)
        assert found.score == pytest.approx(one.score, abs=1e-5)
        assert len(found.every) == 3
        assert found.detail("summaries")["summaries"] == [each.text for each in found.every]
        assert "summaries" not in one.detail("summaries")
        assert len({tuple(each.token_ids) for each in found.every}) == 3
        assert all(each.score < 0 for each in found.every)


class _Fp32:
    def autocast(self) -> Any:
        return torch.autocast("cpu", enabled=False)
