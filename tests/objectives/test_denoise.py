"""Denoising: what spans are masked, how noise is drawn, and that both modes train, resume and are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM

from helpers import make_tiny_base, pairs, warm_cli, write_jsonl
from llmtrain.data.batch import Context
from llmtrain.objectives.base import Vocabulary
from llmtrain.objectives.denoise import MaskAndSeed, MaskSpans, symmetric_kl
from llmtrain.objectives.options import DenoiseConfig
from stopping import stop_at

VOCABULARY = Vocabulary(200, 4, frozenset(range(5)), torch.zeros(200, dtype=torch.bool))
MODES = ("spans", "consistency")


def masked(rows: int = 400, width: int = 41, epoch: int = 0, made: type = MaskSpans, **options: Any) -> Any:
    batch = {"example_id": torch.arange(rows), "input_ids": torch.full((rows, width), 50), "dummy": False,
             "attention_mask": torch.ones(rows, width, dtype=torch.long), "labels": torch.full((rows, 3), 50)}
    batch["input_ids"][:, 0] = 2
    chosen = DenoiseConfig(fraction=1.0, **options)
    more = (chosen.span_length,) if made is MaskSpans else ()
    made(chosen.masking(), VOCABULARY, "denoise", 3, *more)(batch, Context(epoch, 0))
    return batch


def runs_of(flags: list[bool]) -> list[int]:
    return [len(part) for part in "".join("x" if flag else " " for flag in flags).split()]


def test_spans_cover_the_share_and_are_masked_as_one() -> None:
    batch = masked()
    predicted = batch["denoise_labels"] != -100
    assert not predicted[:, 0].any()
    assert float(predicted[:, 1:].float().mean()) == pytest.approx(0.15, abs=0.005)
    lengths = [length for row in predicted.tolist() for length in runs_of(row)]
    assert 2.2 < sum(lengths) / len(lengths) < 3.2  # the last span of a row is cut to the share
    single = (masked(span_length=1.0)["denoise_labels"] != -100).tolist()
    ones = [length for row in single for length in runs_of(row)]
    assert sum(ones) / len(ones) < 1.3
    given = batch["denoise_input_ids"]
    kinds = torch.stack([given == 4, given == 50, (given != 4) & (given != 50)]) & predicted
    assert 0.75 < float(kinds[0].sum() / predicted.sum()) < 0.85
    mixed = sum(int(bool(kinds[0][row, at]) != bool(kinds[0][row, at + 1])) for row in range(400)
                for at in range(40) if predicted[row, at] and predicted[row, at + 1])
    assert mixed < 60  # only where two spans touch


def test_spans_and_noise_are_a_function_of_seed_epoch_and_row() -> None:
    for made, key in ((MaskSpans, "denoise_input_ids"), (MaskAndSeed, "denoise_seed")):
        one = masked(made=made)
        assert torch.equal(one[key], masked(made=made)[key])
        assert torch.equal(one[key][:7], masked(rows=7, made=made)[key])
        assert not torch.equal(one[key], masked(epoch=1, made=made)[key])


def test_the_divergence_is_symmetric_and_zero_for_one_distribution() -> None:
    torch.manual_seed(0)
    left, right = torch.randn(2, 5, 9).log_softmax(-1)
    kl = torch.nn.functional.kl_div
    both = kl(right, left, reduction="sum", log_target=True) + kl(left, right, reduction="sum", log_target=True)
    assert float(symmetric_kl(left, right)) == pytest.approx(float(both), rel=1e-5)
    assert float(symmetric_kl(left, left)) == 0


@pytest.fixture
def common(tiny_base: Path, tmp_path: Path) -> list[str]:
    train, held = write_jsonl(tmp_path / "train.jsonl", pairs(24)), write_jsonl(tmp_path / "held.jsonl", pairs(6, 1))
    return [f"model.path={tiny_base}", "data=files", f"data.train={train}", f"data.validation={held}",
            f"data.test={held}", f"data.cache_dir={tmp_path / 'cache'}", "data.max_source_tokens=32",
            "data.max_summary_tokens=8", "trainer.batch_size=8", "trainer.max_steps=4", "trainer.log_every=1",
            "schedule.warmup_steps=1", "eval.baselines=false", "generation.max_new_tokens=6",
            "eval.bootstrap_samples=5", "objective.base=denoise", "objective.denoise.warm_steps=1",
            "objective.denoise.fraction=1"]


def losses(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["loss.denoise"] for row in rows if row["split"] == "train"]


@pytest.mark.parametrize(("mode", "precision"), [("spans", "fp16"), ("consistency", "bf16")])
def test_a_joint_run_resumes_bitwise_and_is_scored(mode: str, precision: str, common: list[str], tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    command = [*common, f"objective.denoise.mode={mode}", f"precision={precision}", "trainer.accumulate=2"]
    assert (done := warm_cli("train", *command, "run.name=whole", cwd=tmp_path)).returncode == 0, done.stderr
    stop_at(monkeypatch, 2)
    assert warm_cli("train", *command, "run.name=parts", cwd=tmp_path).returncode == 143
    assert warm_cli("train", *command, "run.name=parts", cwd=tmp_path).returncode == 0
    whole, parts = (load_file(tmp_path / "runs" / name / "checkpoints/step-4/model/model.safetensors")
                    for name in ("whole", "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    assert len(losses(tmp_path / "runs/whole")) == 4
    results = json.loads((tmp_path / "runs/whole/results.json").read_text())
    assert results["metrics"]["test"]["rouge1"]["value"] >= 0


@pytest.mark.parametrize("mode", MODES)
def test_a_base_trains_alone_and_is_published_with_its_head(mode: str, common: list[str], tmp_path: Path) -> None:
    done = warm_cli("train", *common, "objective=base_only", f"objective.denoise.mode={mode}", "run.name=alone",
                    cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    _, loading = AutoModelForMaskedLM.from_pretrained(tmp_path / "runs/alone/checkpoints/step-4/model",
                                                      output_loading_info=True)
    assert not loading["missing_keys"] and not loading["unexpected_keys"]


def test_noise_of_no_size_changes_nothing_and_more_of_it_more(common: list[str], tmp_path: Path) -> None:
    found = []
    for sigma in ("1e-9", "0.01", "0.1"):
        done = warm_cli("train", *common, "objective.denoise.mode=consistency", f"objective.denoise.sigma={sigma}",
                        "model.dropout=0", "model.attention_dropout=0", "objective.denoise.weight=100",
                        f"run.name=s{sigma}", "trainer.max_steps=1", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        found.append(losses(tmp_path / f"runs/s{sigma}")[0])
    assert found[0] < found[1] < found[2]


def test_a_decoder_and_bad_options_are_refused(common: list[str], tmp_path: Path) -> None:
    told = warm_cli("train", *common, f"model.path={make_tiny_base(tmp_path / 'gpt2', 'gpt2')}", cwd=tmp_path)
    assert told.returncode == 2 and "objective denoise does not suit the base" in told.stderr
    for option in ("mode=other", "span_length=0.5", "sigma=0", "fraction=2", "noise=pink", "weight=-1"):
        told = warm_cli("train", *common, f"objective.denoise.{option}", cwd=tmp_path)
        assert told.returncode == 2 and f"objective.denoise.{option.split('=')[0]}=" in told.stderr, told.stderr
