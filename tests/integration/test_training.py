"""Training end to end on a tiny base: files out, resume, stop, refusals. One warm process where the property allows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from helpers import environment, pairs, run_cli, warm_cli, without_fingerprints, write_jsonl
from llmtrain.training import trainer
from stopping import same
from torture.hooks import steady_clock
from tracker_records import from_tensorboard
from warm.libraries import python

TIMED = ("time.",)


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    write_jsonl(folder / "train.jsonl", pairs(40, 0))
    write_jsonl(folder / "validation.jsonl", pairs(8, 1))
    write_jsonl(folder / "test.jsonl", pairs(8, 2))
    return folder


def arguments(base: Path, rows: Path, *more: str) -> list[str]:
    return [f"model.path={base}", "head.layers=1", "data=files", f"data.train={rows / 'train.jsonl'}",
            f"data.validation={rows / 'validation.jsonl'}", f"data.test={rows / 'test.jsonl'}",
            f"data.cache_dir={rows / 'cache'}", "data.max_source_tokens=32", "data.max_summary_tokens=8",
            "trainer.batch_size=8", "trainer.log_every=4", "trainer.eval_rows=4", "trainer.eval_every=6",
            "schedule.warmup_steps=2", "generation.max_new_tokens=6", "eval.bootstrap_samples=20", "run.name=run",
            *more]


def log_of(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith(TIMED)} for line in lines]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")



def test_a_run_leaves_what_the_contract_names(tiny_base: Path, rows: Path, tmp_path: Path) -> None:
    command = arguments(tiny_base, rows, "trainer.max_steps=12", "precision=bf16")
    result = warm_cli("train", *command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    run = tmp_path / "runs" / "run"
    for name in ("config.yaml", "environment.json", "metrics.jsonl", "results.json", "predictions.jsonl",
                 "checkpoints/best", "checkpoints/last", "checkpoints/step-12/manifest.json",
                 "checkpoints/step-12/model/llmtrain.json"):
        assert (run / name).is_file(), name
    assert not [p for p in run.rglob("*") if p.suffix in (".bin", ".pt", ".pkl", ".pickle")]
    results = json.loads((run / "results.json").read_text())
    assert results["precision"] == {"requested": "bf16", "effective": "bfloat16"}
    assert results["steps"] == 12
    assert results["skipped_steps"] == 0
    for split in ("validation", "test"):
        one = results["metrics"][split]["rouge1"]
        assert 0 <= one["low"] <= one["value"] <= one["high"] <= 100
    assert {"lead", "oracle"} == set(results["baselines"])
    log = log_of(run)
    train = [row for row in log if row["split"] == "train"]
    assert [row["step"] for row in train] == [4, 8, 12]
    assert {"loss.select", "loss.summary", "loss.total", "lr.base", "lr.head", "grad_norm"} <= set(train[0])
    assert train[-1]["loss.summary"] < train[0]["loss.summary"]
    assert train[0]["loss.summary.weighted"] == pytest.approx(0.5 * train[0]["loss.summary"])
    assert {"rouge1", "loss.select"} <= set(next(row for row in log if row["split"] == "validation"))
    again = warm_cli("train", *command, cwd=tmp_path)
    assert again.returncode == 0
    assert "finished" in again.stdout
    other = warm_cli("train", *command, "objective.lam=0.3", cwd=tmp_path)
    assert other.returncode == 2
    assert "objective.lam" in other.stderr


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_resume_is_bitwise(precision: str, tiny_base: Path, rows: Path, tmp_path: Path) -> None:
    """Stopped at step 7 (mid-epoch, mid-log-window) with accumulation, by a real signal, against never stopped."""
    command = arguments(tiny_base, rows, "trainer.max_steps=12", f"precision={precision}", "trainer.accumulate=2",
                        "objective.base=mlm", "objective.mlm.fraction=0.5", "objective.mlm.warm_steps=3",
                        "model.dropout=0.1", "head.dropout=0.1")  # so that random state must be restored too
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    straight.mkdir()
    stopped.mkdir()
    assert warm_cli("train", *command, cwd=straight).returncode == 0
    result = subprocess.run([python(), "-c", STOP_AT, "7", *command], cwd=stopped, env=environment(),
                            capture_output=True, text=True, check=False)
    assert result.returncode == 143, result.stderr
    assert (stopped / "runs/run/checkpoints/step-7").is_dir()
    result = warm_cli("train", *command, cwd=stopped)
    assert result.returncode == 0, result.stderr
    assert "step 7" in result.stdout
    same(straight / "runs/run/checkpoints/step-12", stopped / "runs/run/checkpoints/step-12")
    assert log_of(straight / "runs/run") == log_of(stopped / "runs/run")


STOP_AT = """
import os, signal, sys
from llmtrain.training import trainer
from llmtrain.cli.main import main
stop, advance = int(sys.argv[1]), trainer.advance
def advancing(run, *rest):
    advance(run, *rest)
    if run.state.progress.step == stop:
        os.kill(os.getpid(), signal.SIGTERM)
