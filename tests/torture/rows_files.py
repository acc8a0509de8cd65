"""Rows about what happens to a run's files: damaged bit by bit, moved between steps, copied in from elsewhere."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from torture.bench import Bench, must
from torture.observe import alike, finished, pointed, steps

SCRIPT = Path(__file__).with_name("damage.py")


def damaged(bench: Bench, n: int, draw: random.Random) -> str:
    """R6: one bit flipped, a file truncated, zeroed, or swapped with another step's, any file of a checkpoint.

    It is refused by name, or the previous good one is used with a warning that names both. Most trials ask the
    library, in one process; every thirtieth is a whole run that must go on to the same end.
    """
    args = ["trainer.max_steps=6", "trainer.keep_last=9"]
    straight = bench.run_folder("undamaged")
    finished(bench, *bench.train_args(straight.name, *args))
    run = bench.cli(str(straight / "checkpoints"), str(bench.folder / "damage"), str(n), str(draw.randrange(1 << 30)),
                    script=SCRIPT, timeout=max(120, n))
    must(run.code == 0, f"{run.out()[-800:]}{run.err()[-800:]}")
    whole = 1 + n // 30
    for trial in range(whole):
        folder = bench.run_folder(f"damaged-{trial}")
        shutil.copytree(straight, folder)
        (folder / "results.json").unlink()
        step = folder / "checkpoints" / "step-6"
        path = draw.choice(sorted(path for path in step.rglob("*") if path.is_file() and path.stat().st_size))
        data = bytearray(path.read_bytes())
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        again = finished(bench, *bench.train_args(folder.name, *args))
        must("step-6" in again.err() and "step-4" in again.err(), f"{path}: no warning names both: {again.err()}")
        alike(straight, folder, 6)
        shutil.rmtree(folder)
    return f"{run.out().strip()}; {whole} whole runs went on from the step before, bitwise"


def copy_foreign(bench: Bench, folder: Path, draw: random.Random) -> None:
    """Copy a later step of another run into this one's checkpoints, where there is room for one."""
    other = bench.run_folder("elsewhere")
    if not other.is_dir():
        finished(bench, *bench.train_args(other.name, "run.seed=77", "trainer.max_steps=8", "trainer.eval_every=1",
                                          "trainer.keep_last=9"))
    newest = max([pointed(folder, "last") or 0, *steps(folder)])
    if newest < 8:
        name = f"step-{draw.randint(newest + 1, 8)}"
        shutil.copytree(other / "checkpoints" / name, folder / "checkpoints" / name)
