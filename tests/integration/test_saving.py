"""Kills, damage and signals at awkward moments, longer runs, and lost sources: what the next start makes of them."""

from __future__ import annotations

import errno
import itertools
import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import warm_cli
from llmtrain import checkpoint
from llmtrain.config import packages
from llmtrain.core.errors import CheckpointError
from llmtrain.core.files import folder_size
from llmtrain.training import final_evaluation, read_data, resume, save, trainer
from running import Runs, copies, take
from stopping import Killed, same, stop_at

TIMED = ("time.",)


@pytest.fixture
def die_scoring(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Runs something that is killed while it scores its last checkpoint."""
    def during(start: Callable[[], Any]) -> None:
        def die(run: Any, show: Any) -> None:
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(final_evaluation, "finish", die)
            with pytest.raises(Killed):
                start()

    yield during



def damage(folder: Path) -> None:
    weights = folder / "model/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(content)


def pointers(checkpoints: Path) -> dict[str, int]:
    return {name: json.loads((checkpoints / name).read_text())["step"] for name in ("best", "last")}


def results_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def log_of(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith(TIMED)} for line in lines]



def test_a_step_reached_again_replaces_its_damaged_checkpoint(train: Any, die_scoring: Any, tmp_path: Path) -> None:
    die_scoring(train)
    checkpoints = tmp_path / "runs/run/checkpoints"
    assert pointers(checkpoints) == {"best": 6, "last": 6}
    damage(checkpoints / "step-6")
    result = train()
    assert result.returncode == 0, result.stderr
    assert "step-6" in result.stderr and "step-4" in result.stderr
    checkpoint.verify(checkpoints / "step-6")
    assert pointers(checkpoints) == {"best": 6, "last": 6}
    assert results_of(tmp_path / "runs/run")["best_step"] == 6


@pytest.mark.parametrize("gone", [False, True])
def test_a_lost_best_checkpoint_is_given_up_for_the_last(gone: bool, train: Any, die_scoring: Any, tmp_path: Path,
                                                         ) -> None:
    still = ("optim.base_lr=0", "optim.head_lr=0", "optim.weight_decay=0")  # so that the first validation is the best
    die_scoring(lambda: train(*still))
    checkpoints = tmp_path / "runs/run/checkpoints"
    assert pointers(checkpoints) == {"best": 2, "last": 6}
    if gone:
        shutil.rmtree(checkpoints / "step-2")
    else:
        damage(checkpoints / "step-2")
    assert warm_cli("summarize", f"checkpoint={checkpoints / 'best'}", cwd=tmp_path, stdin="a b\n").returncode == 3
    result = train(*still)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("llmtrain: ") == 1
    assert "step-2" in result.stderr and "step-6" in result.stderr
    assert pointers(checkpoints) == {"best": 6, "last": 6}
    assert results_of(tmp_path / "runs/run")["best_step"] == 6


@pytest.mark.parametrize("stale", ["", '{"step": 4, "folder": "step-4"}', "{"])
def test_pointers_a_kill_left_behind_are_put_right(stale: str, train: Any, die_scoring: Any, tmp_path: Path) -> None:
    die_scoring(train)
    checkpoints = tmp_path / "runs/run/checkpoints"
    for name in ("best", "last"):
        (checkpoints / name).unlink()
        if stale:
            (checkpoints / name).write_text(stale)
    result = train()
    assert result.returncode == 0, result.stderr
    assert pointers(checkpoints) == {"best": 6, "last": 6}
    assert results_of(tmp_path / "runs/run")["best_step"] == 6


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_last_validation_ends_before_scoring(number: int, train: Any, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, 6, number)
    result = train()
    assert result.returncode == 128 + number
    assert "saved" in result.stderr
    run = tmp_path / "runs/run"
    assert not (run / "results.json").exists()
    assert pointers(run / "checkpoints") == {"best": 4, "last": 6}
    assert train().returncode == 0
    assert results_of(run)["steps"] == 6
    assert pointers(run / "checkpoints") == {"best": 6, "last": 6}
    assert [(row["step"], row["split"]) for row in log_of(run)][-1] == (6, "validation")


def test_a_run_that_stopped_early_trains_no_step_more(train: Any, die_scoring: Any, tmp_path: Path) -> None:
    early = ("trainer.max_steps=40", "trainer.patience=1", "optim.base_lr=0", "optim.head_lr=0",
             "optim.weight_decay=0")
    die_scoring(lambda: train(*early))
    result = train(*early)
    assert result.returncode == 0, result.stderr
    assert results_of(tmp_path / "runs/run")["steps"] == 4
    assert [row["step"] for row in log_of(tmp_path / "runs/run")] == [2, 4, 4]


def test_a_resume_needs_neither_its_source_nor_the_same_layout(train: Any, tmp_path: Path,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    """init_from may be gone; another accumulation is told; allow_world_size_change is no other configuration."""
    assert train("run.name=source", "trainer.max_steps=2").returncode == 0
    command = (f"model.init_from={tmp_path / 'runs/source'}",)
    stop_at(monkeypatch, 3)
    assert train(*command).returncode == 143
    shutil.rmtree(tmp_path / "runs/source")
    result = train(*command, "trainer.accumulate=2", "run.allow_world_size_change=true")
    assert result.returncode == 0, result.stderr
    assert "going on from step 3" in result.stdout
    assert "trainer.accumulate was 1 and is 2" in result.stderr


def test_an_extension_needs_its_source_only_once(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train("run.name=source", "trainer.max_steps=2").returncode == 0
    longer = (f"run.extend_from={tmp_path / 'runs/source'}",)
    refused = train(*longer, "trainer.max_steps=2")
    assert refused.returncode == 2
    assert "trainer.max_steps ends this run at step 2" in refused.stderr and refused.stderr.count("\n") == 1
    assert not (tmp_path / "runs/run").exists()
    stop_at(monkeypatch, 4)
    assert train(*longer).returncode == 143
    shutil.rmtree(tmp_path / "runs/source")
    result = train(*longer)
    assert result.returncode == 0, result.stderr
    assert results_of(tmp_path / "runs/run")["steps"] == 6
    assert [row["step"] for row in log_of(tmp_path / "runs/run") if row["split"] == "validation"] == [4, 6]


def extended(runs: Runs, *overrides: str) -> Any:
    run = runs(*overrides)
    start = resume.find_start(run.folder.path, run.config)
    assert start is not None
    resume.restore(run, start)
    return run


def test_an_extension_keeps_the_whole_state_and_the_row_order(tiny_base: Path, tmp_path: Path) -> None:
    runs = Runs(tiny_base, tmp_path)
    try:
        straight = runs("schedule=constant_cooldown", "schedule.cooldown_steps=1", "trainer.max_steps=6",
                        "model.dropout=0.1", "optim.ema_decay=0.5")
        seen = [[int(i) for part in batch.micro for i in part["example_id"]]
                for batch in itertools.islice(straight.data.loader.iterate(0), 6)]
        take(straight, 3)
        progress = straight.state.progress
        progress.best, progress.best_step, progress.evaluations_without_gain = 1.0, 3, 2
        save.save(straight)
        parts, _ = checkpoint.load_parts(straight.folder.path / "checkpoints/step-3")
        other = ("schedule=constant_cooldown", "schedule.cooldown_steps=1", "model.dropout=0.1", "optim.ema_decay=0.5",
                 "trainer.max_steps=6", f"run.extend_from={straight.folder.path}")
        longer = extended(runs, *other)
        own = {part.name: part.save() for part in longer.state.parts}
        assert own.keys() == parts.keys()
        for name, (tensors, data) in parts.items():
            assert all(torch.equal(value, own[name][0][key]) for key, value in tensors.items()), name
            assert name in ("progress", "schedule", "precision") or own[name][1] == data, name
        progress = longer.state.progress
        assert (progress.step, progress.total) == (3, 6)
        assert (progress.best, progress.best_step, progress.evaluations_without_gain) == (None, None, 0)
        ahead = [[int(i) for part in batch.micro for i in part["example_id"]]
                 for batch in itertools.islice(longer.data.loader.iterate(progress.step), 3)]
        assert ahead == seen[3:]
        take(longer, 3)  # dropout's draws, moments and average go on
        found = copies(longer)
        resume.restore(straight, straight.folder.path / "checkpoints/step-3")
        take(straight, 3)
        assert all(torch.equal(found[name], value) for name, value in copies(straight).items())
    finally:
        runs.close()


@pytest.mark.parametrize(("before", "after"), [("fp32", "fp16"), ("fp16", "bf16"), ("fp16", "fp16")])
def test_an_extension_runs_in_the_precision_asked_for(before: str, after: str, tiny_base: Path, tmp_path: Path) -> None:
    runs = Runs(tiny_base, tmp_path)
    try:
        run = runs(f"precision={before}", "precision.init_scale=1024")
        take(run, 2)
        save.save(run)
        longer = extended(runs, f"precision={after}", "precision.growth_interval=7",
                          f"run.extend_from={run.folder.path}")
        assert longer.precision.running == after
        assert longer.precision.scaler.is_enabled() is (after == "fp16")
        if after == "fp16":
            assert longer.precision.scaler.get_scale() == (1024 if before == "fp16" else 65536)
            assert longer.precision.scaler.get_growth_interval() == 7
        (result,) = take(longer)
        assert longer.state.progress.step == 3 and result.losses["summary"] > 0
    finally:
        runs.close()


@pytest.mark.parametrize("ends", [True, False])
def test_an_extension_may_end_an_average_or_begin_one(ends: bool, tiny_base: Path, tmp_path: Path) -> None:
    """The moments are those of the live weights: with these it goes on."""
    runs = Runs(tiny_base, tmp_path)
    try:
        run = runs(f"optim.ema_decay={0.9 if ends else 0}")
        take(run, 2)
        save.save(run)
        longer = extended(runs, f"optim.ema_decay={0 if ends else 0.9}", f"run.extend_from={run.folder.path}")
        found = copies(longer)
        assert all(torch.equal(found[name], value) for name, value in copies(run).items())
        kept = longer.optimization.average
        assert ends or all(torch.equal(found[name], value) for name, value in kept.average.items())
    finally:
        runs.close()


@pytest.mark.parametrize("before", ["uncertainty", "fixed"])
def test_an_extension_leaves_out_no_state(before: str, tiny_base: Path, tmp_path: Path) -> None:
    runs = Runs(tiny_base, tmp_path)
    try:
        run = runs("objective.base=mlm", f"objective.weighting={before}")
        take(run)
        save.save(run)
        after = "fixed" if before == "uncertainty" else "uncertainty"
        with pytest.raises(CheckpointError, match="state 'weighting' .* take its weights alone by model.init_from"):
            extended(runs, "objective.base=mlm", f"objective.weighting={after}", f"run.extend_from={run.folder.path}")
    finally:
        runs.close()


class Clock:
    """A clock that moves on by one at each look."""

    def __init__(self) -> None:
        self._ticks = itertools.count()

    def perf_counter(self) -> float:
        return float(next(self._ticks))


RESUMES = {
    "average, patience, frozen until behind the stop": (
        "optim.ema_decay=0.8", "trainer.patience=3", "model.freeze_until_step=7", "trainer.max_steps=10",
        "trainer.best_metric=rouge1", "trainer.best_mode=max", "model.dropout=0.1", "head.dropout=0.1"),
    "fp16 with skips before the stop": (
        "precision=fp16", "precision.init_scale=1e7", "optim.ema_decay=0.8", "trainer.max_steps=14",
        "trainer.eval_every=7", "head.dropout=0.1"),
    "minutes with a settled cooldown": (
        "trainer.max_steps=null", "trainer.max_minutes=0.2", "schedule.cooldown_steps=8",
        "trainer.eval_every=6", "head.dropout=0.1"),
}


@pytest.mark.parametrize("case", RESUMES)
def test_a_resume_is_bitwise_with(case: str, train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides, stop = RESUMES[case], 5 if "average" in case else 9
    monkeypatch.setattr(trainer, "time", Clock())
    folders = [tmp_path / "straight", tmp_path / "stopped"]
    for folder in folders:
        folder.mkdir()
    result = train(*overrides, cwd=folders[0])
    assert result.returncode == 0, result.stderr
    stop_at(monkeypatch, stop)
    assert train(*overrides, cwd=folders[1]).returncode == 143
    resumed = train(*overrides, cwd=folders[1])
    assert resumed.returncode == 0, resumed.stderr
    one, two = (folder / "runs/run" for folder in folders)
    assert log_of(one) == log_of(two)
    last = pointers(one / "checkpoints")["last"]
    assert last == pointers(two / "checkpoints")["last"] > stop
    same(one / f"checkpoints/step-{last}", two / f"checkpoints/step-{last}")
    progress = [checkpoint.load_parts(run / f"checkpoints/step-{last}", only="progress")[0]["progress"][1]
                for run in (one, two)]
    assert progress[0] == progress[1]
    if "fp16" in case:
        assert 1 < progress[0]["skipped"] < stop
    if "minutes" in case:  # settled before the stop, and not again
        assert "cooldown from step 6 to the end at step 12" in result.stdout
        assert "cooldown" not in resumed.stdout


@pytest.mark.parametrize(("overrides", "told"), [
    (("data.max_source_tokens=129",), "data.max_source_tokens=129 is more than the 128 tokens"),
    (("head.heads=3",), "a width of 32 (the base's) is no multiple of 3 attention heads (head.heads)"),
    (("head.width=33",), "a width of 33 (head.width) is no multiple of 2 attention heads (the base's)"),
    (("head.width=10", "head.heads=4"), "head.width=10 must be a multiple of head.heads=4"),
    (("trainer.tracker=tensorboard",), r"llmtrain[tensorboard]")])
def test_what_cannot_run_is_one_line(overrides: tuple[str, ...], told: str, train: Any, tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    monkeypatch.setattr("llmtrain.models.task_model.load_trunk", lambda *_: pytest.fail("weights were read"))
    result = train(*overrides)
    assert result.returncode == 2
    assert told in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_no_validation_rows_are_told_before_training(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    load = read_data.load_splits

    def emptied(config: Any, **more: Any) -> Any:
        splits = load(config, **more)
        splits.validation = []
        return splits

    monkeypatch.setattr(read_data, "load_splits", emptied)
    result = train()
    assert result.returncode == 2
    assert "no validation rows" in result.stderr and result.stderr.count("\n") == 1


def test_the_first_lines_say_what_lambda_means_and_each_step_what_was_lost(train: Any) -> None:
    result = train("trainer.max_steps=4", "objective.lam=0.3")
    assert "objective: select + lambda * summary, lambda = 0.3: under Adam the ratio" in result.stdout
    line = next(line for line in result.stdout.splitlines() if line.startswith("step 4/4"))
    assert "select 0." in line and "summary " in line and line.endswith("tokens/s")


def test_a_first_save_tells_the_bytes_of_a_whole_checkpoint(train: Any, monkeypatch: pytest.MonkeyPatch,
                                                            tmp_path: Path) -> None:
    publish = save.publish
    made = train("run.name=other")
    assert made.returncode == 0, made.stderr
    whole = folder_size(next((tmp_path / "runs/other/checkpoints").glob("step-*")))

    def full(run: Any, folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "model.safetensors"))

    monkeypatch.setattr(save, "publish", full)
    result = train()
    assert result.returncode == 5
    (needed,) = re.findall(r"model\.safetensors \(No space left on device\): (\d+) bytes are needed", result.stderr)
    assert 0.9 * whole < int(needed) < 1.3 * whole
    monkeypatch.setattr(save, "publish", publish)
    assert train().returncode == 0
