"""Classifiers published as transformers' own classes: the same logits without llmtrain, and everything of ours too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import llmtrain.hf  # noqa: F401  registers our own class
from helpers import make_tiny_base, warm_cli
from labelled import coloured, place_rows, train
from llmtrain.models.backbone.families import FAMILIES
from llmtrain.models.native_classifiers import NATIVE
from stopping import same, stop_at

BERT = ("head.pooling=first", "head.hidden=null")
GPT = ("head.pooling=last", "head.bias=false")
HEADS = {"bert": BERT, "roberta": BERT, "xlm-roberta": BERT, "distilbert": (*BERT, "head.activation=relu"),
         "gpt2": GPT, "llama": (*GPT, "tuning=lora", "tuning.rank=2"), "qwen2": GPT}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return place_rows(tmp_path, coloured(40), coloured(12, 1))


def published(place: Path, run: str = "run") -> Path:
    best = json.loads((place / f"runs/{run}/checkpoints/best").read_text())
    return place / f"runs/{run}/checkpoints/{best['folder']}/model"


def predictions(place: Path, run: str = "run") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (place / f"runs/{run}/predictions.jsonl").read_text().splitlines()]


def test_every_kind_of_base_is_in_the_table() -> None:
    assert NATIVE.keys() == FAMILIES.keys()


@pytest.mark.parametrize("kind", HEADS)
def test_a_plain_folder_gives_the_same_probabilities_without_llmtrain(kind: str, place: Path,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    base = make_tiny_base(place / "base", kind)
    more = ("objective=task_only", "task.native=true", *HEADS[kind])
    made = train(place, base, *more)
    assert made.returncode == 0, made.stderr
    model, told = AutoModelForSequenceClassification.from_pretrained(published(place), output_loading_info=True)
    assert type(model).__module__.startswith("transformers.") and not any(told.values()), told
    tokenizer, rows = AutoTokenizer.from_pretrained(published(place)), predictions(place)
    with torch.no_grad():
        batch = tokenizer([row["text"] for row in rows], return_tensors="pt", padding=True, truncation=True,
                          max_length=32)
        chances = model(**batch).logits.softmax(-1).tolist()
    for row, found in zip(rows, chances, strict=True):
        assert {model.config.id2label[i]: chance for i, chance in enumerate(found)} == (
            pytest.approx(row["probabilities"], abs=2e-6))
    scored = warm_cli("eval", "checkpoint=runs/run", "eval.output=out", cwd=place)
    assert scored.returncode == 0, scored.stderr
    assert (place / "out/predictions.jsonl").read_text() == (place / "runs/run/predictions.jsonl").read_text()
    whole = warm_cli("verify", "runs/run", cwd=place)
    assert whole.returncode == 0 and f"head classifier on {kind}" in whole.stdout, whole.stderr
    stop_at(monkeypatch, 2)
    assert train(place, base, *more, run="stopped").returncode == 143
    assert train(place, base, *more, run="stopped").returncode == 0
    same(*(place / f"runs/{name}/checkpoints/step-4" for name in ("run", "stopped")))


def test_a_run_goes_on_from_a_plain_folder_and_starts_from_it_as_a_base(place: Path, tiny_base: Path) -> None:
    more = ("objective=task_only", *BERT)
    assert train(place, tiny_base, *more, "task.native=true").returncode == 0
    further = train(place, tiny_base, *more, "model.init_from=runs/run", run="further")
    assert further.returncode == 0, further.stderr
    based = train(place, published(place), *more, run="based")
    assert based.returncode == 0, based.stderr


@pytest.mark.parametrize("native", [True, False])
def test_the_pipeline_takes_a_published_folder(native: bool, place: Path, tiny_base: Path,
                                               caplog: pytest.LogCaptureFixture) -> None:
    made = train(place, tiny_base, "objective=task_only", *BERT, f"task.native={str(native).lower()}")
    assert made.returncode == 0, made.stderr
    classify = pipeline("text-classification", model=str(published(place)), device="cpu")
    rows = predictions(place)
    found = classify([row["text"] for row in rows], top_k=None)
    for row, listed in zip(rows, found, strict=True):
        assert listed[0]["label"] == row["prediction"]
        assert {one["label"]: one["score"] for one in listed} == pytest.approx(row["probabilities"], abs=2e-6)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_our_own_class_takes_either_padding_and_labels(place: Path, tiny_base: Path) -> None:
    assert train(place, tiny_base, "objective=task_only").returncode == 0
    model: Any = AutoModelForSequenceClassification.from_pretrained(published(place))
    tokenizer = AutoTokenizer.from_pretrained(published(place))
    texts = ["a red table", "a list of the blue nodes of a graph"]
    assert model.config.label2id == {"blue": 0, "green": 1, "red": 2} and model.config.num_labels == 3
    with torch.no_grad():
        right = model(**tokenizer(texts, return_tensors="pt", padding=True))
        tokenizer.padding_side = "left"
        left = model(**tokenizer(texts, return_tensors="pt", padding=True), labels=torch.tensor([2, 0]))
    assert torch.allclose(right.logits, left.logits, atol=1e-5) and right.loss is None
    assert torch.allclose(left.loss, torch.nn.functional.cross_entropy(right.logits, torch.tensor([2, 0])), atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_our_own_class_works_in_low_precision_and_is_exported(pooling: str, place: Path, tiny_base: Path) -> None:
    assert train(place, tiny_base, "objective=task_only", f"head.pooling={pooling}").returncode == 0
    model: Any = AutoModelForSequenceClassification.from_pretrained(published(place)).eval()
    batch = AutoTokenizer.from_pretrained(published(place))(["a red table", "a list of nodes"], return_tensors="pt",
                                                            padding=True)
    with torch.no_grad():
        exact = model(**batch).logits
        exported = torch.export.export(model, (), dict(batch)).module()(**batch).logits
        assert torch.allclose(exported, exact, atol=1e-5)
        for dtype in (torch.bfloat16, torch.float16):
            low: Any = AutoModelForSequenceClassification.from_pretrained(published(place), dtype=dtype).eval()
            assert torch.allclose(low(**batch).logits, exact, atol=0.02)
    model.save_pretrained(place / "again")
    again: Any = AutoModelForSequenceClassification.from_pretrained(place / "again")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("kind", "overrides", "told"), [
    ("bert", (), "BertForSequenceClassification, whose head is another than this one; set head.pooling=first "
                 "head.hidden=null head.activation=tanh head.bias=true, or leave task.native out"),
    ("bert", ("head.pooling=first", "head.hidden=16"), "set head.pooling=first head.hidden=null"),
    ("distilbert", BERT, "DistilBertForSequenceClassification, whose head is another than this one; set "
                         "head.pooling=first head.hidden=null head.activation=relu"),
    ("llama", ("head.pooling=last",), "set head.pooling=last head.hidden=0 head.bias=false"),
    ("gpt2", ("head.pooling=first", "task.native=false"), "is a decoder, whose first token sees no other")])
def test_a_head_that_is_another_is_refused_before_a_weight_is_read(kind: str, overrides: tuple[str, ...], told: str,
                                                                   place: Path) -> None:
    base = make_tiny_base(place / "base", kind)
    (base / "model.safetensors").write_bytes(b"no weights" * 10_000)
    refused = train(place, base, "objective=task_only", "task.native=true", *overrides)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert told in refused.stderr
