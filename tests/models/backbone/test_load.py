"""Bases as people have them: stored in 16 bits, as pickles, as pointers, or no bases at all."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from helpers import environment, make_tiny_base, make_tiny_decoder, pairs, warm_cli, write_jsonl
from llmtrain.config.sections.model import ModelConfig
from llmtrain.config.sections.precision import PrecisionConfig
from llmtrain.core.errors import ConfigError
from llmtrain.core.git_lfs import lfs_pointer
from llmtrain.models.architectures import class_of
from llmtrain.models.backbone import untrusted
from llmtrain.models.backbone.pretrained import find_base, load_tokenizer, open_base
from llmtrain.nn.precision import Precision, Speeds
from llmtrain.registry import get
from warm.libraries import python

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 12345\n"


def stored_as(folder: Path, dtype: torch.dtype, key: str = "dtype") -> Path:
    weights = {name: value.to(dtype) for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config.pop("dtype", None)
    (folder / "config.json").write_text(json.dumps(config | {key: str(dtype).removeprefix("torch.")}))
    return folder


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("family", "head"), [("bert", "transformer"), ("llama", "transformer"), ("gpt2", "prefix_lm"),
                                              ("bert", "gru"), ("bert", "extractive")])
def test_weights_are_fp32_whatever_was_stored(family: str, head: str, dtype: torch.dtype, key: str,
                                              tmp_path: Path) -> None:
    folder = stored_as(make_tiny_base(tmp_path / "base", family), dtype, key)
    model = class_of(head).from_base(open_base(ModelConfig(path=str(folder))), get("head", head).options())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config.base["dtype"] == "float32"


def test_a_configuration_published_before_still_makes_fp32_weights(tmp_path: Path) -> None:
    folder = make_tiny_base(tmp_path / "base")
    model = class_of("gru").from_base(open_base(ModelConfig(path=str(folder))), get("head", "gru").options())
    model.config.base["dtype"] = "bfloat16"
    assert {p.dtype for p in type(model)(model.config).parameters()} == {torch.float32}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_on_such_a_base_keeps_weights_and_optimizer_in_fp32(precision: str, tmp_path: Path) -> None:
    folder = stored_as(make_tiny_decoder(tmp_path / "base", "llama"), torch.bfloat16)
    rows = write_jsonl(tmp_path / "d.jsonl", pairs(12))
    done = warm_cli("train", "+experiment=debug_three_steps", "data=files", "trainer.threads=1", "run.root=runs",
                    f"model.path={folder}", f"data.train={rows}", f"data.validation={rows}", f"data.test={rows}",
                    f"precision={precision}", "run.name=x", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "weights and optimizer stay fp32" in done.stdout
    assert json.loads((tmp_path / "runs/x/results.json").read_text())["kept_in"] == {"weights": "float32",
                                                                                      "optimizer": "float32"}
    for name in ("state/optimizer", "model/model"):
        with safe_open(tmp_path / f"runs/x/checkpoints/step-3/{name}.safetensors", "pt") as file:
            assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"F32"}  # noqa: SIM118


def test_what_is_said_of_weights_and_optimizer_is_looked_up() -> None:
    precision = Precision(PrecisionConfig(), torch.device("cpu"), speeds=Speeds({"fp32": 1.0}))
    weight = torch.nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16))
    weight.grad = torch.ones_like(weight)
    optimizer = torch.optim.AdamW([weight])
    optimizer.step()
    precision.observe([weight], optimizer)
    assert "weights are kept in bf16, optimizer state in bf16" in precision.describe_observed()


def test_a_summarizer_or_a_run_given_as_a_base_names_init_from(tmp_path: Path) -> None:
    folder = make_tiny_base(tmp_path / "base")
    model = class_of("gru").from_base(open_base(ModelConfig(path=str(folder))), get("head", "gru").options())
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    for path in (tmp_path / "model", tmp_path / "run"):
        with pytest.raises(ConfigError, match="model.init_from="):
            find_base(str(path))


def test_pickled_weights_are_refused_with_a_command_that_converts_them(tmp_path: Path) -> None:
    folder = make_tiny_base(tmp_path / "base")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="weights_only=True"):
        find_base(str(folder))
    command = untrusted.CONVERT.replace("python", python(), 1)
    subprocess.run(command, shell=True, cwd=folder, env=environment(), check=True)
    assert find_base(str(folder)) == str(folder)
    AutoModel.from_pretrained(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_git_lfs_pointer_is_told(name: str, tmp_path: Path) -> None:
    folder = make_tiny_base(tmp_path / "base")
    (folder / name).write_text(POINTER)
    assert lfs_pointer(POINTER.encode())
    with pytest.raises(ConfigError, match=rf"Git LFS pointer .*{name}; run git lfs pull"):
        find_base(str(folder))


def test_a_sentencepiece_file_alone_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_tiny_base(tmp_path / "base")
    (folder / "tokenizer.json").unlink()
    (folder / "spiece.model").write_bytes(b"x")
    monkeypatch.setattr("llmtrain.models.backbone.tokenizer_checks._importable",
                        lambda module: module != "sentencepiece")
    with pytest.raises(ConfigError, match="pip install sentencepiece"):
        load_tokenizer(str(folder))


def test_summaries_longer_than_the_heads_positions_are_told(tmp_path: Path) -> None:
    folder = make_tiny_base(tmp_path / "base")
    for head, told in (("transformer", True), ("gru", False)):
        model = class_of(head).from_base(open_base(ModelConfig(path=str(folder))), get("head", head).options())
        found = model.beyond_positions({"data.max_summary_tokens": 129, "generation.max_new_tokens": 128})
        assert (found is not None) == told
        if found is not None:
            assert "data.max_summary_tokens=129 is more than the 128 positions" in found
