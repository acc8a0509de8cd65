"""Saving, pointing, pruning and finding checkpoints, with real files and real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from llmtrain import checkpoint
from llmtrain.checkpoint.locate import digest_of
from llmtrain.core.errors import CheckpointError, ConfigError
from small_checkpoints import parts_of, save_step, write_model
from warm.libraries import python


def steps(checkpoints: Path) -> list[str]:
    return sorted(path.name for path in checkpoints.iterdir())


def damage(path: Path) -> None:
    """Flip one bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_what_is_saved_comes_back_bitwise(tmp_path: Path) -> None:
    base = torch.randn(6, 4)
    tensors = {"moments/exp_avg": base.T, "view": base[1], "same": base[1], "half": torch.randn(3).half(),
               "scalar": torch.tensor(7.0), "empty": torch.zeros(0, 5), "bytes": torch.arange(9, dtype=torch.uint8)}
    data = {"float": 0.1 + 0.2, "none": None, "list": [1, {"ü": True}], "big": 2**63}
    parts: checkpoint.Parts = {"optimizer": (tensors, data), "progress.v2": ({}, {"step": 3})}
    folder = checkpoint.save(tmp_path, 3, write_model=write_model, parts=parts, meta={"data_hash": "abc"})
    assert sorted(os.listdir(folder / "state")) == ["optimizer.json", "optimizer.safetensors", "progress.v2.json"]
    loaded, meta = checkpoint.load_parts(folder)
    assert meta == {"data_hash": "abc"}
    assert set(loaded) == set(parts)
    assert loaded["optimizer"][1] == data and loaded["progress.v2"] == ({}, {"step": 3})
    assert set(loaded["optimizer"][0]) == set(tensors)
    for name, tensor in tensors.items():
        got = loaded["optimizer"][0][name]
        assert got.dtype == tensor.dtype and torch.equal(got, tensor), name
    only, _ = checkpoint.load_parts(folder, only="progress.v2")
    assert set(only) == {"progress.v2"}


def test_equal_states_give_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_step(tmp_path / name, 1)
    assert (tmp_path / "a/step-1/manifest.json").read_bytes() == (tmp_path / "b/step-1/manifest.json").read_bytes()


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", "ä", ".hidden"])
def test_part_names_are_checked_and_nothing_is_left(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="state part"):
        checkpoint.save(tmp_path, 1, write_model=write_model, parts={name: ({}, {})}, meta={})
    assert steps(tmp_path) == []


@pytest.mark.parametrize("name", ["pytorch_model.bin", "training_args.pt", "modeling.py"])
def test_a_model_folder_with_code_or_pickle_is_not_saved(tmp_path: Path, name: str) -> None:
    def write(folder: Path) -> None:
        write_model(folder)
        (folder / name).write_bytes(b"x")

    with pytest.raises(CheckpointError, match="kind that can hold code"):
        checkpoint.save(tmp_path, 1, write_model=write, parts={}, meta={})
    assert steps(tmp_path) == []


def test_a_failed_save_leaves_the_earlier_checkpoint_as_last(tmp_path: Path) -> None:
    save_step(tmp_path, 1)

    def fail(folder: Path) -> None:
        write_model(folder)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        checkpoint.save(tmp_path, 2, write_model=fail, parts={}, meta={})
    assert steps(tmp_path) == ["last", "step-1"]
    assert checkpoint.latest_valid(tmp_path) == (tmp_path / "step-1", [])


def test_a_whole_checkpoint_is_kept_and_a_damaged_one_replaced(tmp_path: Path) -> None:
    folder = save_step(tmp_path, 2)
    before = (folder / "model" / "model.safetensors").stat().st_ino
    save_step(tmp_path, 2)
    assert (folder / "model" / "model.safetensors").stat().st_ino == before
    damage(folder / "model" / "model.safetensors")
    save_step(tmp_path, 2)
    checkpoint.verify(folder)
    assert steps(tmp_path) == ["last", "step-2"]


def test_pointers_hold_step_folder_and_metric(tmp_path: Path) -> None:
    save_step(tmp_path, 5)
    checkpoint.point(tmp_path, "best", 5, {"value": 41.5})
    assert json.loads((tmp_path / "best").read_text()) == {"value": 41.5, "step": 5, "folder": "step-5"}
    digest = digest_of(tmp_path / "step-5")
    assert json.loads((tmp_path / "last").read_text()) == {"step": 5, "folder": "step-5", "digest": digest}
    with pytest.raises(CheckpointError, match="no checkpoint there"):
        checkpoint.point(tmp_path, "best", 6, {})


