"""Rows about what happens to a run's files: damaged bit by bit, moved between steps, copied in from elsewhere."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

from torture.bench import Bench, must
from torture.observe import alike, finished, pointed, steps, whole_steps

SCRIPT = Path(__file__).with_name("damage.py")


def damaged(bench: Bench, n: int, draw: random.Random) -> str:
    """R6: one bit flipped, a file truncated, zeroed, or swapped with another step's, any file of a checkpoint.

    It is refused by name, or the previous good one is used with a warning that names both. Most trials ask the
    library, in one process; every thirtieth is a whole run whose newest step, best step or pointer to the best is
    damaged: commands that are to use that refuse it, and the run goes on to the end that it must have.
    """
    args = ["trainer.max_steps=6", "trainer.keep_last=9", "trainer.best_mode=max"]  # an early step stays the best
    straight = bench.run_folder("undamaged")
    finished(bench, *bench.train_args(straight.name, *args))
    must(pointed(straight, "best") == 2, f"best is {pointed(straight, 'best')} of {steps(straight)}")
    run = bench.cli(str(straight / "checkpoints"), str(bench.folder / "damage"), str(n), str(draw.randrange(1 << 30)),
                    script=SCRIPT, timeout=max(120, n))
    must(run.code == 0, f"{run.out()[-800:]}{run.err()[-800:]}")
    kinds = (newest_damaged, best_damaged, pointer_damaged)
    whole = len(kinds) + n // 30
    for trial in range(whole):
        folder = bench.run_folder(f"damaged-{trial}")
        shutil.copytree(straight, folder)
        (folder / "results.json").unlink()
        kinds[trial % len(kinds)](bench, folder, straight, args, draw)
        shutil.rmtree(folder)
    return f"{run.out().strip()}; {whole} whole runs went on as they must"


def newest_damaged(bench: Bench, folder: Path, straight: Path, args: list[str], draw: random.Random) -> None:
    """The run goes on from the step before, to the same end."""
    step_damaged(bench, folder, 6, folder / "checkpoints" / "step-6", "step-4", args, draw)
    alike(straight, folder, 6)


def best_damaged(bench: Bench, folder: Path, straight: Path, args: list[str], draw: random.Random) -> None:
    """The run goes on from its newest step, which is the best from now on."""
    step_damaged(bench, folder, 2, folder, "step-6", args, draw)
    must(pointed(folder, "best") == 6 in whole_steps(folder), f"best is {pointed(folder, 'best')}")
    scored = json.loads((folder / "results.json").read_text(encoding="utf-8"))["best_step"]
    must(scored == 6, f"step {scored} was scored")


def step_damaged(bench: Bench, folder: Path, number: int, given: Path, instead: str, args: list[str],
                 draw: random.Random) -> None:
    """One bit of a step is flipped: commands given it refuse it, and the run goes on from another that it names."""
    step = folder / "checkpoints" / f"step-{number}"
    path = flip(step, draw)
    refused_by_name(bench, given, step, draw)
    told = finished(bench, *bench.train_args(folder.name, *args)).err()
    must(step.name in told and instead in told, f"{path}: no warning names both: {told}")


def pointer_damaged(bench: Bench, folder: Path, straight: Path, args: list[str], draw: random.Random) -> None:
    """What the pointer said is known from the state; the end is the same."""
    best = folder / "checkpoints" / "best"
    data = best.read_bytes()
    best.write_bytes(draw.choice((b"", data[:draw.randrange(len(data) - 1)], bytes(len(data)))))
    refused_by_name(bench, folder, best, draw)
    finished(bench, *bench.train_args(folder.name, *args))
    alike(straight, folder, 6)


def flip(step: Path, draw: random.Random) -> Path:
    """Flip one bit of one file of a step; returns the file."""
    path = draw.choice(sorted(path for path in step.rglob("*") if path.is_file() and path.stat().st_size))
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)
    return path


def refused_by_name(bench: Bench, given: Path, damaged: Path, draw: random.Random) -> None:
    """A command that is to use what is damaged ends with 3 and names it."""
    document = bench.folder / "one.txt"
    document.write_text("a red system", encoding="utf-8")
    command = draw.choice((["eval", f"checkpoint={given}"], ["summarize", f"checkpoint={given}", f"input={document}"],
                           ["verify", str(damaged)]))
    run = bench.cli(*command)
    lines = run.err().splitlines()
    must(run.code == 3 and any(str(damaged) in line for line in lines) and max(map(len, lines)) < 400,
         f"llmtrain {' '.join(command)} of a damaged {damaged} ended with {run.code} and said {run.err()[-800:]}")