trainer.advance = advancing
sys.exit(main(["train", *sys.argv[2:]]))
"""


def test_a_real_signal_stops_and_the_same_command_goes_on(tiny_base: Path, rows: Path, tmp_path: Path) -> None:
    command = arguments(tiny_base, rows, "trainer.max_steps=100000", "trainer.eval_every=100000")
    process = subprocess.Popen([python(), "-m", "llmtrain", "train", *command], cwd=tmp_path, env=environment(),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "runs/run/metrics.jsonl"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not (log.exists() and log.stat().st_size):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "saved at step" in errors
    pointer = json.loads((tmp_path / "runs/run/checkpoints/last").read_text())
    assert pointer["step"] > 0


def test_damaged_last_checkpoint_falls_back_and_is_told(tiny_base: Path, rows: Path, tmp_path: Path) -> None:
    command = arguments(tiny_base, rows, "trainer.max_steps=12", "trainer.save_every=3")
    assert subprocess.run([python(), "-c", STOP_AT, "8", *command], cwd=tmp_path, env=environment(),
                          capture_output=True, check=False).returncode == 143
    checkpoints = tmp_path / "runs/run/checkpoints"
    weights = checkpoints / "step-8/model/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(content)
    refused = warm_cli("summarize", f"checkpoint={checkpoints / 'last'}", cwd=tmp_path)
    assert refused.returncode == 3
    result = warm_cli("train", *command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "step-8" in result.stderr
    assert "step-6" in result.stderr


def test_changed_data_refuse_a_resume(tiny_base: Path, rows: Path, tmp_path: Path) -> None:
    own = write_jsonl(tmp_path / "own.jsonl", pairs(40, 5))
    command = [*arguments(tiny_base, rows, "trainer.max_steps=12"), f"data.train={own}"]
    assert subprocess.run([python(), "-c", STOP_AT, "3", *command], cwd=tmp_path, env=environment(),
                          capture_output=True, check=False).returncode == 143
    write_jsonl(own, pairs(40, 6))
    result = warm_cli("train", *command, cwd=tmp_path)
    assert result.returncode == 2
    assert f"data.train is {own}, which held something else when that run began" in result.stderr
    without_fingerprints(tmp_path / "runs/run")
    result = warm_cli("train", *command, cwd=tmp_path)
    assert result.returncode == 2
    assert "content hash" in result.stderr


def test_init_from_and_extend_from(tiny_base: Path, rows: Path, tmp_path: Path) -> None:
    command = arguments(tiny_base, rows, "trainer.max_steps=6")
    assert warm_cli("train", *command, cwd=tmp_path).returncode == 0
    run = tmp_path / "runs/run"
    longer = [*command, "trainer.max_steps=10", "run.name=longer", f"run.extend_from={run}"]
    result = warm_cli("train", *longer, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "going on from step 6" in result.stdout
    assert (tmp_path / "runs/longer/checkpoints/step-10").is_dir()
    started = [*command, "trainer.max_steps=1", "run.name=started", f"model.init_from={run}", "optim.base_lr=0",
               "optim.head_lr=0", "optim.weight_decay=0"]
    result = warm_cli("train", *started, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    one, two = weights_of(run / "checkpoints/step-6"), weights_of(tmp_path / "runs/started/checkpoints/step-1")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_debug_overfit_learns_its_batch(tiny_base: Path, rows: Path, tmp_path: Path) -> None:
    result = warm_cli("train", "+experiment=debug_overfit", f"model.path={tiny_base}", "data=files",
                      f"data.train={rows / 'train.jsonl'}", f"data.validation={rows / 'validation.jsonl'}",
                      f"data.test={rows / 'test.jsonl'}", f"data.cache_dir={rows / 'cache'}", "run.name=run",
                      "optim.head_lr=0.01", "optim.base_lr=0.003",
                      cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    train = [row for row in log_of(tmp_path / "runs/run") if row["split"] == "train"]
    assert train[-1]["loss.summary"] < 0.5 * train[0]["loss.summary"]


def test_max_minutes_cools_down_and_ends(tiny_base: Path, rows: Path, tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "advance", trainer.advance)  # undone at the end
    steady_clock(0.045)  # 40 steps: a busy machine may take too few to see the rate fall
    command = arguments(tiny_base, rows, "trainer.max_minutes=0.03", "schedule=constant_cooldown",
                        "trainer.log_every=1")
    result = warm_cli("train", *command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "cooldown from step" in result.stdout
    rates = [row["lr.head"] for row in log_of(tmp_path / "runs/run") if row["split"] == "train"]
    assert rates[-1] < 0.2 * max(rates)
    assert rates.count(max(rates)) > 3


def test_a_failure_before_the_first_step_leaves_nothing(tiny_base: Path, rows: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"document": "a b c", "summary": 3}\nnot json\n')
    result = warm_cli("train", *arguments(tiny_base, rows, "trainer.max_steps=2"), f"data.train={bad}", cwd=tmp_path)
    assert result.returncode == 2
    assert f"{bad}:1" in result.stderr
    assert f"{bad}:2" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "runs/run").exists()


def test_non_finite_loss_is_named_and_stops(tiny_base: Path, rows: Path, tmp_path: Path) -> None:
    result = subprocess.run([python(), "-c", POISON, *arguments(tiny_base, rows, "trainer.max_steps=4")],
                            cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 4, result.stderr
    assert "term summary" in result.stderr
    assert "step 2" in result.stderr
    assert "rows 0-3)" in result.stderr  # the dataset's own id


POISON = """
import sys
from llmtrain.objectives import joint_module
from llmtrain.cli.main import main
forward = joint_module.JointModule.forward
def poisoned(self, batch, step, *rest):
    sums = forward(self, batch, step, *rest)
    if self.training and step == 1 and int((batch["example_id"] == 3).sum()):
        sums["summary"] = sums["summary"] * float("nan")
    return sums