def test_prune_keeps_best_last_protected_and_the_newest(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4, 5, 6):
        save_step(tmp_path, step)
        if step == 2:
            checkpoint.point(tmp_path, "best", 2, {})
    checkpoint.prune(tmp_path, 2, {1})
    assert steps(tmp_path) == ["best", "last", "step-1", "step-2", "step-5", "step-6"]
    checkpoint.prune(tmp_path, 0, set())
    assert steps(tmp_path) == ["best", "last", "step-2", "step-6"]


def test_prune_is_not_stopped_by_what_could_not_be_removed_before(tmp_path: Path) -> None:
    (tmp_path / ".tmp-pruned-step-1").mkdir()
    (tmp_path / ".tmp-pruned-step-1/.nfs0001").touch()
    for step in (1, 2, 3):
        save_step(tmp_path, step)
    checkpoint.prune(tmp_path, 0, set())
    assert steps(tmp_path) == [".tmp-pruned-step-1", "last", "step-3"]


def test_prune_drops_a_damaged_future_rather_than_the_good_past(tmp_path: Path) -> None:
    for step in (1, 2, 30):
        save_step(tmp_path, step)
    damage(tmp_path / "step-30" / "state" / "progress.json")
    assert checkpoint.latest_valid(tmp_path)[0] == tmp_path / "step-2"
    save_step(tmp_path, 3)
    checkpoint.prune(tmp_path, 2, set())
    assert steps(tmp_path) == ["last", "step-2", "step-3"]


def test_prune_removes_nothing_when_a_pointer_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in (1, 2, 3):
        save_step(tmp_path, step)
    (tmp_path / "best").write_text("{")
    checkpoint.prune(tmp_path, 1, set())
    assert steps(tmp_path) == ["best", "last", "step-1", "step-2", "step-3"]
    assert "old checkpoints stay" in capsys.readouterr().err


def test_latest_valid_without_any(tmp_path: Path) -> None:
    assert checkpoint.latest_valid(tmp_path / "none") == (None, [])
    (tmp_path / ".tmp-step-4").mkdir()
    (tmp_path / "step-x").mkdir()
    assert checkpoint.latest_valid(tmp_path) == (None, [])
    assert not checkpoint.has_checkpoint(tmp_path)


def test_latest_valid_falls_back_and_names_both(tmp_path: Path) -> None:
    for step in (9, 10, 11):
        save_step(tmp_path, step)
    damage(tmp_path / "step-11" / "state" / "optimizer.safetensors")
    (tmp_path / "step-10" / "model" / "config.json").unlink()
    found, warnings = checkpoint.latest_valid(tmp_path)
    assert found == tmp_path / "step-9"
    assert len(warnings) == 2
    for line, bad in zip(warnings, ("step-11", "step-10"), strict=True):
        assert bad in line and "step-9" in line and "\n" not in line


def test_latest_valid_counts_a_commit_whose_pointer_was_not_moved(tmp_path: Path) -> None:
    save_step(tmp_path, 1)
    pointer = (tmp_path / "last").read_text()
    save_step(tmp_path, 2)
    (tmp_path / "last").write_text(pointer)  # the machine stopped between the rename and the pointer
    assert checkpoint.latest_valid(tmp_path) == (tmp_path / "step-2", [])


def test_latest_valid_tells_of_every_flipped_bit_in_a_pointer(tmp_path: Path) -> None:
    save_step(tmp_path, 2)
    whole = (tmp_path / "last").read_bytes()
    for at, byte in enumerate(whole):
        for bit in range(8):
            (tmp_path / "last").write_bytes(whole[:at] + bytes([byte ^ 1 << bit]) + whole[at + 1:])
            found, warnings = checkpoint.latest_valid(tmp_path)
            assert found == tmp_path / "step-2" and str(tmp_path / "last") in "".join(warnings), (at, bit)


def test_latest_valid_tells_that_the_last_one_is_gone(tmp_path: Path) -> None:
    import shutil

    for step in (1, 2):
        save_step(tmp_path, step)
    shutil.rmtree(tmp_path / "step-2")
    found, warnings = checkpoint.latest_valid(tmp_path)
    assert found == tmp_path / "step-1"
    assert len(warnings) == 1 and "step-2" in warnings[0] and "step-1" in warnings[0]


