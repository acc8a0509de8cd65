"""Rows about several processes: one folder wanted by two, data workers that are lost."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from torture.bench import Bench, Run, must
from torture.observe import alike, finished


def one_folder(bench: Bench, n: int, draw: random.Random) -> str:
    """R15: two runs in one folder within a millisecond; one wins, the other exits 2 and changes nothing.

    In every second trial the winner is killed: its lock dies with it, and the next start goes on. Either way the run
    ends, bit by bit, as one that nobody else wanted.
    """
    killed, straight = 0, bench.run_folder("alone")
    finished(bench, *bench.train_args(straight.name))
    for trial in range(n):
        folder = bench.run_folder(f"shared-{trial}")
        args = bench.train_args(folder.name)
        winner = won(bench.start(*args), bench.start(*args), folder)
        if draw.random() < 0.5:
            time.sleep(draw.uniform(0, 0.9))
            winner.send(signal.SIGKILL)
            winner.wait()
            killed += 1
            again = bench.cli(*args)
            must(again.code == 0, f"after its holder was killed the folder is not usable: {again.err()}")
        else:
            must(winner.wait() == 0, f"the winner ended with {winner.code}: {winner.err()}")
        must((folder / "results.json").is_file(), "no results.json")
        alike(straight, folder, 6)
    return f"{n} pairs, one winner each; {killed} holders killed and gone on from"


def won(first: Run, second: Run, folder: Path) -> Run:
    """The one of two that is still running once the other was refused in one line."""
    must(first.until(lambda: not first.running or not second.running), "neither run was refused")
    loser, winner = (second, first) if first.running else (first, second)
    must(loser.wait() == 2, f"the refused run ended with {loser.code}: {loser.err()}")
    lines = loser.err().strip().splitlines()
    must(len(lines) == 1 and "already using" in lines[0] and str(folder) in lines[0], f"the refused run said {lines}")
    return winner


TIMEOUT = 4  # trainer.timeout_seconds
MOMENTS = ("starting", "collating", "handing over")


def worker_lost(bench: Bench, n: int, draw: random.Random) -> str:
    """R11: a data worker is killed or stopped: while it starts, collates, or hands a batch over.

    The run ends with 5 and one line, in 15 s or the timeout and 10 s, and leaves no process behind; the next start
    goes on bitwise.
    """
    args = ("data.workers=2", f"trainer.timeout_seconds={TIMEOUT}", "trainer.max_steps=12")
    straight, slowest = bench.run_folder("workers-whole"), {"killed": 0.0, "stopped": 0.0}
    finished(bench, *bench.train_args(straight.name, *args))
    for trial in range(n):
        what, moment = ("killed", "stopped")[trial % 2], MOMENTS[(2 - trial // 2) % 3]
        folder, tell = bench.run_folder(f"worker-{trial}"), bench.folder / f"lost-{trial}"
        told = f"worker {what} while {moment}"
        run = bench.cli(*bench.train_args(folder.name, *args), hook=(
            "torture.hooks:lose_worker", [moment, draw.randrange(2), draw.randint(1, 3), what, draw.uniform(0, 0.02),
                                          str(tell)]))
        left = session(run.pid)
        for pid in left:  # before anything is raised: nobody else would end a stopped one
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        must(tell.exists(), f"{told}: it was not; the run ended with {run.code}: {run.err()[-600:]}")
        took = (run.ended or 0) - float(tell.read_text(encoding="utf-8"))
        lines = run.err().splitlines()
        must(run.code == 5 and len(lines) == 1 and "data worker was lost" in lines[0] and len(lines[0]) < 400,
             f"{told}: it ended with {run.code} and said {run.err()[-900:]}")
        must(took < (15 if what == "killed" else TIMEOUT + 10), f"{told}: it took {took:.1f} s to end")
        must(not left, f"{told}: processes are left: {left}")
        slowest[what] = max(slowest[what], took)
        finished(bench, *bench.train_args(folder.name, *args))
        alike(straight, folder, 12)
        shutil.rmtree(folder)
    return (f"ended at most {slowest['killed']:.1f} s after a kill, {slowest['stopped']:.1f} s after a stop (timeout "
            f"{TIMEOUT} s); each gone on with bitwise")


def session(leader: int) -> list[int]:
    """The processes of a session."""
    found = subprocess.run(["ps", "-o", "pid=", "-s", str(leader)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]
