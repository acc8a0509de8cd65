"""The span head and its published model, as transformers and training use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

import llmtrain.hf  # noqa: F401
from helpers import make_tiny_base, make_tiny_decoder
from llmtrain.config.sections.model import ModelConfig
from llmtrain.data.learnt import PAIRS, Learnt, knows_segments
from llmtrain.models.backbone.pretrained import open_base
from llmtrain.models.heads.span.options import NO_ANSWER, SpanHeadConfig
from llmtrain.models.span import LlmtrainForQuestionAnswering
from llmtrain.nn.attention import NEVER


def made(folder: Path, **options: Any) -> LlmtrainForQuestionAnswering:
    base = open_base(ModelConfig(path=str(folder), dropout=0.0))
    torch.manual_seed(0)
    return LlmtrainForQuestionAnswering.from_base(base, SpanHeadConfig(dropout=0.0, **options),
                                                  Learnt({"marks": True, "no_answer": True, PAIRS: True})).eval()


@pytest.fixture(params=["bert", "roberta", "distilbert", "gpt2", "llama"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make_tiny_base(tmp_path / "base", request.param)


def batch(model: LlmtrainForQuestionAnswering, labels: list[list[int]]) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.randint(5, 60, (len(labels), 9), generator=torch.Generator().manual_seed(1)),
            "attention_mask": torch.tensor([[1] * (9 - row) + [0] * row for row in range(len(labels))]),
            "labels": torch.tensor(labels)}


@pytest.mark.parametrize("hidden", [0, 24])
def test_the_loss_is_the_cross_entropy_of_both_ends(folder: Path, hidden: int) -> None:
    model = made(folder, hidden=hidden)
    rows = batch(model, [[3, 5], [NO_ANSWER, NO_ANSWER], [-100, -100]])
    total, count = model.task_nll(model.read(rows), rows)
    assert int(count) == int(model.task_count(rows)) == 4 and total.dtype == torch.float32
    with torch.no_grad():
        out = model(rows["input_ids"], rows["attention_mask"])
    none = 7 if model.config.base["model_type"] in ("gpt2", "llama") else 0  # a decoder's last token has seen all
    expected = -sum(float(torch.log_softmax(logits[row], 0)[place]) for logits, row, place in (
        (out.start_logits, 0, 3), (out.end_logits, 0, 5), (out.start_logits, 1, none), (out.end_logits, 1, none)))
    assert float(total) == pytest.approx(expected, rel=1e-5)
    assert (out.start_logits[2, 7:] == NEVER).all()


def test_a_batch_without_any_answer_still_reaches_every_parameter(tmp_path: Path) -> None:
    model = made(make_tiny_base(tmp_path / "base"), hidden=8)
    rows = batch(model, [[-100], [-100]])
    total, count = model.task_nll(model.read(rows), rows)
    total.backward()  # type: ignore[no-untyped-call]
    assert (float(total), int(count)) == (0.0, 0)
    assert all(p.grad is not None and not p.grad.any() for p in model.head.parameters())


def test_it_is_published_and_loaded_as_any_model_of_its_kind(folder: Path, tmp_path: Path) -> None:
    model = made(folder)
    model.head.settle(1.25)
    model.save_pretrained(tmp_path / "out")
    loaded: Any = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "out").eval()
    rows = batch(model, [[3, 5], [2, 4]])
    given = {name: rows[name] for name in ("input_ids", "attention_mask")}
    out = loaded(**given, start_positions=torch.tensor([3, 2]), end_positions=torch.tensor([5, 99]))
    assert torch.equal(out.start_logits, model(**given).start_logits)
    total, count = model.task_nll(model.read(rows), rows | {"labels": torch.tensor([[3, 5], [2, -100]])})
    assert float(out.loss) == pytest.approx(float(total / count))  # one outside the row counts for nothing
    assert float(loaded.head.threshold) == 1.25
    assert loaded.config.facts == {"marks": True, "no_answer": True, PAIRS: True}


def test_rows_may_be_padded_on_the_left(folder: Path) -> None:
    model = made(folder)
    ids = torch.randint(5, 60, (1, 6), generator=torch.Generator().manual_seed(1))
    alone = model(ids, start_positions=torch.tensor([2]), end_positions=torch.tensor([4]))
    left = model(torch.nn.functional.pad(ids, (3, 0)), torch.tensor([[0] * 3 + [1] * 6]),
                 start_positions=torch.tensor([5]), end_positions=torch.tensor([7]))
    assert torch.allclose(left.start_logits[:, 3:], alone.start_logits, atol=1e-5)
    assert (left.end_logits[:, :3] == NEVER).all()
    assert float(left.loss) == pytest.approx(float(alone.loss), rel=1e-5)


def test_the_context_is_the_second_segment_where_base_and_tokenizer_know_segments(tmp_path: Path) -> None:
    folder = make_tiny_base(tmp_path / "base")
    model, tokenizer = made(folder), AutoTokenizer.from_pretrained(folder)
    given = tokenizer(["what is red", "what"], ["the list is red", "red is the list of it and this"], padding=True,
                      return_tensors="pt")
    found = model.segments_of(given["input_ids"])
    assert found is not None and torch.equal(found * given["attention_mask"], given["token_type_ids"])
    plain = model.trunk(**given).last_hidden_state
    assert torch.allclose(model.encode(given["input_ids"], given["attention_mask"]).hidden_BSD * given[
        "attention_mask"][..., None], plain * given["attention_mask"][..., None], atol=1e-5)
    base = open_base(ModelConfig(path=str(folder)))
    assert LlmtrainForQuestionAnswering.from_base(base, SpanHeadConfig()).segments_of(given["input_ids"]) is None
    assert knows_segments(base.tokenizer)
    base.tokenizer.model_input_names = ["input_ids", "attention_mask"]  # as multilingual-e5 comes
    assert not knows_segments(base.tokenizer)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_decoders_have_no_segments(family: str, tmp_path: Path) -> None:
    assert made(make_tiny_decoder(tmp_path / "base", family)).segments_of(torch.tensor([[1, 2]])) is None
