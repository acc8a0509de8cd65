"""Rows about a run that ends in the middle: killed, killed inside a save, or stopped at any step."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

from torture.bench import Bench, Run, must
from torture.observe import alike, finished, left_over, pointed, steps, whole_steps

SETTINGS = (("precision=fp32",), ("precision=bf16",), ("precision=fp16", "precision.growth_interval=3"),
            ("precision=fp32", "data.workers=2"), ("precision=fp32", "trainer.accumulate=2"))
MOVING = ("trainer.best_metric=loss.summary",)  # a weighted loss that moves cannot choose
# the short form comes to the first ones
CHOICES = (*SETTINGS, ("tuning=lora",),
           ("precision=fp16", "optim.ema_decay=0.9", "objective.weighting=uncertainty", *MOVING),
           ("head=gru", "optim.name=muon"), ("head=lstm", "precision=bf16", "head.input_feeding=true"),
           ("head=prefix_lm", "objective.base=mlm", "objective.weighting=pcgrad", *MOVING),
           ("head=extractive", "objective=summary_only", "optim.name=adafactor"),
           ("head=ext_abs", "objective.base=extraction", "objective.weighting=gradnorm", *MOVING),
           ("objective.base=mlm", "objective.weighting=famo", "trainer.accumulate=2", *MOVING),
           ("objective.base=denoise", "objective.weighting=dwa", "objective.dwa.window=2", *MOVING),
           ("objective=base_only", "objective.base=mlm"),
           ("objective.weighting=step", "objective.step.share=0.3", "precision=bf16", *MOVING),
           ("objective.weighting=linear", "objective.lam_start=0.1", "objective.lam_steps=9", "optim.name=adam8bit",
            *MOVING),
           ("task=translation", "objective=joint_mlm"),
           ("task=translation", "head=gru", "precision=fp16", "precision.init_scale=1e7", "tuning=lora",
            "objective=task_only"),
           ("task=question_answering", "head=span", "objective=joint_mlm", "precision=bf16"),
           ("task=question_answering", "head=span", "head.hidden=16", "precision=fp16", "precision.init_scale=1e7",
            "tuning=lora", "objective=task_only"),
           ("model.freeze=all", "model.freeze_until_step=7", "data.workers=1"),
           ("task=classification", "head=classifier", "objective=joint_mlm", "precision=bf16"),
           ("task=classification", "head=classifier", "objective=task_only", "precision=fp16", "tuning=lora",
            "precision.init_scale=1e7", "head.pooling=attention"),
           ("task=multi", "objective=task_only", "precision=bf16"),
           ("task=multi", "task.mix=even", "objective=joint_mlm", "precision=fp16", "precision.init_scale=1e7",
            "tuning=lora"),
           ("trainer.max_minutes=0.1", "trainer.max_steps=null"),
           ("trainer.max_minutes=0.1", "trainer.max_steps=null", "schedule.name=constant_cooldown",
            "schedule.cooldown_steps=6"))
TOTAL = 24  # steps of R5's runs
CLOCK = 0.1 * 60 / TOTAL  # seconds that its steps take
INSIDE_A_SAVE = 0.6  # of the kills


def killed(bench: Bench, n: int, draw: random.Random) -> str:
    """R1: ``kill -9``, several a run, most of them inside a save; then the run goes on to its end.

    The whole run is bitwise one that was never killed, and what was once seen as saved is never lost.
    """
    inside = runs = 0
    straight: dict[int, Path] = {}
    while n > 0:
        setting = runs % len(SETTINGS)
        args = [*SETTINGS[setting], "trainer.max_steps=12"]
        if setting not in straight:
            name = f"straight-{setting}"
            finished(bench, *bench.train_args(name, *args))
            straight[setting] = bench.run_folder(name)
        folder, saved = bench.run_folder(f"killed-{runs}"), 0
        for _ in range(min(n, draw.randint(2, 4))):
            run = bench.start(*bench.train_args(folder.name, *args))
            inside += kill(run, folder, draw)
            n -= 1
            seen = max(whole_steps(folder), default=0)
            must(seen >= saved, f"step {saved} was saved and after a kill the newest whole one is {seen}")
            saved = seen
        finished(bench, *bench.train_args(folder.name, *args))
        alike(straight[setting], folder, 12)
        must(not left_over(folder), f"left over: {left_over(folder)}")
        shutil.rmtree(folder)
        runs += 1
    return f"{runs} runs bitwise like those never killed; {inside} of the kills inside a save"


def kill(run: Run, folder: Path, draw: random.Random) -> bool:
    """kill -9 at a random moment, aimed into a save or anywhere; returns whether a save was in progress."""
    if draw.random() < INSIDE_A_SAVE:
        for _ in range(draw.randint(1, 3)):
            run.until(lambda: saving(folder), pause=0.0002)
            if draw.random() < 0.5:
                break
            run.until(lambda: not saving(folder), pause=0.0002)
        time.sleep(draw.uniform(0, 0.008))
    else:
        time.sleep(draw.uniform(0, 0.9))
    run.send(signal.SIGKILL)
    run.wait()
    return saving(folder)


def saving(folder: Path) -> bool:
    return any((folder / "checkpoints").glob(".tmp-*"))


def stopped(bench: Bench, n: int, draw: random.Random) -> str:
    """R5: stopped by SIGTERM at a step and gone on with: bitwise the run never stopped. Precisions, workers and
    micro-batches first, then adapters, averages, heads, objectives, weightings and optimizers."""
    seen = []
    for trial in range(n):
        setting = trial % len(CHOICES)
        args = [f"trainer.max_steps={TOTAL}", *CHOICES[setting], "trainer.eval_every=9", "trainer.keep_last=99"]
        timed = any("max_minutes" in one for one in args)
        clock = ("torture.hooks:steady_clock", [CLOCK]) if timed else None
        straight = bench.run_folder(f"whole-{setting}")
        if not straight.is_dir():
            finished(bench, *bench.train_args(straight.name, *args), hook=clock)
        step = 1 + (trial // len(CHOICES)) % (TOTAL - 1) if n >= 3 * TOTAL else draw.randint(1, TOTAL - 1)
        folder = bench.run_folder(f"stopped-{trial}")
        run = bench.cli(*bench.train_args(folder.name, *args),
                        hook=("torture.hooks:signal_at_step", [step, signal.SIGTERM, CLOCK if timed else None]))
        must(run.code == 143, f"{args[:3]} stopped at step {step} ended with {run.code}: {run.err()}")
        must(pointed(folder, "last") == step, f"stopped at step {step}, last is {pointed(folder, 'last')}")
        finished(bench, *bench.train_args(folder.name, *args), hook=clock)
        alike(straight, folder, TOTAL)
        shutil.rmtree(folder)
        seen.append(step)
    return f"stopped at steps {sorted(seen)[:12]}{' ...' if n > 12 else ''}, all bitwise"


def crash_points(bench: Bench, n: int, draw: random.Random) -> str:
    """R16: killed at every change that saving, pointing and pruning make, with keep_last=1 and with 2.

    There is always a whole checkpoint once there was one, the best one stays, and a stale later step that was copied
    in, a missing pointer, or folders dated back, mislead nobody.
    """
    done = [crash_points_of(bench, keep, n // 2 + n % 2 * (keep == 1), draw) for keep in (1, 2)]
    return f"{done[0]} points with keep_last=1, {done[1]} with 2"


def crash_points_of(bench: Bench, keep: int, n: int, draw: random.Random) -> str:
    """So many of the points of a run with this ``keep_last``, all when there are no more."""
    args = [f"trainer.keep_last={keep}", "trainer.max_steps=8", "trainer.best_mode=max"]  # an early step stays the best
    straight = bench.run_folder(f"counted-{keep}")
    tell = bench.folder / f"writes-{keep}"
    finished(bench, *bench.train_args(straight.name, *args),
             hook=("torture.hooks:count_writes", [str(straight / "checkpoints"), str(tell)]))
    total = int(tell.read_text())
    points = range(1, total + 1) if n >= total else sorted(draw.sample(range(1, total + 1), n))
    for point in points:
        folder = bench.run_folder(f"point-{keep}-{point}")
        run = bench.cli(*bench.train_args(folder.name, *args),
                        hook=("torture.hooks:kill_at_write", [str(folder / "checkpoints"), point]))
        must(run.code == -signal.SIGKILL, f"point {point}: it ended with {run.code}")
        must(bool(whole_steps(folder)) or not steps(folder), f"point {point}: no whole checkpoint is left")
        best = pointed(folder, "best")
        must(best is None or best in whole_steps(folder), f"point {point}: the best checkpoint {best} is gone")
        mislead(bench, folder, args, draw)
        finished(bench, *bench.train_args(folder.name, *args))
        alike(straight, folder, 8)
        must(steps(folder) == steps(straight), f"point {point}: {steps(folder)} is left, not {steps(straight)}")
        shutil.rmtree(folder)
    return f"{len(list(points))} of {total}"


CONFIGURED, PROCEEDED = ("run.seed=77",), ("trainer.accumulate=2",)  # what tells a run from elsewhere: its
# configuration, or nothing but the checkpoint that its own follow


def mislead(bench: Bench, folder: Path, args: list[str], draw: random.Random) -> None:
    """Before the next start: files dated back, or not; a later step from elsewhere, no ``last``, both, or neither."""
    if draw.random() < 0.5:
        date_back(folder, draw)
    last = folder / "checkpoints" / "last"
    where, gone = draw.choice(((None, False), (None, True), (CONFIGURED, False), (CONFIGURED, True),
                               (PROCEEDED, False)))
    if where is not None and steps(folder) and (where is CONFIGURED or last.exists()):
        copy_foreign(bench, folder, [*args, *where, "trainer.keep_last=9"], draw)
    if gone and steps(folder):
        last.unlink(missing_ok=True)


def copy_foreign(bench: Bench, folder: Path, args: list[str], draw: random.Random) -> None:
    """Copy a later step of a run with these arguments into this one's checkpoints, where there is room for one."""
    other = bench.run_folder(f"elsewhere-{args[-2]}")
    if not other.is_dir():
        finished(bench, *bench.train_args(other.name, *args))
    newest = max([pointed(folder, "last") or 0, *steps(folder)])
    if later := [step for step in steps(other) if step > newest]:
        name = f"step-{draw.choice(later)}"
        shutil.copytree(other / "checkpoints" / name, folder / "checkpoints" / name)


def date_back(folder: Path, draw: random.Random) -> None:
    """As a clock set back would have dated everything."""
    for path in (folder / "checkpoints").glob("*"):
        os.utime(path, (draw.uniform(0, 1e9),) * 2)
