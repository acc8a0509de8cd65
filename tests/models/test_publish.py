"""What others do with a published folder: 16 bits, padding on either side, plain generate(), export."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

import llmtrain.hf  # noqa: F401
from helpers import environment, make_tiny_base
from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.config.sections.model import ModelConfig
from llmtrain.models.architectures import class_of
from llmtrain.models.backbone.pretrained import load_tokenizer, open_base
from llmtrain.models.publish import publish_generation
from llmtrain.registry import get

TEXTS = ["The first table reads a small text. It is large. Write more.", "Sort the list.", "A key"]
HALVES = ("bfloat16", "float16", "auto", ".half", ".bfloat16")
KINDS: list[tuple[str, str, dict[str, Any]]] = [
    ("bert", "transformer", {}), ("bert", "transformer", {"width": 16, "heads": 2}), ("bert", "gru", {}),
    ("bert", "gru", {"attention": "additive", "input_feeding": True}), ("bert", "lstm", {"width": 16}),
    ("bert", "ext_abs", {}), ("bert", "ext_abs", {"steer": "top_k"}), ("roberta", "prefix_lm", {"copy_gate": True}),
    ("distilbert", "transformer", {}), ("gpt2", "prefix_lm", {"copy_gate": True}),
    ("llama", "transformer", {"tie_embeddings": False}), ("llama", "prefix_lm", {}), ("bert", "extractive", {})]
WRITES = [kind for kind in KINDS if kind[1] != "extractive"]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that gives the published folder of (family, head, options), its numbers made uneven."""
    made: dict[str, Path] = {}

    def publish(family: str, head: str, options: dict[str, Any]) -> Path:
        name = f"{family}-{head}-{json.dumps(options, sort_keys=True)}"
        if name in made:
            return made[name]
        if family not in made:
            made[family] = make_tiny_base(tmp_path_factory.mktemp(family), family)
        torch.manual_seed(0)
        tokenizer = load_tokenizer(str(made[family]))
        base = open_base(ModelConfig(path=str(made[family])))
        model = class_of(head).from_base(base, get("head", head).options(**options))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
        made[name] = tmp_path_factory.mktemp(head)
        model.save_pretrained(made[name])
        tokenizer.save_pretrained(made[name])
        publish_generation(model, GenerationConfig(max_new_tokens=7, num_beams=2, length_penalty=0.5), made[name])
        return made[name]

    return publish


