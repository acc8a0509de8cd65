"""Rows about numbers: weights and losses that are not finite, fp16's overflows."""

from __future__ import annotations

import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from torture.bench import Bench, must
from torture.observe import alike, finished, log_rows, pointed, steps

PRECISIONS = ("fp32", "bf16", "fp16")
OPTIMIZERS = (("optim.name=adamw",), ("optim.name=adafactor",), ("optim.name=muon",), ("optim.name=adam8bit",),
              ("optim.name=adamw", "tuning=lora"))
TERMS = ("mlm", "summary")
HUGE = 3e38  # finite in fp32 and bf16


def not_finite(bench: Bench, n: int, draw: random.Random) -> str:
    """R7: a loss that is not finite on one row, weights that are huge, a base that holds NaN.

    The run stops with exit code 4, or skips the step, as it is told to, and names term, step and row; such a base is
    refused with 3. No checkpoint holds such a number, and the best value is never one.
    """
    kinds = (one_row, spoilt_base, one_row_skipped, huge_weight, too_fast, accumulated)
    for trial in range(n):
        folder = bench.run_folder(f"numbers-{trial}")
        precision = PRECISIONS[trial // len(kinds) % 3] if n >= 3 * len(kinds) else draw.choice(PRECISIONS)
        kinds[trial % len(kinds)](bench, folder, [f"precision={precision}", "precision.on_unsupported=run"], draw)
        all_finite(folder)
        shutil.rmtree(folder, ignore_errors=True)
    return f"{min(n, len(kinds))} of {len(kinds)} kinds"


def one_row(bench: Bench, folder: Path, args: list[str], draw: random.Random) -> None:
    term, row, value = draw.choice(TERMS), draw.randint(0, 47), draw.choice((math.nan, math.inf))
    run = bench.cli(*bench.train_args(folder.name, *ONE_PASS, *args),
                    hook=("torture.hooks:spoil_row", [term, row, value]))
    about = f"{term} of row {row} times {value} ({args[0]})"
    must(run.code == 4, f"{about}: it ended with {run.code}: {run.err()[-800:]}")
    lines = [line for line in run.err().splitlines() if "stopped: " in line]
    told = len(lines) == 1 and f"term {term}, rows 0-{row})" in lines[0] and "step " in lines[0] and len(lines[0]) < 400
    must(told, f"{about}: it said {lines}")


def one_row_skipped(bench: Bench, folder: Path, args: list[str], draw: random.Random) -> None:
    term, row = draw.choice(TERMS), draw.randint(0, 47)
    run = finished(bench, *bench.train_args(folder.name, *ONE_PASS, *args, "trainer.on_nonfinite=skip"),
                   hook=("torture.hooks:spoil_row", [term, row, math.nan]))
    lines = [line for line in run.err().splitlines() if "skipped: " in line]
    must(len(lines) == 1 and f"term {term}, rows 0-{row})" in lines[0], f"{term} of row {row}: it said {lines}")
    counts = [one["scaler.skipped"] for one in log_rows(folder) if one["split"] == "train"]
    must(counts[-1] == 1, f"{term} of row {row}: skipped steps are counted as {counts}")


def spoilt_base(bench: Bench, folder: Path, args: list[str], draw: random.Random) -> None:
    value = draw.choice((math.nan, math.inf, -math.inf))
    run = bench.cli(*bench.train_args(folder.name, *args, f"model.path={changed_base(bench, folder, value, draw)}"))
    lines = [line for line in run.err().splitlines() if " in encoder.layer" in line]
    must(run.code == 3 and len(lines) == 1 and len(lines[0]) < 400,
         f"a base that holds {value}: it ended with {run.code} and said {run.err()[-800:]}")


def huge_weight(bench: Bench, folder: Path, args: list[str], draw: random.Random) -> None:
    skip = draw.random() < 0.5
    args = [*args, f"trainer.on_nonfinite={'skip' if skip else 'stop'}"]
    run = bench.cli(*bench.train_args(folder.name, *args, f"model.path={changed_base(bench, folder, HUGE, draw)}"))
    text = run.err()
    must("Traceback" not in text and "unexpected" not in text, f"huge weights {args}: {text[-1500:]}")
    must(run.code in (0, 4), f"huge weights {args}: it ended with {run.code}: {text[-800:]}")
    must(run.code == 0 or "step 1 stopped" in text or skip, f"huge weights {args}: it said {text[-800:]}")


def too_fast(bench: Bench, folder: Path, args: list[str], draw: random.Random) -> None:
    """An update that leaves weights beyond fp32, right before a save."""
    args = [*args, "optim.base_lr=3e38", "optim.head_lr=3e38", "schedule.warmup_steps=0", "trainer.save_every=1"]
    run = bench.cli(*bench.train_args(folder.name, *args))
    lines = [line for line in run.err().splitlines() if "finite" in line]
    must(run.code == 4 and len(lines) == 1, f"weights beyond fp32: it ended with {run.code}: {run.err()[-800:]}")


def accumulated(bench: Bench, folder: Path, args: list[str], draw: random.Random) -> None:
    """Each loss is a mean over the whole step's items, however many micro-batches it takes."""
    losses = []
    for pieces in (1, 4):
        finished(bench, *bench.train_args(folder.name, *args, "model.dropout=0", "head.dropout=0",
                                          "trainer.max_steps=1", f"trainer.accumulate={pieces}"))
        losses.append({key: value for key, value in log_rows(folder)[0].items() if key.startswith("loss.")})
        all_finite(folder)
        shutil.rmtree(folder)
    for key, value in losses[0].items():
        must(math.isclose(value, losses[1][key], rel_tol=0.02), f"{key} is {value} in one piece and {losses[1][key]} "
                                                                "in 4 micro-batches")


ONE_PASS = ("trainer.max_steps=6", "objective.base=mlm", "objective.mlm.fraction=1")  # of 8 rows: every row once


def changed_base(bench: Bench, run: Path, value: float, draw: random.Random) -> Path:
    """A copy of the base with one number, or where it is finite one matrix, set to ``value``."""
    copy = bench.folder / f"base-of-{run.name}"
    shutil.copytree(bench.base(), copy, dirs_exist_ok=True)
    path = copy / "model.safetensors"
    tensors = load_file(path)
    name = draw.choice([name for name in sorted(tensors) if "encoder.layer" in name and name.endswith("dense.weight")])
    if math.isfinite(value):
        tensors[name].fill_(value)
    else:
        tensors[name].view(-1)[draw.randrange(tensors[name].numel())] = value
    save_file(tensors, path, metadata={"format": "pt"})
    return copy


def all_finite(folder: Path) -> None:
    """No tensor of any checkpoint and no best value is NaN or infinite."""
    for path in (folder / "checkpoints").rglob("*.safetensors"):
        for name, tensor in load_file(path).items():
            must(not tensor.is_floating_point() or bool(torch.isfinite(tensor.float()).all()),
                 f"{path.relative_to(folder)} holds {name}, which is not finite")
    for path in (folder / "checkpoints").glob("best"):
        value = json.loads(path.read_text(encoding="utf-8")).get("value")
        must(value is None or math.isfinite(value), f"the best value is {value}")


def overflows(bench: Bench, n: int, draw: random.Random) -> str:
    """R8: fp16 overflows in known steps, with each optimizer in turn; the run is also stopped and gone on with.

    Such a step is counted, halves the scale, and moves neither weights, moments, average nor schedule; all of that is
    the same over a stop.
    """
    total, done = 10, []
    for trial in range(n):
        chosen = OPTIMIZERS[trial % len(OPTIMIZERS)]
        name = " ".join(chosen)
        bad = sorted(draw.sample(range(1, total - 1), draw.randint(2, 4)))
        stop = draw.randint(bad[0] + 1, total - 1)  # the scale has moved by then
        args = ["precision=fp16", "precision.init_scale=256", "precision.on_unsupported=run",
                *chosen, f"trainer.max_steps={total}",
                "trainer.save_every=1", "trainer.eval_every=5",
                "trainer.keep_last=99", "optim.ema_decay=0.5",
                "objective.base=mlm", "objective.weighting=uncertainty", "trainer.best_metric=loss.summary"]
        whole, halted = bench.run_folder(f"overflow-{trial}"), bench.run_folder(f"overflow-{trial}-stopped")
        finished(bench, *bench.train_args(whole.name, *args), hook=("torture.hooks:overflow_at", [bad]))
        stands_still(whole, bad, total, f"{name}, overflow behind steps {bad}")
        run = bench.cli(*bench.train_args(halted.name, *args), hook=("torture.hooks:overflow_at", [bad, stop]))
        must(run.code == 143 and pointed(halted, "last") == stop, f"{name}: ended with {run.code}: {run.err()[-800:]}")
        finished(bench, *bench.train_args(halted.name, *args), hook=("torture.hooks:overflow_at", [bad]))
        alike(whole, halted, total)
        for folder in (whole, halted):
            shutil.rmtree(folder)
        done.append(name)
    return f"{', '.join(dict.fromkeys(done))}: each also stopped and gone on with, bitwise"


def stands_still(folder: Path, bad: list[int], total: int, about: str) -> None:
    """What a skipped step may and may not change, told by the log and by the checkpoints on both sides of it."""
    rows = {row["step"]: row for row in log_rows(folder) if row["split"] == "train"}
    must(sorted(rows) == list(range(1, total + 1)), f"{about}: steps {sorted(rows)} were logged")
    must(steps(folder) == list(range(1, total + 1)), f"{about}: steps {steps(folder)} were saved")
    for step in range(2, total + 1):
        before, now, skipped = rows[step - 1], rows[step], step - 1 in bad
        count = sum(one < step for one in bad)
        counted, found = now["scaler.skipped"], now["scaler.scale"]
        must(counted == count, f"{about}: step {step} counts {counted} skipped, not {count}")
        scale = before["scaler.scale"] / (2 if skipped else 1)
        must(found == scale, f"{about}: after step {step} the scale is {found}, not {scale}")
        same_rate = rates(before) == rates(now)
        must(same_rate == (step - 2 in bad), f"{about}: the rate went from {rates(before)} to {rates(now)} at step "
                                             f"{step}")
        for part in ("state/average", "state/weights", "state/optimizer", "model/model"):
            one, two = (tensors_of(folder, at, part) for at in (step - 1, step))
            changed = [key for key in two if key not in one or not torch.equal(one[key], two[key])]
            must(bool(changed) != skipped, f"{about}: step {step} {'was skipped and' if skipped else 'left'} "
                                           f"{part} {f'changed {changed[:2]}' if skipped else 'unchanged'}")


def rates(row: dict[str, Any]) -> dict[str, float]:
    return {key: value for key, value in row.items() if key.startswith("lr.")}


def tensors_of(folder: Path, step: int, part: str) -> dict[str, torch.Tensor]:
    path = folder / "checkpoints" / f"step-{step}" / f"{part}.safetensors"
    must(path.is_file(), f"there is no {path}")
    return load_file(path)
