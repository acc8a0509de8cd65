"""A published model that writes in a vocabulary of its own: generate() as everywhere, and nothing else's vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig

import llmtrain.hf  # noqa: F401
from helpers import decoder_tokenizer, make_tiny_base, tiny_tokenizer
from llmtrain.config.sections.model import ModelConfig
from llmtrain.core.errors import CheckpointError, ConfigError
from llmtrain.data.control_tokens import text_only
from llmtrain.data.learnt import Learnt
from llmtrain.models.architectures import class_of
from llmtrain.models.backbone.pretrained import load_tokenizer, open_base
from llmtrain.models.hf_config import facts_of, source_padding
from llmtrain.models.publish import load_weights
from llmtrain.models.target_vocabulary import FOLDER, TargetVocabulary, learnt_from, same_surface, vocabulary_in
from llmtrain.registry import get
from llmtrain.tasks.translation.target_tokenizer import learnt_bpe
from reference_decode import beam, greedy

TEXTS = ["The first table reads a small text.", "Sort the list.", "A key"]
KINDS: list[tuple[str, str, dict[str, Any]]] = [
    ("bert", "transformer", {}), ("bert", "transformer", {"width": 16, "heads": 2, "tie_embeddings": False}),
    ("roberta", "gru", {}), ("bert", "lstm", {"width": 16, "copy_gate": False}), ("gpt2", "transformer", {}),
    ("llama", "gru", {"input_feeding": True})]


def own_vocabulary() -> Any:
    return learnt_bpe(["der die das Tisch liest einen kleinen Text", "die Liste der Schlüssel the list"] * 3, 320, None)


def make(family: str, head: str, options: dict[str, Any], folder: Path) -> Any:
    """(model, base, target tokenizer), its numbers made uneven, and targets that end now and then."""
    make_tiny_base(folder / "base", family)
    tokenizer, base = own_vocabulary(), open_base(ModelConfig(path=str(folder / "base")))
    torch.manual_seed(3)
    model = class_of(head).from_base(base, get("head", head).options(**options),
                                     Learnt(TargetVocabulary.of(tokenizer).facts(), tokenizer))
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.head.output_bias[model.config.eos_token_id] += 2
    return model.eval(), base, tokenizer


@pytest.mark.parametrize(("family", "head", "options"), KINDS)
def test_a_published_model_generates_in_its_vocabulary(family: str, head: str, options: dict[str, Any],
                                                       tmp_path: Path) -> None:
    model, base, tokenizer = make(family, head, options, tmp_path)
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    tokenizer.save_pretrained(folder / FOLDER)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    reads, writes = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(folder / FOLDER)
    config = loaded.config
    assert (config.vocab_size, config.bos_token_id, config.eos_token_id, config.pad_token_id,
            config.decoder_start_token_id) == (len(writes), 1, 2, 0, 1)
    assert config.source_pad_token_id == base.special.pad and loaded.trunk.config.vocab_size == base.vocabulary
    batch = reads(TEXTS, return_tensors="pt", padding=True, return_token_type_ids=False)
    how: dict[str, Any] = {"max_new_tokens": 9, "do_sample": False}
    for beams, decode in ((1, greedy), (3, lambda *given: beam(*given, beams=3))):
        made = loaded.generate(**batch, **how, num_beams=beams)
        for row, text in zip(made.tolist(), TEXTS, strict=True):
            wanted = decode(loaded, torch.tensor(reads(text)["input_ids"]), 9)
            assert row[:len(wanted)] == wanted and set(row[len(wanted):]) <= {config.pad_token_id, config.eos_token_id}
            assert max(row) < config.vocab_size
        assert torch.equal(made, loaded.generate(**batch, **how, num_beams=beams, use_cache=False))
    assert all(isinstance(writes.decode(row, skip_special_tokens=True), str) for row in made)
    penalised = loaded.generate(**batch, **how, num_beams=3, length_penalty=-5.0)
    assert (penalised != 0).sum() <= (made != 0).sum()


def test_the_same_text_is_the_same_token() -> None:
    base, target = tiny_tokenizer(), own_vocabulary()
    ends = (base.sep_token_id, target.eos_token_id)
    known, own = base.get_vocab(), target.get_vocab()
    found = same_surface(base, len(base) + 3, target, ends)
    assert len(found) == len(base) + 3 and found[-3:] == [-1] * 3
    assert found[known["list"]] == own["Ġlist"] and found[known["[SEP]"]] == target.eos_token_id
    assert found[known["##t"]] == own["t"] != found[known["t"]] and found[known["."]] == own["."]
    assert found[known["text"]] == own["ĠText"]  # the base knows no capitals
    assert found[known["[CLS]"]] == found[known["[PAD]"]] == found[known["matrix"]] == -1
    itself = text_only(decoder_tokenizer(True))
    again = same_surface(itself, len(itself), itself, (1, 1))
    special = set(itself.all_special_ids) - {1}
    assert all(number == place or number == -1 for place, number in enumerate(again))
    assert all(again[one] == -1 for one in special)
    assert sum(one >= 0 for one in again) > len(again) // 3  # the others are parts of characters


def test_another_tokenizer_than_the_models_is_refused(tmp_path: Path) -> None:
    tokenizer = own_vocabulary()
    facts = TargetVocabulary.of(tokenizer).facts()
    with pytest.raises(CheckpointError, match="no folder of a tokenizer at .*target_tokenizer; check the checkpoint"):
        learnt_from(tmp_path, facts)
    learnt_bpe(["another text"] * 9, 300, None).save_pretrained(tmp_path / FOLDER)
    with pytest.raises(CheckpointError, match="is not the one that the model was trained with; restore"):
        learnt_from(tmp_path, facts)
    tokenizer.save_pretrained(tmp_path / FOLDER)
    assert learnt_from(tmp_path, facts).tokenizer.get_vocab() == tokenizer.get_vocab()  # type: ignore[union-attr]
    assert learnt_from(tmp_path, {"labels": ["a"]}) == Learnt({"labels": ["a"]})


@pytest.mark.parametrize("found", [
    3, [], {"size": 9}, {"size": 10**12, "bos": 0, "eos": 1, "pad": 2}, {"size": 9, "bos": 9, "eos": 1, "pad": 2},
    {"size": True, "bos": 0, "eos": 0, "pad": 0}, {"size": 9, "bos": 0, "eos": "1", "pad": 2}], ids=str)
def test_a_vocabulary_that_cannot_be_is_refused(found: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="tells of a target vocabulary that there cannot be"):
        learnt_from(tmp_path, {"target_vocabulary": found})


def test_weights_of_another_vocabulary_are_refused_though_they_fit(tmp_path: Path) -> None:
    model, _, tokenizer = make("bert", "transformer", {}, tmp_path)
    model.save_pretrained(tmp_path / "model")
    load_weights(model, tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    config["facts"]["target_vocabulary"]["digest"] = "0" * 64
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="writes in another target vocabulary than this one"):
        load_weights(model, tmp_path / "model")
    assert vocabulary_in(facts_of(model.config)) == TargetVocabulary.of(tokenizer)


def test_a_model_of_one_vocabulary_says_nothing_of_another(tiny_base: Path, tmp_path: Path) -> None:
    base = open_base(ModelConfig(path=str(tiny_base)))
    model = class_of("transformer").from_base(base, get("head", "transformer").options(layers=1))
    model.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert "facts" not in stored and "source_pad_token_id" not in stored
    assert source_padding(model.config) == base.special.pad == model.config.pad_token_id
    assert not GenerationConfig.from_model_config(model.config).to_dict().get("source_pad_token_id")
    assert load_tokenizer(str(tiny_base)).get_vocab() == base.tokenizer.get_vocab()
