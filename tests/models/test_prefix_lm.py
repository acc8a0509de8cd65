"""The base that writes itself: one pass in training, kept keys and values in writing, and both the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM

import llmtrain.hf  # noqa: F401
from helpers import make_tiny_base
from llmtrain.config.sections.model import ModelConfig
from llmtrain.core.errors import ConfigError
from llmtrain.models.backbone.families import pretrained_mlm_head
from llmtrain.models.backbone.pretrained import open_base
from llmtrain.models.heads.prefix_lm.options import PrefixLmHeadConfig
from llmtrain.models.prefix_lm import LlmtrainForPrefixLM
from reference_decode import beam, greedy, log_next

FAMILIES = ("bert", "roberta", "distilbert")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {family: make_tiny_base(folder / family, family) for family in FAMILIES}


def build(base: Path, **head: Any) -> LlmtrainForPrefixLM:
    torch.manual_seed(0)
    return LlmtrainForPrefixLM.from_base(open_base(ModelConfig(path=str(base))), PrefixLmHeadConfig(**head))


def sharpened(base: Path, **head: Any) -> LlmtrainForPrefixLM:
    """A base whose words differ enough that no two tokens tie."""
    model, generator = build(base, **head), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in model.trunk.parameters():
            if p.ndim == 2:
                p.copy_(torch.randn(p.shape, generator=generator) / 2)
        model.head.output_bias.copy_(torch.randn(model.head.output_bias.shape, generator=generator))
    return model.eval()


def batch() -> dict[str, Tensor]:
    ids = torch.randint(5, 150, (4, 11), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    mask[2, 7:] = 0
    ids[2, 7:] = 0
    labels = torch.cat([ids[:, 2:7], torch.full((4, 1), 3)], 1)
    labels[1, 3:] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@pytest.mark.parametrize("family", FAMILIES)
def test_one_pass_gives_the_document_states_of_a_pure_pass(bases: dict[str, Path], family: str) -> None:
    model, rows = sharpened(bases[family]), batch()
    read = model.read(rows)
    alone = model.encode(rows["input_ids"], rows["attention_mask"])
    real = rows["attention_mask"].bool()
    torch.testing.assert_close(read.hidden_BSD[real], alone.hidden_BSD[real])
    plain = model.trunk(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]).last_hidden_state
    torch.testing.assert_close(read.hidden_BSD[real], plain[real])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", [{}, {"copy_gate": True}, {"prompt": "a summary of it"}], ids=str)
def test_writing_step_by_step_equals_one_pass(bases: dict[str, Path], family: str, head: dict[str, Any]) -> None:
    model, rows = sharpened(bases[family], **head), batch()
    for beams, reference in ((1, greedy), (3, lambda *a: beam(*a, beams=3))):
        written = model.generate(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"],
                                 max_new_tokens=6, num_beams=beams, do_sample=False)
        for row in range(4):
            length = int(rows["attention_mask"][row].sum())
            expected = reference(model, rows["input_ids"][row, :length], 6)
            assert written[row, :len(expected)].tolist() == expected


def test_likelihood_is_that_of_the_words_one_after_the_other(bases: dict[str, Path]) -> None:
    model, rows = sharpened(bases["bert"], copy_gate=True), batch()
    total, count = model.task_nll(model.read(rows), rows)
    by_hand = 0.0
    for row in range(4):
        length, prefix = int(rows["attention_mask"][row].sum()), [model.config.decoder_start_token_id]
        for token in rows["labels"][row].tolist():
            if token == -100:
                break
            by_hand -= float(log_next(model, rows["input_ids"][row, :length], prefix)[token])
            prefix.append(token)
    assert int(count) == 21
    assert float(total) == pytest.approx(by_hand, rel=1e-4)


def test_a_summary_token_sees_no_later_one_and_no_padding(bases: dict[str, Path]) -> None:
    model, rows = sharpened(bases["roberta"]), batch()
    behind = model.read(rows).go_on(None, None)  # type: ignore[misc]
    rows["labels"][0, 4], rows["input_ids"][2, 9] = 77, 99
    after = model.read(rows).go_on(None, None)  # type: ignore[misc]
    torch.testing.assert_close(behind[0, :5], after[0, :5])
    assert not torch.allclose(behind[0, 5], after[0, 5])
    torch.testing.assert_close(behind[2], after[2])


def test_it_has_no_new_layers_and_starts_from_the_masked_lm_head(tmp_path: Path) -> None:
    model = build(make_tiny_base(tmp_path / "plain"))
    assert [name for name, _ in model.head.named_parameters()] == ["output_bias"]
    base = make_tiny_base(tmp_path / "mlm", mlm=True)
    model, known = build(base), pretrained_mlm_head(base)
    assert known is not None
    assert torch.equal(model.head.transform.weight, known["dense.weight"])
    assert torch.equal(model.head.output_bias, known["bias"])
    with pytest.raises(ConfigError, match="mlm_transform=true but the base at .* has no masked-LM head"):
        build(tmp_path / "plain", mlm_transform=True)


def test_a_batch_without_summaries_gives_a_connected_zero(bases: dict[str, Path]) -> None:
    model, rows = build(bases["bert"], copy_gate=True), batch()
    rows["labels"].fill_(-100)
    total, count = model.task_nll(model.read(rows), rows)
    total.backward()
    assert (float(total), int(count)) == (0.0, 0)
    assert all(p.grad is not None for p in model.head.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_is_near_fp32(bases: dict[str, Path], dtype: torch.dtype) -> None:
    model, rows = build(bases["bert"]), batch()
    exact = float(model.task_nll(model.read(rows), rows)[0])
    with torch.autocast("cpu", dtype):
        near, _ = model.task_nll(model.read(rows), rows)
    near.backward()
    assert near.dtype == torch.float32
    assert float(near) == pytest.approx(exact, rel=0.02)


def test_saved_and_loaded_it_writes_the_same(bases: dict[str, Path], tmp_path: Path) -> None:
    model, rows = sharpened(bases["bert"], prompt="a summary of it"), batch()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert type(loaded) is LlmtrainForPrefixLM
    again = [one.generate(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"], max_new_tokens=5)
             for one in (model, loaded)]
    assert torch.equal(*again)
