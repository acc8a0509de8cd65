"""The mean of the last checkpoints: chosen on validation, published as a checkpoint, the same after any stop."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from helpers import warm_cli
from llmtrain import checkpoint
from llmtrain.training import checkpoint_averaging, final_evaluation
from stopping import Killed, stop_at

THREE = ("optim.average_last=3", "trainer.keep_last=3", "trainer.max_steps=8")
# steps so short that the last checkpoint is the best of all
SMOOTH = ("optim.average_last=2", "schedule=constant_cooldown", "schedule.cooldown_steps=0", "optim.head_lr=1e-4",
          "optim.base_lr=1e-5")


@pytest.fixture
def lucky(monkeypatch: pytest.MonkeyPatch) -> None:
    """A validation on which the mean is clearly better: by how much it really is depends on the machine."""
    real = checkpoint_averaging.score

    def score(run: Any) -> dict[str, Any]:
        scores = real(run)
        return scores | {"loss.total": 0.5 * scores["loss.total"]}

    monkeypatch.setattr(checkpoint_averaging, "score", score)



def kill(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, start: Callable[[], Any]) -> None:
    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(module, name, die)
        with pytest.raises(Killed):
            start()



def results_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "results.json").read_text())
    return {name: value for name, value in found.items()
            if name not in ("seconds", "tokens_per_second", "peak_memory_bytes")}


def log_of(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith("time.")} for line in lines]


def steps_kept(run: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").glob("step-*"))


@pytest.mark.usefixtures("lucky")
def test_a_better_mean_is_the_best_checkpoint(train: Any, tmp_path: Path) -> None:
    result = train(*THREE)
    assert result.returncode == 0, result.stderr
    assert "average of the checkpoints of steps 4, 6, 8" in result.stdout
    assert "the average is published" in result.stdout
    run = tmp_path / "runs/run"
    pointer = json.loads((run / "checkpoints/best").read_text())
    assert (pointer["folder"], pointer["averaged_steps"]) == ("average-8", [4, 6, 8])
    checkpoint.verify(run / "checkpoints/average-8")
    weights = load_file(run / "checkpoints/average-8/model/model.safetensors")
    several = [load_file(run / f"checkpoints/step-{step}/model/model.safetensors") for step in (4, 6, 8)]
    assert weights.keys() == several[0].keys()
    for name, value in weights.items():
        assert torch.equal(value, (sum(one[name].double() for one in several) / 3).float()), name
    logged = log_of(run)
    row = next(row for row in logged if row["split"] == "average")
    best = min(row["loss.total"] for row in logged if row["split"] == "validation")
    assert row["loss.total"] == pointer["value"] < best
    assert f"{row['loss.total']:.4g}" in result.stdout and f"{best:.4g}" in result.stdout
    results = results_of(run)
    assert results["averaged_steps"] == [4, 6, 8] and results["best_step"] == 8
    split = ("eval.split=validation", "eval.bootstrap_samples=5", "eval.baselines=false")
    assert warm_cli("eval", f"checkpoint={run}", *split, cwd=tmp_path).returncode == 0
    assert warm_cli("eval", f"checkpoint={run / 'checkpoints/step-8'}", *split, cwd=tmp_path).returncode == 0
    scored = {path.parent.name.rpartition("-validation")[0]: json.loads(path.read_text())
              for path in (run / "eval").glob("*/results.json")}
    assert set(scored) == {"average-8", "8"}
    assert scored["average-8"]["metrics"]["validation"] == results["metrics"]["validation"]
    (tmp_path / "document.txt").write_text("a b c\n")
    for path in ("", "checkpoints/best", "checkpoints/average-8", "checkpoints/average-8/model"):
        written = warm_cli("summarize", f"checkpoint={run / path}", "input=document.txt", cwd=tmp_path)
        assert written.returncode == 0, written.stderr
    longer = train(*THREE, "run.name=longer", f"run.extend_from={run}", "trainer.max_steps=10")
    assert longer.returncode == 0, longer.stderr
    assert "going on from step 8 (step-8)" in longer.stdout  # a mean has no state to go on from
    refused = train(*THREE, "run.name=other", f"run.extend_from={run / 'checkpoints/average-8'}")
    assert refused.returncode == 2 or refused.returncode == 3
    assert refused.stderr.count("\n") == 1 and "no checkpoint to extend" in refused.stderr


def test_a_worse_mean_is_logged_and_left(train: Any, tmp_path: Path) -> None:
    result = train(*SMOOTH)
    assert result.returncode == 0, result.stderr
    assert "average of the checkpoints of steps 4, 6" in result.stdout and "stays the best" in result.stdout
    run = tmp_path / "runs/run"
    assert json.loads((run / "checkpoints/best").read_text())["folder"] == "step-6"
    assert not list((run / "checkpoints").glob("average-*"))
    assert results_of(run)["averaged_steps"] is None
    assert [row["split"] for row in log_of(run)].count("average") == 1


@pytest.mark.usefixtures("lucky")
def test_stops_and_kills_change_nothing(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped at an unvalidated step, whose checkpoint is no part of the mean; killed on both sides of publishing."""
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    for folder in (straight, stopped):
        folder.mkdir()
    assert train(*THREE, cwd=straight).returncode == 0
    stop_at(monkeypatch, 7)
    assert train(*THREE, cwd=stopped).returncode == 143
    run = stopped / "runs/run"
    assert 7 in steps_kept(run)
    for module, name in ((checkpoint_averaging, "score"), (final_evaluation, "load_best"),
                         (final_evaluation, "write_outputs")):
        kill(monkeypatch, module, name, lambda: train(*THREE, cwd=stopped))
        assert not (run / "results.json").exists()
    assert {4, 6, 8} <= set(steps_kept(run)) and len(steps_kept(run)) <= 4  # keep_last and the best
    assert train(*THREE, cwd=stopped).returncode == 0
    assert results_of(run) == results_of(straight / "runs/run")
    assert log_of(run) == log_of(straight / "runs/run")
    one, two = (load_file(folder / "runs/run/checkpoints/average-8/model/model.safetensors")
                for folder in (straight, stopped))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_damaged_and_missing_checkpoints_are_left_out(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                      ) -> None:
    kill(monkeypatch, final_evaluation, "load_best", lambda: train(*THREE))
    run = tmp_path / "runs/run"
    shutil.rmtree(run / "checkpoints/step-4")
    result = train(*THREE)
    assert result.returncode == 0, result.stderr
    assert "left out of the average" in result.stderr and "step-4" in result.stderr
    assert "average of the checkpoints of steps 6, 8" in result.stdout


def test_one_checkpoint_is_no_average(train: Any, tmp_path: Path) -> None:
    result = train(*SMOOTH, "trainer.max_steps=2")
    assert result.returncode == 0, result.stderr
    assert "1 of optim.average_last=2 were validated and are whole; nothing to average" in result.stdout
    assert results_of(tmp_path / "runs/run")["averaged_steps"] is None


def test_objectives_are_averaged_too(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a loss that they take part in would be scored with the last step's."""
    seen: list[dict[str, torch.Tensor]] = []
    real = checkpoint_averaging.score

    def scoring(run: Any) -> Any:
        seen.append({name: p.detach().clone() for name, p in run.model.module.objectives.named_parameters()})
        several = [checkpoint.load_parts(run.folder.path / f"checkpoints/step-{step}", only="objectives")[0]
                   ["objectives"][0] for step in run.state.progress.validated]
        seen.append({name: (sum(one[name].double() for one in several) / len(several)).float() for name in seen[0]})
        return real(run)

    monkeypatch.setattr(checkpoint_averaging, "score", scoring)
    assert train(*SMOOTH).returncode == 0
    assert seen[0] and all(torch.equal(value, seen[1][name]) for name, value in seen[0].items())
