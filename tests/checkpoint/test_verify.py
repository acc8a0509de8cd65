"""verify names every way in which a folder can differ from what was saved."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmtrain import checkpoint
from llmtrain.checkpoint.manifest import FileRecord, Manifest, record_of, to_text
from llmtrain.core.errors import CheckpointError
from small_checkpoints import save_step


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a manifest and give it a right digest again, as a forger would."""
    body = json.loads((folder / "manifest.json").read_text())
    del body["digest"]
    change(body)
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(body | {"digest": digest}))


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.verify(folder)
    assert all(line.count("\n") == 0 and "; " in line for line in caught.value.problems)
    assert caught.value.exit_code == 3
    return caught.value.problems


def test_a_saved_folder_verifies_as_a_whole_and_its_model_alone(tmp_path: Path) -> None:
    folder = save_step(tmp_path, 4)
    manifest = checkpoint.verify(folder)
    assert manifest.kind == "step" and manifest.step == 4
    assert set(manifest.files) == {"model/config.json", "model/llmtrain.json", "model/manifest.json",
                                   "model/model.safetensors", "state/optimizer.json", "state/optimizer.safetensors",
                                   "state/progress.json"}
    body = json.loads((folder / "manifest.json").read_text())
    assert body["version"] == 1 and len(body["digest"]) == 64
    inner = checkpoint.verify(folder / "model")
    assert inner.kind == "model" and set(inner.files) == {"config.json", "llmtrain.json", "model.safetensors"}


def test_every_single_flipped_byte_is_found(tmp_path: Path) -> None:
    folder = save_step(tmp_path, 1)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        for position in {0, len(data) // 2, len(data) - 1}:
            changed = bytearray(data)
            changed[position] ^= 1
            path.write_bytes(changed)
            if path == folder / "manifest.json" and position == len(data) - 1:
                continue  # the final newline is no content; any other byte there is
            assert any(str(path) in line for line in problems_of(folder)), (path, position)
        path.write_bytes(data)
    checkpoint.verify(folder)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    folder = save_step(tmp_path, 1)
    (folder / "state" / "progress.json").unlink()
    (folder / "extra.json").write_text("{}")
    (folder / "model" / "config.json").write_text("{}")
    (folder / "model" / "link").symlink_to("/etc/hostname")
    os.mkfifo(folder / "state" / "pipe")
    problems = problems_of(folder)
    for part in ("missing file", "unknown file", "damaged file", "symbolic link", "neither a file nor a folder"):
        assert sum(part in line for line in problems) == 1, (part, problems)
    assert len(problems) == 5


def test_a_truncated_and_a_grown_file_tell_their_sizes(tmp_path: Path) -> None:
    folder = save_step(tmp_path, 1)
    path = folder / "state" / "optimizer.safetensors"
    size = path.stat().st_size
    for changed in (path.read_bytes()[:-1], path.read_bytes() + b"\0"):
        path.write_bytes(changed)
        assert problems_of(folder) == [f"damaged file at {path}: {len(changed)} bytes instead of {size}; use another "
                                       "checkpoint or restore this one"]


@pytest.mark.parametrize("linked", ["model/config.json", "state"])
def test_links_to_equal_content_are_refused(tmp_path: Path, linked: str) -> None:
    folder = save_step(tmp_path / "checkpoints", 1)
    (folder / linked).rename(tmp_path / "elsewhere")
    (folder / linked).symlink_to(tmp_path / "elsewhere")
    assert any("symbolic link" in line and linked in line for line in problems_of(folder))
    if linked == "state":
        with pytest.raises(CheckpointError, match="symbolic link"):
            checkpoint.load_parts(folder)


def test_a_linked_manifest_is_refused(tmp_path: Path) -> None:
    folder = save_step(tmp_path / "checkpoints", 1)
    (folder / "manifest.json").rename(tmp_path / "manifest.json")
    (folder / "manifest.json").symlink_to(tmp_path / "manifest.json")
    assert "symbolic link" in problems_of(folder)[0]


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../b", "./a", "a//b", "a\\b", "c:x", "x\0y",
                                  "model/pytorch_model.bin", "model/evil.PY", "state/x.pkl"])
