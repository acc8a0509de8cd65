"""How long a training step takes beside a program that keeps one core busy, by how OpenMP's threads wait.

    python scripts/benchmarks/busy_core.py [--rounds 3] [--root runs/busy_core] [-- OVERRIDE ...]

Each round trains with each way of waiting, on the idle machine and beside the busy core. It tells medians of the
rounds, and whether the weights of all runs are the same bytes. Run it on an otherwise quiet machine.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from common import pace, table

WAITING = "OMP_WAIT_POLICY"
WAYS = {"torch's own": {"GOMP_SPINCOUNT": "300000"}, "llmtrain's": {}}  # libgomp's own count; nothing set
LOOP = "import os\nif hasattr(os, 'sched_setaffinity'):\n    os.sched_setaffinity(0, {CORE})\nwhile True:\n    pass\n"


@contextmanager
def busy(core: int | None) -> Iterator[None]:
    """A loop that keeps that core busy; none without a number."""
    if core is None:
        yield
        return
    loop = subprocess.Popen([sys.executable, "-c", LOOP.replace("CORE", str(core))])
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


@contextmanager
def waiting(variables: dict[str, str]) -> Iterator[None]:
    """These variables, and no others about waiting, for the processes that are started."""
    names = (WAITING, "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


def weights(run: Path) -> str:
    """What the last checkpoint's weights are, in short."""
    file = max(run.glob("checkpoints/step-*/model/model.safetensors"),
               key=lambda path: int(path.parents[1].name.removeprefix("step-")))
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def measured(root: Path, rounds: int, overrides: list[str], core: int,
             ) -> tuple[dict[tuple[str, bool], float], set[str]]:
    """Median seconds of a step by way of waiting and whether the core is busy, and the different weights."""
    seconds: dict[tuple[str, bool], list[float]] = {}
    found = set()
    for number in range(rounds):
        for loaded in (False, True):
            for index, (way, variables) in enumerate(WAYS.items()):
                name = f"{index}-{'busy' if loaded else 'idle'}-{number}"
                with waiting(variables), busy(core if loaded else None):
                    seconds.setdefault((way, loaded), []).append(pace(root, name, overrides))
                found.add(weights(root / name))
    return {key: median(values) for key, values in seconds.items()}, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--root", type=Path)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    root = options.root or Path(tempfile.mkdtemp(prefix="busy-core-"))
    found, different = measured(root, options.rounds, options.overrides, cores[0])
    print(table(["threads wait as", "ms a step, idle", "ms a step, one core busy", "times"], [
        [way, f"{1000 * found[way, False]:.0f}", f"{1000 * found[way, True]:.0f}",
         f"{found[way, True] / found[way, False]:.2f}"] for way in WAYS]))
    print(f"weights at the end: {'the same bytes in all runs' if len(different) == 1 else sorted(different)}")


if __name__ == "__main__":
    main()
