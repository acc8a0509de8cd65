"""``llmtrain verify-resume``: proves bitwise resume, and names what a broken resume loses."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from helpers import environment, pairs, warm_cli, write_jsonl
from llmtrain.cli.commands.verify_resume import _fixed, _Trials, first_difference
from llmtrain.config.schema import TrainConfig
from llmtrain.core.errors import ResourceError
from llmtrain.training.diagnostics.state_trace import state_of
from running import Runs
from torture.bench import changed_source
from torture.mutants import MUTANTS
from warm.libraries import python

pytestmark = pytest.mark.usefixtures("warm_children")


@pytest.fixture
def command(tiny_base: Path, tmp_path: Path) -> list[str]:
    files = [f"data.{name}={write_jsonl(tmp_path / f'{name}.jsonl', pairs(count, seed))}"
             for seed, (name, count) in enumerate((("train", 40), ("validation", 4)))]
    return ["verify-resume", f"model.path={tiny_base}", "head.layers=1", "head.ffn=32", "data=files", *files,
            f"data.cache_dir={tmp_path / 'cache'}", "data.max_source_tokens=40", "trainer.batch_size=8",
            "model.dropout=0.1", "schedule.warmup_steps=1", "generation.max_new_tokens=4", "--steps", "4", "--stop=2"]


def test_it_proves_a_resume_and_leaves_nothing(command: list[str], tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    done = warm_cli(*command, "objective.base=mlm", "precision=fp16", "trainer.accumulate=2", "optim.ema_decay=0.9",
                    cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "alike bit by bit before each of 4 steps and at the end" in done.stdout
    assert not list(scratch.iterdir()) and not (tmp_path / "runs").exists()


def test_what_a_killed_one_leaves_is_known_to_clean(command: list[str], tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    (scratch / "llmtrain-verify-resume-mine_own").mkdir(parents=True)
    (scratch / "llmtrain-verify-resume-mine_own/.lock").touch()
    (scratch / "llmtrain-verify-resume-mine_own/thesis.txt").touch()
    run = subprocess.Popen([python(), "-m", "llmtrain", *command], cwd=tmp_path, start_new_session=True,
                           env=environment({"TMPDIR": str(scratch)}), stdout=subprocess.DEVNULL)
    while not (made := list(scratch.glob("*/straight/.lock"))):
        assert run.poll() is None
        time.sleep(0.05)
    busy = warm_cli("clean", str(scratch), cwd=tmp_path)
    assert "nothing was left" in busy.stdout and "left alone: a run is already using" in busy.stderr
    run.kill()
    run.wait()
    done = warm_cli("clean", str(scratch), "--yes", cwd=tmp_path)  # the run that it had started goes on to its end
    for _ in range(600):
        if "already using" not in done.stderr:
            break
        time.sleep(0.1)
        done = warm_cli("clean", str(scratch), "--yes", cwd=tmp_path)
    assert "the runs of a verify-resume that was killed" in done.stdout and "1 removed" in done.stdout, done.stderr
    assert not made[0].parents[1].exists()
    assert (scratch / "llmtrain-verify-resume-mine_own/thesis.txt").exists()


def test_it_names_what_a_broken_resume_loses(command: list[str], tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    with changed_source(tmp_path / "broken", MUTANTS["random-state-forgotten"].change) as source:
        monkeypatch.setenv("PYTHONPATH", str(source))  # of the runs
        done = warm_cli(*command, "precision=fp32", cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    (line,) = done.stderr.splitlines()
    assert "first difference before step" in line and "in the random state: 0.cpu" in line and len(line) < 600


def test_a_trace_holds_what_the_next_log_line_averages(tiny_base: Path, tmp_path: Path) -> None:
    runs = Runs(tiny_base, tmp_path)
    try:
        run = runs(*_fixed(4))
        run.state.progress.window = {"steps": 2.0, "time": 0.7}
        assert run.config.trainer.log_every == 4  # a stop falls inside the window
        assert state_of(run, [])["progress"]["window"] == '{"steps": 2.0}'
    finally:
        runs.close()


@pytest.mark.parametrize(("arguments", "told"), [
    (("--stop", "4"), "must be more than 0 and less than --steps 4"), (("--steps", "x"), "--steps needs a number"),
    (("--steps", "9" * 5000), "--steps needs a number"),
    (("--fast",), "unknown option '--fast'"), (("trainer.batchsize=8",), "did you mean trainer.batch_size")])
def test_wrong_arguments(arguments: tuple[str, ...], told: str, command: list[str], tmp_path: Path) -> None:
    result = warm_cli(*command, *arguments, cwd=tmp_path)
    assert result.returncode == 2 and told in result.stderr and result.stderr.count("\n") == 1, result.stderr


def test_a_run_that_fails_is_told_with_its_code(command: list[str], tmp_path: Path) -> None:
    result = warm_cli(*command, f"model.path={tmp_path / 'nowhere'}", cwd=tmp_path)
    assert result.returncode == 2
    assert "the run 'straight' ended with 2: no base model folder at" in result.stderr


def test_a_run_that_is_killed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (killed := tmp_path / "python").write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(killed))
    with pytest.raises(ResourceError, match="the run 'straight' was killed by signal 9, .*; free memory"):
        _Trials(tmp_path, TrainConfig(), []).start("straight")


@pytest.mark.parametrize(("steps", "told"), [
    ([0, 1, 2, 2, 3], None), ([0, 1, 2, 0, 1, 2, 3], "stopped before step 3 and its next start began before step 1"),
    ([0, 1, 2, 1, 2, 3], "began before step 2 again")])
def test_a_start_that_goes_back_is_told(steps: list[int], told: str | None, tmp_path: Path) -> None:
    trials = _Trials(tmp_path, TrainConfig(), [])
    (tmp_path / "stopped.jsonl").write_text("".join(f'{{"step": {step}, "state": {{}}}}\n' for step in steps))
    (tmp_path / "straight.jsonl").write_text("".join(f'{{"step": {step}, "state": {{}}}}\n' for step in range(4)))
    assert first_difference(trials, "straight", "stopped") is None
    found = trials.went_back("stopped")
    assert found is None if told is None else told in str(found)


def test_the_first_of_several_differences_is_named(tmp_path: Path) -> None:
    trials = _Trials(tmp_path, TrainConfig(), [])
    for name, scale, sums in (("straight", "1024.0", "3"), ("stopped", "65536.0", "4")):
        states: list[dict[str, Any]] = [{"precision": {"scaler": "1024.0"}, "weights": {"a": "1", "b": "2"}},
                                        {"weights": {"a": sums, "b": sums}, "precision": {"scaler": scale}}]
        (tmp_path / f"{name}.jsonl").write_text("".join(
            json.dumps({"step": step, "state": state}) + "\n" for step, state in enumerate(states)))
    assert first_difference(trials, "straight", "stopped") == (
        "first difference before step 2, in the loss scaler and format: scaler is 1024.0 in the run 'straight' and "
        "65536.0 in the run 'stopped'")


def test_runs_of_another_length_are_told(tmp_path: Path) -> None:
    trials = _Trials(tmp_path, TrainConfig(), [])
    (tmp_path / "straight.jsonl").write_text('{"step": 0, "state": {}}\n{"step": 1, "state": {}}\n')
    (tmp_path / "stopped.jsonl").write_text('{"step": 0, "state": {}}\n')
    assert "came to the steps [0, 1] and the run 'stopped' to [0]" in str(
        first_difference(trials, "straight", "stopped"))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_trace_tells_whether_the_run_had_a_cuda_device(device: str, tmp_path: Path) -> None:
    trials = _Trials(tmp_path, TrainConfig(), [])
    random = {"0.cpu": "digest", **({"0.cuda": "digest"} if device == "cuda" else {})}
    (tmp_path / "straight.jsonl").write_text(json.dumps({"step": 0, "state": {"random": random}}) + "\n")
    assert trials.on_cuda("straight") is (device == "cuda")
