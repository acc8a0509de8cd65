"""A stop does not wait for a validation: it leaves it, and the next start makes up for it."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from helpers import environment, pairs, warm_cli, write_jsonl
from stopping import same, same_tensors
from warm.libraries import python

STEPS = 6
STOP_IN = """
import os, signal, sys, time
from llmtrain.cli.main import main
from llmtrain.training import {module}

real, at = {module}.{function}, int(sys.argv[1])

def slow(run, *rest, **how):
    if {when}:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    return real(run, *rest, **how)

{module}.{function} = slow
sys.exit(main(sys.argv[2:]))
"""
IN_LOSSES = STOP_IN.format(module="validate", function="held_out_losses", when="run.state.progress.step == at")
IN_SUMMARIES = STOP_IN.format(module="validate", function="predict_and_score",
                              when="how['accelerator'] is not None and seen() == at")
# of two ranks: those in the second argument are stopped in their own share of what the third one names
RANKS = """
import os, signal, sys, time
from llmtrain.inference import predict
from llmtrain.cli.main import main
from llmtrain.training import validate

at, ranks, name, step = int(sys.argv[1]), sys.argv[2], sys.argv[3], []
place = {"eval_batches": validate, "predict_batches": predict}[name]
losses, real = validate.held_out_losses, getattr(place, name)

def noting(run, *rest):
    step.append(run.state.progress.step)
    return losses(run, *rest)

def slow(*rest, **how):
    if step[-1] == at and os.environ["RANK"] in ranks:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    return real(*rest, **how)

validate.held_out_losses = noting
setattr(place, name, slow)
sys.exit(main(sys.argv[4:]))
"""
COUNT = "calls = []\ndef seen():\n    calls.append(1)\n    return 2 * len(calls)\n"


@pytest.fixture
def command(tiny_base: Path, tmp_path: Path) -> list[str]:
    files = [f"data.{name}={write_jsonl(tmp_path / f'{name}.jsonl', pairs(count, seed))}"
             for seed, (name, count) in enumerate((("train", 40), ("validation", 4), ("test", 2)))]
    return ["train", f"model.path={tiny_base}", "head.layers=1", "head.ffn=32", "data=files", *files,
            f"data.cache_dir={tmp_path / 'cache'}", "data.max_source_tokens=40", "trainer.batch_size=8",
            "model.dropout=0.1", "schedule.warmup_steps=1", "generation.max_new_tokens=4", "trainer.log_every=1",
            f"trainer.max_steps={STEPS}", "trainer.eval_every=2", "eval.baselines=false", "eval.bootstrap_samples=5",
            f"run.root={tmp_path / 'runs'}"]


def two_ranks(cwd: Path, *arguments: str) -> list[tuple[int, str]]:
    """The exit code and stderr of each."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    started = [subprocess.Popen([python(), *arguments], cwd=cwd, text=True, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, env=environment({
                                    "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                                    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port})) for rank in "01"]
    told = [rank.communicate(timeout=120)[1] for rank in started]
    return [(rank.returncode, text) for rank, text in zip(started, told, strict=True)]


def log_of(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if not key.startswith("time.")} for row in rows]


@pytest.mark.parametrize(("program", "at", "more"), [
    (IN_LOSSES, 4, ("optim.ema_decay=0.9", "precision=fp16")), (COUNT + IN_SUMMARIES, 4, ("trainer.keep_last=1",)),
    (IN_LOSSES, STEPS, ("trainer.keep_last=1", "trainer.best_metric=loss.total"))])
def test_it_is_left_and_made_up_for(program: str, at: int, more: tuple[str, ...], command: list[str],
                                    tmp_path: Path) -> None:
    assert warm_cli(*command, *more, "run.name=straight", cwd=tmp_path).returncode == 0
    started = time.monotonic()
    done = subprocess.run([python(), "-c", program, str(at), *command, *more, "run.name=stopped"], cwd=tmp_path,
                          env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 143, done.stderr
    assert f"stopped and saved at step {at}" in done.stderr
    assert time.monotonic() - started < 50  # the validation would have slept for a minute
    straight, stopped = tmp_path / "runs/straight", tmp_path / "runs/stopped"
    assert log_of(stopped)[-1]["split"] == "train"
    assert warm_cli(*command, *more, "run.name=stopped", cwd=tmp_path).returncode == 0
    assert log_of(stopped) == log_of(straight)
    for name in ("best", "last"):
        one, two = (json.loads((run / "checkpoints" / name).read_text()) for run in (straight, stopped))
        assert one["folder"] == two["folder"] and one.get("value") == two.get("value")
        # a step that was saved with its validation owed stays as it was saved
        compare = same_tensors if one["step"] == at else same
        compare(straight / "checkpoints" / one["folder"], stopped / "checkpoints" / two["folder"])


@pytest.mark.parametrize(("ranks", "name"), [("01", "eval_batches"), ("1", "predict_batches")])
def test_two_ranks_leave_it_together(ranks: str, name: str, command: list[str], tmp_path: Path) -> None:
    assert [code for code, _ in two_ranks(tmp_path, "-m", "llmtrain", *command, "run.name=straight")] == [0, 0]
    started = time.monotonic()
    for code, told in two_ranks(tmp_path, "-c", RANKS, "4", ranks, name, *command, "run.name=stopped"):
        assert code == 143 and "stopped and saved at step 4" in told, told
    assert time.monotonic() - started < 50  # the validation would have slept for a minute
    straight, stopped = tmp_path / "runs/straight", tmp_path / "runs/stopped"
    assert log_of(stopped)[-1]["split"] == "train"
    assert [code for code, _ in two_ranks(tmp_path, "-m", "llmtrain", *command, "run.name=stopped")] == [0, 0]
    assert log_of(stopped) == log_of(straight)
    same(straight / f"checkpoints/step-{STEPS}", stopped / f"checkpoints/step-{STEPS}")