def inputs(folder: Path, head: str, side: str = "right") -> dict[str, Any]:
    """A batch with labels, padded on one side."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = side
    batch = dict(tokenizer(TEXTS, return_tensors="pt", padding=True))
    batch.pop("token_type_ids", None)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    if head == "extractive":
        lead = (ids.shape[1] - mask.sum(1, keepdim=True)) if side == "left" else torch.zeros(3, 1, dtype=torch.long)
        return batch | {"sentence_start": torch.tensor([[0, 3]] * 3) + lead, "labels": torch.tensor([[1, 0]] * 3),
                        "sentence_end": torch.tensor([[3, 4]] * 3) + lead}
    return batch | {"labels": ids.masked_fill(mask == 0, -100)}


def load(folder: Path, head: str, how: str) -> Any:
    kind: Any = class_of(head)
    if how.startswith("."):
        return getattr(kind.from_pretrained(folder, dtype=torch.float32), how[1:])().eval()
    return kind.from_pretrained(folder, dtype=how).eval()


@pytest.mark.parametrize("how", HALVES)
@pytest.mark.parametrize(("family", "head", "options"), KINDS)
def test_a_published_model_computes_in_16_bits(family: str, head: str, options: dict[str, Any], how: str,
                                               published: Any) -> None:
    folder = published(family, head, options)
    batch, model = inputs(folder, head), load(folder, head, how)
    assert len({parameter.dtype for parameter in model.parameters()}) == 1
    with torch.no_grad():
        loss, wide = float(model(**batch).loss), float(load(folder, head, "float32")(**batch).loss)
    assert loss == pytest.approx(wide, rel=0.03)
    batch.pop("labels")
    for decoding in ({}, {"num_beams": 3}, {"do_sample": True, "num_beams": 1}) if head != "extractive" else ():
        assert len(model.generate(**batch, **decoding)) == 3


@pytest.mark.parametrize(("family", "head", "options"), KINDS)
def test_padding_on_the_left_changes_nothing(family: str, head: str, options: dict[str, Any], published: Any) -> None:
    folder = published(family, head, options)
    model, right, left = load(folder, head, "float32"), inputs(folder, head), inputs(folder, head, "left")
    with torch.no_grad():
        one, other = model(**right), model(**left)
    assert torch.equal(one.loss, other.loss)
    if head == "extractive":
        assert torch.equal(one.logits, other.logits)
        with pytest.raises(ValueError, match="names padding"):
            model(**left | {"sentence_start": right["sentence_start"], "sentence_end": right["sentence_end"]})
        return
    for row in range(3):
        assert torch.equal(one.logits[row][right["labels"][row] != -100],
                           other.logits[row][left["labels"][row] != -100])
    right.pop("labels")
    left.pop("labels")
    for decoding in ({"num_beams": 1}, {}, {"num_beams": 3, "num_return_sequences": 2}):
        assert torch.equal(model.generate(**right, **decoding), model.generate(**left, **decoding))


def test_summaries_padded_on_the_left_are_refused(published: Any) -> None:
    folder = published("bert", "transformer", {})
    batch = inputs(folder, "transformer")
    with pytest.raises(ValueError, match="padded on the left"):
        load(folder, "transformer", "float32")(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"],
            decoder_input_ids=torch.ones(3, 2, dtype=torch.long), decoder_attention_mask=torch.tensor([[0, 1]] * 3))


@pytest.mark.parametrize(("family", "head", "options"), WRITES)
def test_plain_generate_decodes_as_the_run_and_begins_with_the_begin_token(family: str, head: str,
                                                                           options: dict[str, Any],
                                                                           published: Any) -> None:
    folder = published(family, head, options)
    model, batch = load(folder, head, "float32"), inputs(folder, head)
    batch.pop("labels")
    if head == "ext_abs":
        batch |= {"sentence_start": torch.tensor([[0, 3]] * 3), "sentence_end": torch.tensor([[3, 4]] * 3)}
    written = model.generate(**batch)
    assert written.shape[1] <= 8
    assert (written[:, 0] == model.config.bos_token_id).all()
    again = model.write(batch, GenerationConfig(max_new_tokens=7, num_beams=2, length_penalty=0.5))
    assert written[:, 1:].tolist() == again
    stored = json.loads((folder / "generation_config.json").read_text())
    assert {name: stored[name] for name in ("num_beams", "max_new_tokens", "length_penalty", "no_repeat_ngram_size")
            } == {"num_beams": 2, "max_new_tokens": 7, "length_penalty": 0.5, "no_repeat_ngram_size": 3}
    assert "batch_tokens" not in stored
    assert "temperature" not in stored


def test_a_published_tokenizer_pads_on_the_right_whatever_the_base_says(tmp_path: Path) -> None:
    folder = make_tiny_base(tmp_path / "base", "gpt2")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"padding_side": "left",
                                                                       "truncation_side": "left"}))
    load_tokenizer(str(folder)).save_pretrained(tmp_path / "published")
    found = AutoTokenizer.from_pretrained(tmp_path / "published")
    assert (found.padding_side, found.truncation_side) == ("right", "right")
    assert found(["a", "a table"], padding=True)["attention_mask"][0][-1] == 0


@pytest.mark.parametrize(("family", "head", "options"), KINDS)
def test_a_published_model_is_exported(family: str, head: str, options: dict[str, Any], published: Any) -> None:
    folder = published(family, head, options)
    model, batch = load(folder, head, "float32"), inputs(folder, head)
    labels = batch.pop("labels")
    if head != "extractive":
        batch["decoder_input_ids"] = labels[:, :5].clamp_min(0)
    recurrent = head in ("gru", "lstm")
    auto = torch.export.Dim.AUTO
    shapes = None if recurrent else {name: {0: auto} if name.startswith("sentence") else {0: auto, 1: auto}
                                     for name in batch}
    with torch.no_grad():
        graph = torch.export.export(model, (), batch, strict=False, dynamic_shapes=shapes).module()
        fewer = batch if recurrent else {name: value[:2] if name.startswith("sentence") else value[:2, :9]
                                         for name, value in batch.items()}
        torch.testing.assert_close(graph(**fewer).logits, model(**fewer).logits, rtol=1e-3, atol=1e-4)
        if head == "extractive":
            batch |= {"labels": labels}
        else:
            batch |= {"labels": labels[:, :5]}
            batch.pop("decoder_input_ids")
        trained = torch.export.export(model, (), batch, strict=False).module()
        torch.testing.assert_close(trained(**batch).loss, model(**batch).loss)


def test_importing_the_auto_classes_says_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", "import llmtrain.hf"], env=environment(), capture_output=True,
                          text=True, check=True)
    assert done.stderr == ""
