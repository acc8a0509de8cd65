"""What a model's folder may hold, beyond what R12 makes of it: what real models have is let through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmtrain.core.errors import ConfigError
from llmtrain.models.backbone.size_limits import growing_tokenizer, large_numbers
from llmtrain.models.backbone.untrusted import check_folder, weight_files


def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


REAL = [  # Llama's, ALBERT's, and CLIP's steps
    {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
                                         replace({"String": " "}, "\u2581")]},
    {"type": "Sequence", "normalizers": [replace({"String": "``"}, '"'), replace({"String": "''"}, '"'),
                                         {"type": "NFKD"}, {"type": "Lowercase"}, replace({"Regex": " {2,}"}, " ")]},
    {"type": "Sequence", "normalizers": [{"type": "NFC"}, replace({"Regex": r"\s+"}, " "), {"type": "Lowercase"}]},
    None]
GROWING = [{"type": "Sequence", "normalizers": [replace({"String": "a"}, "aa")] * 7},
           {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": [
               replace({"Regex": ""}, "a")] * 7}]},
           replace({"String": "a"}, "a" * 65)]


@pytest.mark.parametrize("normalizer", REAL)
def test_real_normalizers_are_let_through(normalizer: Any, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"normalizer": normalizer}))
    assert growing_tokenizer(tmp_path) is None


@pytest.mark.parametrize("normalizer", GROWING)
def test_normalizers_that_make_texts_much_longer_are_refused(normalizer: Any, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"normalizer": normalizer}))
    assert "the normalizer in" in str(growing_tokenizer(tmp_path))


def test_numbers_are_found_at_any_depth() -> None:
    inner = {"base": {"n_layer": 501}, "head": [{"layers": 12}], "num_labels": 2}
    assert list(large_numbers(Path("config.json"), inner)) == [
        "n_layer is 501 in config.json and may be 500 at most; restore the model's own file"]


def test_weights_are_the_one_file_or_what_the_index_names(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors", "c.safetensors"):
        (tmp_path / name).touch()
    assert weight_files(tmp_path) == []
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(
        {"weight_map": {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}}))
    assert weight_files(tmp_path) == [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    (tmp_path / "model.safetensors").touch()
    assert weight_files(tmp_path) == [tmp_path / "model.safetensors"]


def test_links_inside_the_folder_and_hidden_folders_are_let_through(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/x.txt").write_text("x")
    (tmp_path / "y.txt").symlink_to("inner/x.txt")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/out").symlink_to("/etc/hostname")
    check_folder(tmp_path)
    (tmp_path / "inner/out").symlink_to("/etc/hostname")
    with pytest.raises(ConfigError, match="inner/out is a link out of"):
        check_folder(tmp_path)