def test_unsafe_names_in_a_manifest_are_refused(tmp_path: Path, name: str) -> None:
    folder = save_step(tmp_path / "checkpoints", 1)
    (tmp_path / "checkpoints" / "secret").write_text("x")
    rewrite(folder, lambda body: body["files"].update({name: {"sha256": "0" * 64, "size": 1}}))
    assert any("the manifest names" in line for line in problems_of(folder))


@pytest.mark.parametrize(("change", "told"), [
    (lambda body: body.update(version=2), "format version 2"),
    (lambda body: body.update(format="other"), "no llmtrain manifest"),
    (lambda body: body.update(kind="else"), "malformed"),
    (lambda body: body.update(step=True), "malformed"),
    (lambda body: body.update(step=None), "malformed"),
    (lambda body: body.update(files=[]), "malformed"),
    (lambda body: body["files"].update({"a.json": {"sha256": "zz", "size": 1}}), "malformed"),
    (lambda body: body["files"].update({"a.json": {"sha256": "0" * 64, "size": True}}), "malformed"),
    (lambda body: body["files"].update({"a.json": {"sha256": "0" * 64, "size": -1}}), "malformed"),
    (lambda body: body["files"].pop("model/manifest.json"), "unknown file"),
])
def test_malformed_manifests_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], None], told: str) -> None:
    folder = save_step(tmp_path, 1)
    rewrite(folder, change)
    assert told in problems_of(folder)[0]


def test_a_changed_manifest_does_not_match_its_digest(tmp_path: Path) -> None:
    folder = save_step(tmp_path, 1)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"step": 1', '"step": 2', 1))
    assert "its own digest" in problems_of(folder)[0]


def test_a_manifest_with_a_doubled_key_is_refused(tmp_path: Path) -> None:
    folder = save_step(tmp_path, 1)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 1, "version": 1', 1))
    assert "stands twice" in problems_of(folder)[0]


@pytest.mark.parametrize("header", [b"", (1 << 62).to_bytes(8, "little"), (33 << 20).to_bytes(8, "little")])
def test_oversized_safetensors_headers_are_refused(tmp_path: Path, header: bytes) -> None:
    folder = save_step(tmp_path, 1)
    path = folder / "state" / "optimizer.safetensors"
    with path.open("wb") as file:
        file.write(header)
        if header == (33 << 20).to_bytes(8, "little"):
            file.truncate(34 << 20)  # long enough to hold it, and still refused
    record = record_of(path)
    rewrite(folder, lambda body: body["files"].update(
        {"state/optimizer.safetensors": {"sha256": record.sha256, "size": record.size}}))
    assert "safetensors header" in problems_of(folder)[0]
    with pytest.raises(CheckpointError, match="safetensors header"):
        checkpoint.load_parts(folder)


def test_a_safetensors_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    folder = save_step(tmp_path, 1)
    path = folder / "state" / "optimizer.safetensors"
    path.write_bytes((4).to_bytes(8, "little") + b"nope")
    record = record_of(path)
    rewrite(folder, lambda body: body["files"].update(
        {"state/optimizer.safetensors": {"sha256": record.sha256, "size": record.size}}))
    with pytest.raises(CheckpointError, match="no safetensors at"):
        checkpoint.load_parts(folder)


def test_a_missing_folder_or_manifest_is_told(tmp_path: Path) -> None:
    assert "no checkpoint folder" in problems_of(tmp_path / "none")[0]
    assert "no manifest.json" in problems_of(tmp_path)[0]


def test_a_step_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    files = {"a.json": FileRecord(hashlib.sha256(b"{}").hexdigest(), 2)}
    (tmp_path / "manifest.json").write_text(to_text(Manifest("step", 1, files, {})))
    assert "no model in the checkpoint" in problems_of(tmp_path)[0]


def test_hashing_is_fast_enough_for_a_real_checkpoint(tmp_path: Path) -> None:
    """270 MB (weights and moments of the default base) must not take more than seconds."""
    (tmp_path / "a").write_bytes(os.urandom(1 << 20) * 64)
    started = time.perf_counter()
    record_of(tmp_path / "a")
    assert time.perf_counter() - started < 2.0
