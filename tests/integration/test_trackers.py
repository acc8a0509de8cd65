"""Trackers: what each recorded of a run that was killed and gone on with, read back from its own files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from cards import check_card
from helpers import environment, run_cli, warm_cli
from tracker_records import READERS, logged_by
from warm.libraries import python

KILLED = """
import os, signal
from llmtrain.cli.main import entry
from llmtrain.training import trainer
log = trainer.log_window
def log_and_die(run, *rest):
    line = log(run, *rest)
    if run.state.progress.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return line
trainer.log_window = log_and_die
entry()
"""
MEASURED = ("train/time.", "validation/time.", "results/seconds", "results/tokens_per_second", "results/peak_memory")
HERE = [name for name in READERS if find_spec(name) is not None]
OTHERS = {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false", "DO_NOT_TRACK": "true"}


def arguments(tiny_base: Path, rows: Path, *overrides: str) -> list[str]:
    return [f"model.path={tiny_base}", "head.layers=1", "data=files",
            *(f"data.{name}={rows / name}.jsonl" for name in ("train", "validation", "test")),
            f"data.cache_dir={rows / 'cache'}", "data.max_source_tokens=32", "data.max_summary_tokens=8",
            "trainer.batch_size=8", "trainer.log_every=1", "trainer.eval_every=2", "trainer.max_steps=6",
            "schedule.warmup_steps=2", "generation.max_new_tokens=4", "eval.bootstrap_samples=5",
            "eval.baselines=false", "run.name=run", *overrides]


@pytest.fixture(scope="module")
def run(tiny_base: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that every tracker of this machine logged, killed between two checkpoints and gone on with."""
    folder = tmp_path_factory.mktemp("tracked")
    command = ["train", *arguments(tiny_base, rows, f"trainer.tracker=[{','.join(HERE)}]")]
    own = {name: value for name, value in environment(OTHERS).items() if name != "TRACKIO_DIR"}
    killed = subprocess.run([python(), "-c", KILLED, *command], cwd=folder, env=own, capture_output=True, text=True,
                            timeout=240, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    ended = run_cli(*command, cwd=folder, env=OTHERS, timeout=240)
    assert ended.returncode == 0, ended.stderr
    assert "going on from step 4" in ended.stdout
    assert "Traceback" not in ended.stderr and "WARN" not in ended.stderr
    os.environ["TRACKIO_DIR"] = str(folder / "runs/.trackio")  # read once, when a test imports it
    return folder / "runs/run"


def test_its_card_has_its_scores(run: Path) -> None:
    assert check_card(run, run).data.language == ["en"]


@pytest.mark.parametrize("tracker", READERS)
def test_a_killed_run_is_recorded_whole_and_no_step_twice(tracker: str, run: Path) -> None:
    if tracker not in HERE:
        pytest.skip(f"needs the package {tracker}: scripts/test --trackers installs it")
    record = json.loads((run / "trackers.json").read_text())[tracker]
    wanted, found = logged_by(run), READERS[tracker](run, record["id"])
    assert found.keys() == wanted.keys()
    assert {"train/loss.total", "validation/rouge1", "results/metrics.test.rouge1.low"} <= found.keys()
    for name, values in wanted.items():
        assert [step for step, _ in found[name]] == [step for step, _ in values], name
        if not name.startswith(MEASURED):  # what was logged before the kill was measured then
            assert [value for _, value in found[name]] == pytest.approx([value for _, value in values]), name


def test_the_configuration_is_recorded_under_the_names_of_the_command_line(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    shown = EventAccumulator(str(run / "llmtrain"))
    shown.Reload()
    content = shown.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    told = HParamsPluginData.FromString(content).session_start_info.hparams
    assert told["head.layers"].number_value == 1
    assert told["trainer.max_steps"].number_value == 6
    assert told["data.train"].string_value.endswith("train.jsonl")


def test_an_unknown_tracker_and_a_missing_package_are_told_in_one_line(tiny_base: Path, rows: Path, tmp_path: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = warm_cli("train", *arguments(tiny_base, rows, "trainer.tracker=[tensorbord,mlflow]"), cwd=tmp_path)
    assert unknown.returncode == 2
    assert unknown.stderr.splitlines() == [
        "llmtrain: trainer.tracker=tensorbord is not one of none, tensorboard, wandb, mlflow, trackio, aim; did you "
        "mean tensorboard?"]
    monkeypatch.setattr("llmtrain.config.packages.find_spec", lambda name: None)
    missing = warm_cli("train", *arguments(tiny_base, rows, "trainer.tracker=[wandb,aim,none]"), cwd=tmp_path)
    assert missing.returncode == 2
    assert missing.stderr.splitlines() == [
        f"llmtrain: trainer.tracker={name} needs the package {name}, which is not installed; run: pip install "
        f"'llmtrain[{name}]'" for name in ("wandb", "aim")]
    assert not (tmp_path / "runs").exists()