def test_latest_valid_refuses_when_all_are_damaged(tmp_path: Path) -> None:
    for step in (1, 2):
        damage(save_step(tmp_path, step) / "model" / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        checkpoint.latest_valid(tmp_path)
    text = str(caught.value)
    assert "step-1" in text and "step-2" in text and "start again" in text


def test_a_renamed_step_folder_is_not_taken_for_another_step(tmp_path: Path) -> None:
    save_step(tmp_path, 1)
    (tmp_path / "step-1").rename(tmp_path / "step-7")
    with pytest.raises(CheckpointError, match="saved as step 1"):
        checkpoint.latest_valid(tmp_path)


@pytest.mark.parametrize("meant", ["run", "run/checkpoints/best", "run/checkpoints/last", "run/checkpoints/step-1",
                                   "run/checkpoints/step-1/model"])
def test_locate_model_takes_every_kind_of_path(tmp_path: Path, meant: str) -> None:
    save_step(tmp_path / "run" / "checkpoints", 1)
    checkpoint.point(tmp_path / "run" / "checkpoints", "best", 1, {})
    found = checkpoint.locate_model(tmp_path / meant)
    assert found == tmp_path / "run" / "checkpoints" / "step-1" / "model"
    assert checkpoint.read_model_config(found) == {"step": 1, "config": {"model": {"path": "base"}}}


def test_locate_model_accepts_a_model_folder_alone(tmp_path: Path) -> None:
    (save_step(tmp_path / "checkpoints", 1) / "model").rename(tmp_path / "published model")
    assert checkpoint.locate_model(tmp_path / "published model") == tmp_path / "published model"


def test_the_run_folder_means_best_and_else_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in (1, 2):
        save_step(tmp_path / "checkpoints", step)
    assert checkpoint.locate_model(tmp_path).parent.name == "step-2"
    assert "using the last one" in capsys.readouterr().err
    checkpoint.point(tmp_path / "checkpoints", "best", 1, {})
    assert checkpoint.locate_model(tmp_path).parent.name == "step-1"


def test_locate_model_refuses_what_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no checkpoint at"):
        checkpoint.locate_model(tmp_path / "none")
    with pytest.raises(CheckpointError, match="no manifest.json"):
        checkpoint.locate_model(tmp_path)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="train it first"):
        checkpoint.locate_model(tmp_path / "run")
    (tmp_path / "large.txt").write_text("x" * 100_000)
    with pytest.raises(CheckpointError, match="larger than"):
        checkpoint.locate_model(tmp_path / "large.txt")


@pytest.mark.parametrize("body", [[], {}, {"step": 1}, {"step": 1, "folder": "../../step-1"}, {"step": True,
                                  "folder": "step-1"}, {"step": 2, "folder": "step-1"},
                                  {"step": -1, "folder": "step--1"},
                                  {"step": 1, "folder": "/step-1"}])
def test_pointers_that_lead_elsewhere_are_refused(tmp_path: Path, body: Any) -> None:
    save_step(tmp_path, 1)
    (tmp_path / "last").write_text(json.dumps(body))
    with pytest.raises(CheckpointError, match="no checkpoint pointer"):
        checkpoint.locate_model(tmp_path / "last")


def test_a_pointer_to_a_linked_step_folder_is_refused(tmp_path: Path) -> None:
    save_step(tmp_path, 1)
    (tmp_path / "step-1").rename(tmp_path / "elsewhere")
    (tmp_path / "step-1").symlink_to("elsewhere", target_is_directory=True)
    with pytest.raises(CheckpointError, match="symbolic link"):
        checkpoint.locate_model(tmp_path / "last")


SAVE_FOR_EVER = textwrap.dedent("""
    import os, sys
    from pathlib import Path
    from llmtrain import checkpoint
    from tests.small_checkpoints import save_step
    checkpoints = Path(sys.argv[1])
    save_step(checkpoints, 1)
    print(os.getpid(), flush=True)
    for step in range(2, 100_000):
        save_step(checkpoints, step, size=200_000)
        checkpoint.prune(checkpoints, 1, set())
    """)


