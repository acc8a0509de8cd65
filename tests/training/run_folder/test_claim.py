"""Claiming a run's folder and giving it up: beside other starts, and where things lie that no run made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmtrain.config.load import load_config
from llmtrain.config.schema import TrainConfig
from llmtrain.core import memory
from llmtrain.core.errors import CheckpointError, ConfigError
from llmtrain.core.lock import FolderLock
from llmtrain.training.out_of_memory import watch
from llmtrain.training.run_folder import claim
from llmtrain.training.run_folder.claim import RunFolder
from small_checkpoints import save_step


def configured(root: Path, name: str = "run") -> TrainConfig:
    config = load_config("train", ["+experiment=bert_sum_fp32", f"run.root={root}", f"run.name={name}"])
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
            other.setattr(claim, "FolderLock", FolderLock)
            killed(tmp_path)
        (path / "checkpoints/.tmp-step-2").mkdir(parents=True)
        return FolderLock(path)

    monkeypatch.setattr(claim, "FolderLock", late)
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

    monkeypatch.setattr(claim, "FolderLock", late)
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


def test_a_folder_named_as_the_trackers_keeps_what_no_tracker_wrote(tmp_path: Path) -> None:
    """A start that was killed left its lock in somebody's folder, say one that holds this program's source."""
    source = tmp_path / "run/llmtrain/files.py"
    source.parent.mkdir(parents=True)
    source.write_text("theirs")
    killed(tmp_path)
    (source.parent / "events.out.tfevents.1700000000.host.17.0").touch()
    folder = RunFolder.claim(configured(tmp_path))
    folder.abandon()
    folder.release()
    assert os.listdir(tmp_path / "run") == ["llmtrain"] and os.listdir(source.parent) == ["files.py"]


@pytest.mark.parametrize("linked", [False, True])
def test_the_trackers_own_folder_goes(linked: bool, tmp_path: Path) -> None:
    elsewhere, tracker = tmp_path / "elsewhere", killed(tmp_path) / "llmtrain"
    elsewhere.mkdir()
    if linked:
        tracker.symlink_to(elsewhere)
    else:
        tracker.mkdir()
    (tracker / "events.out.tfevents.1700000000.host.17.0").touch()
    folder = RunFolder.claim(configured(tmp_path))
    folder.abandon()
    folder.release()
    assert os.listdir(folder.path) == (["llmtrain"] if linked else [])
    assert len(os.listdir(elsewhere)) == linked


@pytest.mark.parametrize("begun", [False, True])
def test_checkpoints_behind_a_link_are_refused_and_left_alone(begun: bool, tmp_path: Path) -> None:
    """A folder that somebody else made could have another run's checkpoints pruned by it."""
    other = tmp_path / "other/checkpoints"
    save_step(other, 2)
    (other / ".tmp-step-4").mkdir()
    path = killed(tmp_path) if begun else tmp_path / "run"
    path.mkdir(exist_ok=True)
    (path / "checkpoints").symlink_to(other)
    with pytest.raises(CheckpointError, match=f"a symbolic link at {path / 'checkpoints'}; put the folder"):
        RunFolder.claim(configured(tmp_path))
    assert sorted(os.listdir(other)) == [".tmp-step-4", "last", "step-2"]
    assert (path / "checkpoints").is_symlink()


@pytest.mark.parametrize(("boot", "told"), [("one", True), ("another", False)])
def test_a_kernel_kill_counts_within_one_boot_alone(boot: str, told: bool, tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                                                    ) -> None:
    """Control groups are called alike after a restart, and on another machine, and count from 0 there."""
    monkeypatch.setattr(memory, "BOOT", tmp_path / "boot_id")
    monkeypatch.setattr(memory, "groups", lambda: iter([(tmp_path, memory.VERSION_2)]))
    for started, kills in (("one", 0), (boot, 2)):
        (tmp_path / "boot_id").write_text(f"{started}\n")
        (tmp_path / "memory.events").write_text(f"oom_kill {kills}\n")
        with FolderLock(tmp_path / "run") as lock:
            watch(lock)
            lock.drop()  # it was killed
    assert ("killed for want of memory" in capsys.readouterr().err) is told
