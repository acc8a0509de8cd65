"""Claiming a run's folder and giving it up: beside other starts, and where things lie that no run made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmtrain.config.load import compose, to_typed
from llmtrain.config.schema import TrainConfig
from llmtrain.errors import ConfigError
from llmtrain.lock import FolderLock
from llmtrain.training import runfolder
from llmtrain.training.runfolder import RunFolder


def configured(root: Path, name: str = "run") -> TrainConfig:
    config = to_typed("train", compose("train", ["+experiment=bert_sum_fp32", f"run.root={root}", f"run.name={name}"]))
    assert isinstance(config, TrainConfig)
    return config


def killed(root: Path) -> Path:
    """The folder of a run that was killed before its first checkpoint."""
    folder = RunFolder.claim(configured(root))
    assert folder.lock is not None
    folder.lock.drop()
    return folder.path


def test_what_another_start_left_a_moment_ago_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looked around before it held the lock would take the folder for a new one."""

    def late(path: Path) -> FolderLock:
        with monkeypatch.context() as other:
            other.setattr(runfolder, "FolderLock", FolderLock)
            killed(tmp_path)
        (path / "checkpoints/.tmp-step-2").mkdir(parents=True)
        return FolderLock(path)

    monkeypatch.setattr(runfolder, "FolderLock", late)
    folder = RunFolder.claim(configured(tmp_path))
    assert not (folder.path / "checkpoints/.tmp-step-2").exists()
    folder.abandon()
    folder.release()
    assert not os.listdir(folder.path)


def test_what_a_claim_makes_goes_again_where_another_one_fell_between(tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one stood there when this one began, and took its folders away when it failed."""
    other = RunFolder.claim(configured(tmp_path / "runs"))

    def late(path: Path) -> FolderLock:
        other.abandon()
        other.release()
        return FolderLock(path)

    monkeypatch.setattr(runfolder, "FolderLock", late)
    folder = RunFolder.claim(configured(tmp_path / "runs"))
    folder.abandon()
    folder.release()
    assert not os.listdir(tmp_path)


def test_a_refused_claim_leaves_somebodys_folder_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").write_text("theirs")
    with pytest.raises(ConfigError, match="is no run and holds a config.yaml"):
        RunFolder.claim(configured(tmp_path))
    assert os.listdir(tmp_path / "run") == ["config.yaml"]
