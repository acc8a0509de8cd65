"""Runs whose data, base or beginning lie elsewhere by the time they are gone on with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from helpers import Finished, pairs, warm_cli, write_jsonl


def results(folder: Path) -> dict[str, object]:
    return {key: value for key, value in json.loads((folder / "results.json").read_text()).items()
            if key not in ("config", "seconds", "tokens_per_second", "peak_memory_bytes")}


def test_a_stopped_run_goes_on_with_moved_data_and_base_bit_by_bit(
        train: Callable[..., Finished], rows: Path, tiny_base: Path, tmp_path: Path) -> None:
    assert train("run.name=straight").returncode == 0
    assert train().returncode == 0
    step = tmp_path / "runs/run/checkpoints/step-4"  # as a stop after step 4 left it
    for path in (tmp_path / "runs/run/checkpoints/step-6", tmp_path / "runs/run/model"):
        shutil.rmtree(path, ignore_errors=True)
    (tmp_path / "runs/run/results.json").unlink()
    pointer = json.loads((tmp_path / "runs/run/checkpoints/last").read_text())
    assert step.is_dir() and pointer["step"] == 6
    (tmp_path / "runs/run/checkpoints/last").unlink()
    moved = tmp_path / "elsewhere"
    shutil.copytree(rows, moved / "rows", ignore=shutil.ignore_patterns("cache"))
    shutil.copytree(tiny_base, moved / "base")
    again = train("model.path=elsewhere/base", *(f"data.{name}=elsewhere/rows/{name}.jsonl"
                                                 for name in ("train", "validation", "test")))
    assert again.returncode == 0, again.stderr
    assert "going on from step 4" in again.stderr + again.stdout
    for name in ("model/model.safetensors", "state/optimizer.safetensors"):
        one, other = (tmp_path / f"runs/{run}/checkpoints/step-6/{name}" for run in ("straight", "run"))
        assert one.read_bytes() == other.read_bytes()
    assert results(tmp_path / "runs/straight") == results(tmp_path / "runs/run")


def test_a_finished_run_is_not_taken_for_one_of_other_data(train: Callable[..., Finished], rows: Path,
                                                           tmp_path: Path) -> None:
    mine = shutil.copy(rows / "test.jsonl", tmp_path / "test.jsonl")
    assert train(f"data.test={mine}").returncode == 0
    assert "this run is finished" in (done := train(f"data.test={mine}")).stderr + done.stdout
    write_jsonl(tmp_path / "test.jsonl", pairs(2, 9))
    changed = train(f"data.test={mine}")
    assert changed.returncode == 2
    (line,) = changed.stderr.splitlines()
    assert f"data.test is {mine}, which held something else when that run began" in line
    assert "choose another run.name" in line
    (tmp_path / "test.jsonl").unlink()
    assert "this run is finished" in (gone := train(f"data.test={mine}")).stderr + gone.stdout


def test_two_data_sets_have_two_default_names(train: Callable[..., Finished], rows: Path, tmp_path: Path) -> None:
    for number, file in enumerate((rows / "test.jsonl", rows / "validation.jsonl"), start=1):
        assert train("run.name=null", "trainer.max_steps=1", f"data.test={file}").returncode == 0
        assert len(list((tmp_path / "runs").iterdir())) == number
    shutil.copy(rows / "test.jsonl", tmp_path / "same.jsonl")
    same = train("run.name=null", "trainer.max_steps=1", "data.test=same.jsonl")
    assert "this run is finished" in same.stderr + same.stdout
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_a_run_starts_from_a_base_that_was_trained_alone_under_another_path(
        train: Callable[..., Finished], tiny_base: Path, tmp_path: Path) -> None:
    assert train("run.name=alone", "objective=base_only", "objective.base=mlm", "trainer.max_steps=2").returncode == 0
    shutil.copytree(tiny_base, tmp_path / "moved")
    shutil.move(tmp_path / "runs/alone", tmp_path / "trained")
    after = train("model.init_from=trained", "model.path=moved")
    assert after.returncode == 0, after.stderr
    assert "trained alone in an earlier run" in after.stderr + after.stdout
    other = shutil.copytree(tiny_base, tmp_path / "other")
    (other / "config.json").write_text((other / "config.json").read_text() + "\n")
    refused = train("run.name=third", "model.init_from=trained", "model.path=other")
    assert refused.returncode == 2
    assert "went on from the base at" in refused.stderr


def test_files_that_are_missing_are_told_before_a_folder_is_made(tmp_path: Path, tiny_base: Path) -> None:
    done = warm_cli("train", "data=files", f"model.path={tiny_base}", "data.train=no.jsonl", "trainer.max_steps=1",
                    cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("llmtrain: no data file at no.jsonl")
    assert not (tmp_path / "runs").exists()
