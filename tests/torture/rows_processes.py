"""Rows about several processes: one folder wanted by two."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from torture.bench import Bench, Run, must


def one_folder(bench: Bench, n: int, draw: random.Random) -> str:
    """R15: two runs in one folder within a millisecond; one wins, the other exits 2 and changes nothing.

    In every second trial the winner is killed: its lock dies with it, and the next start goes on.
    """
    killed = 0
    for trial in range(n):
        folder = bench.run_folder(f"shared-{trial}")
        args = bench.train_args(folder.name)
        winner = won(bench.start(*args), bench.start(*args), folder)
        if draw.random() < 0.5:
            time.sleep(draw.uniform(0, 1.5))
            winner.send(signal.SIGKILL)
            winner.wait()
            killed += 1
            again = bench.cli(*args)
            must(again.code == 0, f"after its holder was killed the folder is not usable: {again.err()}")
        else:
            must(winner.wait() == 0, f"the winner ended with {winner.code}: {winner.err()}")
        must((folder / "results.json").is_file(), "no results.json")
    return f"{n} pairs, one winner each; {killed} holders killed and gone on from"


def won(first: Run, second: Run, folder: Path) -> Run:
    """The one of two that is still running once the other was refused in one line."""
    must(first.until(lambda: not first.running or not second.running), "neither run was refused")
    loser, winner = (second, first) if first.running else (first, second)
    must(loser.wait() == 2, f"the refused run ended with {loser.code}: {loser.err()}")
    lines = loser.err().strip().splitlines()
    must(len(lines) == 1 and "already using" in lines[0] and str(folder) in lines[0], f"the refused run said {lines}")
    return winner