from llmtrain.data import loader
plan = loader.Order.plan
loader.Order.plan = lambda self, epoch: [list(range(8, 16)), list(range(8)), *plan(self, epoch)]
joint_module.JointModule.forward = poisoned
sys.exit(main(["train", *sys.argv[1:]]))
"""


def test_two_processes_are_one(tiny_base: Path, rows: Path, tmp_path: Path) -> None:
    """Two gloo ranks through torchrun give the losses of one process on the same rows (dropout 0, fp32).

    It is the same command without a name: every rank makes the same one from the configuration.
    """
    still = ["model.dropout=0", "head.dropout=0", "trainer.max_steps=6", "trainer.eval_every=3",
             "objective.base=mlm", "objective.mlm.fraction=0.5", "trainer.log_every=1"]
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    command = [word for word in arguments(tiny_base, rows, *still) if not word.startswith("run.name")]
    assert warm_cli("train", *command, "trainer.accumulate=2", cwd=one).returncode == 0
    result = subprocess.run(
        [python(), "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29617", "-m",
         "llmtrain", "train", *command], cwd=two, env=environment(), capture_output=True,
        text=True, timeout=180, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    (alone,), (together,) = ([*(folder / "runs").iterdir()] for folder in (one, two))
    assert alone.name == together.name
    first, second = log_of(alone), log_of(together)
    assert [row["step"] for row in first] == [row["step"] for row in second]
    for left, right in zip(first, second, strict=True):
        for key in left:
            if key.startswith("loss.") or key == "grad_norm":
                assert left[key] == pytest.approx(right[key], rel=2e-4), (left["step"], key)
    assert json.loads((together / "results.json").read_text())["world_size"] == 2


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_rank_that_never_comes_is_told(rank: str, tiny_base: Path, rows: Path, tmp_path: Path) -> None:
    """As where the other one was refused the run's folder, or has no such device."""
    alone = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
             "MASTER_PORT": "29619"}
    result = run_cli("train", *arguments(tiny_base, rows, "trainer.timeout_seconds=2"), cwd=tmp_path, env=alone)
    assert result.returncode == 5, result.stderr
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("llmtrain: "))
    assert "the 2 ranks did not all meet (" in line and "start all of them again" in line and len(line) < 400
    assert not (tmp_path / "runs").exists()


def test_asking_for_two_processes_and_getting_one_is_an_error(tiny_base: Path, rows: Path, tmp_path: Path) -> None:
    result = run_cli("train", *arguments(tiny_base, rows, "trainer.max_steps=2", "trainer.processes=2"), cwd=tmp_path)
    assert result.returncode == 2
    assert "2 processes were asked for and 1 run" in result.stderr


def test_multirun_gives_each_job_a_process_and_a_folder(tiny_base: Path, rows: Path, tmp_path: Path) -> None:
    command = [word for word in arguments(tiny_base, rows, "trainer.max_steps=1") if not word.startswith("run.name")]
    result = run_cli("train", "--multirun", *command, "objective.lam=0.3,0.7", cwd=tmp_path, timeout=240)
    assert result.returncode == 0, result.stderr
    runs = sorted((tmp_path / "runs").iterdir())
    assert len(runs) == 2
    lams = {json.loads((run / "results.json").read_text())["config"]["objective"]["lam"] for run in runs}
    assert lams == {0.3, 0.7}
    refused = warm_cli("train", "--multirun", *command, "objective.lam=0.3,-1", cwd=tmp_path)
    assert refused.returncode == 2
    assert "job 1" in refused.stderr