def test_a_killed_save_always_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    for number in range(3):
        checkpoints = tmp_path / str(number)
        process = subprocess.Popen([python(), "-c", SAVE_FOR_EVER, str(checkpoints)], stdout=subprocess.PIPE,
                                   text=True, cwd=Path(__file__).parents[2])
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        time.sleep(0.15 + 0.06 * number)
        os.kill(pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found, warnings = checkpoint.latest_valid(checkpoints)
        assert found is not None and warnings == []
        assert checkpoint.load_parts(found)[0]["progress"][1] == {"step": int(found.name[5:])}


def test_a_disk_limit_during_a_save_keeps_the_earlier_checkpoint(tmp_path: Path) -> None:
    save_step(tmp_path, 1, size=50_000)
    done = subprocess.run([python(), "-c", textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        from llmtrain.core.errors import ResourceError
        from tests.small_checkpoints import save_step
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            save_step(Path(sys.argv[1]), 2, size=50_000)
        except ResourceError as error:
            print(error)
            sys.exit(error.exit_code)
        """), str(tmp_path)], capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    assert done.returncode == 5, done.stderr
    needed = int(done.stdout.split(" bytes are needed")[0].split()[-1])
    assert needed >= sum(t.nbytes for tensors, _ in parts_of(2, 50_000).values() for t in tensors.values())
    assert "step-2" in done.stdout
    assert steps(tmp_path) == ["last", "step-1"]
    assert checkpoint.latest_valid(tmp_path)[0] == tmp_path / "step-1"


def test_load_parts_checks_what_it_reads(tmp_path: Path) -> None:
    folder = save_step(tmp_path, 1)
    save_file({"exp_avg": torch.full((64,), 7.0)}, folder / "state" / "optimizer.safetensors")
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors"):
        checkpoint.load_parts(folder)
    with pytest.raises(CheckpointError, match="'schedule' is missing"):
        checkpoint.load_parts(folder, only="schedule")
    with pytest.raises(CheckpointError, match="name its step folder"):
        checkpoint.load_parts(folder / "model")


def test_a_later_step_from_elsewhere_is_passed_over_and_goes(tmp_path: Path) -> None:
    import shutil

    for name, steps_of in (("own", (2, 4)), ("other", (1, 3, 9))):
        for step in steps_of:
            save_step(tmp_path / name, step)
    own = tmp_path / "own"
    for step in (3, 9):
        shutil.copytree(tmp_path / "other" / f"step-{step}", own / f"step-{step}")
    found, warnings = checkpoint.latest_valid(own)
    assert found == own / "step-4"
    assert len(warnings) == 1 and "step-9" in warnings[0] and "step-4" in warnings[0]
    checkpoint.prune(own, 9, set())
    assert steps(own) == ["last", "step-2", "step-4"]


def test_a_later_step_that_is_not_the_runs_own_is_passed_over_without_a_pointer_too(tmp_path: Path) -> None:
    for step in (2, 4, 9):
        save_step(tmp_path, step)
    (tmp_path / "last").unlink()
    assert checkpoint.latest_valid(tmp_path)[0] == tmp_path / "step-9"
    foreign = checkpoint.verify(tmp_path / "step-9").meta
    found, warnings = checkpoint.latest_valid(tmp_path, lambda meta: meta != foreign)
    assert found == tmp_path / "step-4"
    assert len(warnings) == 1 and "another configuration" in warnings[0] and "step-9" in warnings[0]
    with pytest.raises(CheckpointError, match="another configuration"):
        checkpoint.latest_valid(tmp_path, lambda meta: False)


@pytest.mark.parametrize("damaged", [True, False], ids=["an earlier one", "in the place of the last"])
def test_a_step_of_another_configuration_is_never_the_previous_good_one(damaged: bool, tmp_path: Path) -> None:
    import shutil

    own, other = tmp_path / "own", tmp_path / "other"
    for step in (2, 4):
        save_step(own, step)
        save_step(other, step)
    if damaged:
        (own / "step-4/manifest.json").write_text("{}")
    replaced = 2 if damaged else 4
    shutil.rmtree(own / f"step-{replaced}")
    shutil.copytree(other / f"step-{replaced}", own / f"step-{replaced}")
    (own / f"step-{replaced}/manifest.json").write_text(
        (own / f"step-{replaced}/manifest.json").read_text().replace("\n", "\n ", 1))  # another content
    theirs = checkpoint.verify(own / f"step-{replaced}").meta
    asked = []

    def configured_here(meta: dict[str, object]) -> bool:
        asked.append(meta)
        return meta != theirs

    if damaged:
        with pytest.raises(CheckpointError, match="another configuration"):
            checkpoint.latest_valid(own, configured_here)
    else:
        found, warnings = checkpoint.latest_valid(own, configured_here)
        assert found == own / "step-2" and "another configuration" in warnings[0]
    assert theirs in asked
    assert checkpoint.latest_valid(other, lambda meta: False)[0] == other / "step-4"  # last names it by its digest


def test_a_step_from_elsewhere_is_not_kept_in_place_of_the_one_saved(tmp_path: Path) -> None:
    import shutil

    save_step(tmp_path / "own", 1)
    shutil.copytree(save_step(tmp_path / "other", 2), tmp_path / "own" / "step-2")
    (tmp_path / "own" / "step-2" / "mark").touch()
    assert not (save_step(tmp_path / "own", 2) / "mark").exists()
    assert checkpoint.latest_valid(tmp_path / "own") == (tmp_path / "own" / "step-2", [])