def test_early_stopping_average_and_tensorboard(tiny_base: Path, rows: Path, tmp_path: Path) -> None:
    result = warm_cli("train", *arguments(tiny_base, rows, "trainer.max_steps=40", "trainer.eval_every=2",
                                          "trainer.patience=2", "optim.base_lr=0", "optim.head_lr=0",
                                          "optim.ema_decay=0.9", "trainer.tracker=tensorboard",
                                          "trainer.best_metric=loss.summary", "trainer.best_mode=min"), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "stopping early" in result.stdout
    results = json.loads((tmp_path / "runs/run/results.json").read_text())
    assert results["steps"] == 6  # the first validation is the best, two more without a gain
    assert results["best_step"] == 2
    assert {"train/loss.total", "validation/loss.total", "validation/rouge1"} <= (
        from_tensorboard(tmp_path / "runs/run").keys())


@pytest.mark.parametrize("way", ["generation.do_sample=true", "generation.num_beams=2"])
def test_an_update_that_spoils_the_weights_is_told_before_they_are_validated(way: str, tiny_base: Path, rows: Path,
                                                                             tmp_path: Path) -> None:
    result = warm_cli("train", *arguments(tiny_base, rows, "optim.base_lr=3e38", "optim.head_lr=3e38", way,
                                          "schedule.warmup_steps=0", "trainer.eval_every=1"), cwd=tmp_path)
    assert result.returncode == 4, result.stderr
    (line,) = result.stderr.splitlines()
    assert "not finite" in line
    assert "validation at step" not in result.stdout


GOLDEN = {"select_fp32": (), "summary_only_fp32": ("objective=summary_only",),
          "mlm_fp32": ("objective.base=mlm", "objective.mlm.fraction=0.6", "objective.mlm.warm_steps=2")}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_loss_curve(name: str, tiny_base: Path, rows: Path, tmp_path: Path) -> None:
    """A change that is not about numerics must keep these losses (fp32; instruction sets differ in summing order).

    LLMTRAIN_WRITE_GOLDEN=1 writes them anew after a change that is.
    """
    result = warm_cli("train", *arguments(tiny_base, rows, "trainer.max_steps=6", "trainer.log_every=1",
                                          *GOLDEN[name]), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    train = [{key: value for key, value in row.items() if key in ("step", "grad_norm") or (
        key.startswith("loss.") and not key.endswith(".weighted"))}
        for row in log_of(tmp_path / "runs/run") if row["split"] == "train"]
    file, capability = Path(__file__).parents[1] / "golden" / f"{name}.json", torch.backends.cpu.get_cpu_capability()
    if os.environ.get("LLMTRAIN_WRITE_GOLDEN") == "1":
        file.write_text(json.dumps({"capability": capability, "rows": train}, indent=1) + "\n")
    golden = json.loads(file.read_text())
    tolerance = 2e-5 if golden["capability"] == capability else 2e-3
    for row, wanted in zip(train, golden["rows"], strict=True):
        assert row.keys() == wanted.keys()
        for key, value in wanted.items():
            assert row[key] == pytest.approx(value, rel=tolerance), (row["step"], key)


def test_a_run_in_a_thread_trains_and_leaves_the_process_as_it_was(tiny_base: Path, tmp_path: Path,
                                                                  capsys: pytest.CaptureFixture[str]) -> None:
    import threading

    import torch
    from accelerate.state import AcceleratorState

    from llmtrain.cli import main

    rows = [write_jsonl(tmp_path / f"{name}.jsonl", pairs(8, seed)) for seed, name in enumerate(("t", "v"))]
    arguments = ["train", f"model.path={tiny_base}", "data=files", f"data.train={rows[0]}",
                 f"data.validation={rows[1]}", "head.layers=1", "trainer.max_steps=2", "trainer.batch_size=4",
                 "trainer.threads=1", f"run.root={tmp_path}", "run.name=x", "data.max_test_rows=0",
                 "data.max_source_tokens=64"]
    before = torch.are_deterministic_algorithms_enabled(), torch.get_rng_state(), dict(AcceleratorState._shared_state)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main.main(arguments)))
    thread.start()
    thread.join()
    assert codes == [0], capsys.readouterr().err
    assert (tmp_path / "x/results.json").is_file()
    assert capsys.readouterr().err.count("not the main thread") == 1
    assert torch.are_deterministic_algorithms_enabled() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1]) and dict(AcceleratorState._shared_state) == before[2]
