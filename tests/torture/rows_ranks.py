"""The row about ranks: one of two is lost, and the other must say so and end."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from torture.bench import Bench, Run, must
from torture.observe import alike, finished, pointed, steps
from two_ranks import free_port

FAULTS = [(what, phase) for what in ("killed", "stopped", "raising", "exiting")
          for phase in ("all-reduce", "save", "forward")]
CODES = {"killed": -9, "raising": 1, "exiting": 0}
TIMEOUT = 4  # trainer.timeout_seconds
SPARE = 15  # seconds more that a survivor may take


def lost(bench: Bench, n: int, draw: random.Random) -> str:
    """R10: one of two gloo ranks is killed, stopped, raises or exits; the other ends non-zero and names it.

    Every second trial runs under torchrun, the others as two bare processes, whose exit code can be seen. Both ranks
    again go on bitwise; one alone is refused, unless asked for.
    """
    whole = bench.run_folder("ranks-whole")
    args = ("trainer.processes=2", f"trainer.timeout_seconds={TIMEOUT}")
    if not whole.exists():
        for run in pair(bench, *bench.train_args(whole.name, *args)):
            must(run.wait() == 0, f"two ranks that nothing happens to ended with {run.code}: {run.err()[-1500:]}")
    slowest, plan = 0.0, draw.sample(FAULTS, len(FAULTS))
    plan = sorted(plan, key=lambda fault: fault[0] not in ("killed", "stopped"))  # what cannot tell of itself first
    for trial in range(n):
        what, phase = plan[trial % len(plan)]
        rank, step, folder = draw.randrange(2), draw.randint(3, 5), bench.run_folder(f"ranks-{trial}")
        told = f"rank {rank} {what} in {phase} of step {step}{' under torchrun' * (trial % 2)}"
        fault = (phase, step, what)
        command = bench.train_args(folder.name, *args)
        seconds = (launched if trial % 2 else bare)(bench, command, rank, fault, told)
        slowest = max(slowest, seconds - TIMEOUT * (what == "stopped"))
        must(not (folder / "results.json").exists(), f"{told}: the run has results")
        if steps(folder):
            alone = bench.cli(*bench.train_args(folder.name))
            must(alone.code == 2 and "was trained by 2 processes" in alone.err(),
                 f"{told}: one process went on: {alone.code} {alone.err()}")
            copy = folder.with_name(f"{folder.name}-alone")
            shutil.copytree(folder, copy)
            finished(bench, *bench.train_args(copy.name, "run.allow_world_size_change=true"))
        for run in pair(bench, *command):
            must(run.wait() == 0, f"{told}: going on with two ended with {run.code}: {run.err()[-1500:]}")
        alike(whole, folder, 6)
        shutil.rmtree(folder)
    return f"{n} losses, every survivor ended at most {slowest:.1f} s later (beside the timeout of the stopped ones)"


def signalled(bench: Bench, n: int, draw: random.Random) -> str:
    """Part of R4: a signal while there are two ranks, to one of them, to torchrun, or to the one that is left.

    Both save the same step and go on bitwise; with a rank lost nothing is saved.
    """
    whole = bench.run_folder("ranks-quiet")
    args = ("trainer.processes=2", f"trainer.timeout_seconds={TIMEOUT}")
    if not whole.exists():
        for run in pair(bench, *bench.train_args(whole.name, *args)):
            must(run.wait() == 0, f"two ranks that nothing happens to ended with {run.code}: {run.err()[-1500:]}")
    for trial in range(n):
        rank, folder = draw.randrange(2), bench.run_folder(f"ranks-signalled-{trial}")
        command = bench.train_args(folder.name, *args)
        (one_signalled, launcher_signalled, left_signalled)[trial % 3](bench, command, folder, rank)
        for run in pair(bench, *command):
            must(run.wait() == 0, f"going on with two ended with {run.code}: {run.err()[-1500:]}")
        alike(whole, folder, 6)
        shutil.rmtree(folder)
    return f"{n} signals to two ranks"


def one_signalled(bench: Bench, command: list[str], folder: Path, rank: int) -> None:
    for run in pair(bench, *command, hook=("torture.hooks:signal_at_step", [3]), on=rank):
        must(run.wait() == 143, f"SIGTERM to rank {rank}: one ended with {run.code}: {run.err()[-800:]}")
    must(pointed(folder, "last") in (3, 4), f"SIGTERM to rank {rank} after step 3: {steps(folder)} are saved")


def launcher_signalled(bench: Bench, command: list[str], folder: Path, rank: int) -> None:
    run = bench.cold("--nproc-per-node", "2", "--master-port", str(free_port()),
                     str(Path(__file__).with_name("rank.py")), str(bench.folder / f"pid-{time.monotonic_ns()}"),
                     str(rank), "forward", "4", "launcher", *command, program=("-m", "torch.distributed.run"))
    must(run.wait() != 0, "SIGTERM to torchrun: it ended with 0")
    must(pointed(folder, "last") in (4, 5), f"SIGTERM to torchrun in step 4: {steps(folder)} are saved: "
                                            f"{run.err()[-600:]}")


def left_signalled(bench: Bench, command: list[str], folder: Path, rank: int) -> None:
    runs = pair(bench, *command, hook=("torture.hooks:fault_at", ["all-reduce", 4, "killed"]), on=rank)
    seen_lost(runs[rank].pid, f"rank {rank} killed")
    left = runs[1 - rank]
    left.send(signal.SIGTERM)
    left.wait(SPARE)
    must(left.code in (5, 143), f"SIGTERM to the rank that was left: it ended with {left.code}: {left.err()[-800:]}")
    must(steps(folder) == [2], f"SIGTERM to the rank that was left in step 4: {steps(folder)} are saved")


def bare(bench: Bench, command: list[str], rank: int, fault: tuple[Any, ...], told: str) -> float:
    """Two processes without a launcher; returns how long after the loss the survivor ended."""
    runs = pair(bench, *command, hook=("torture.hooks:fault_at", fault), on=rank)
    victim, survivor = runs[rank], runs[1 - rank]
    since = seen_lost(victim.pid, told)
    if fault[2] == "stopped":
        must(state(victim.pid) == "T", f"{told}: it was not stopped, but ended: {victim.err()[-600:]}")
    else:
        must(victim.wait() == CODES[fault[2]] and ("a fault that" in victim.err()) == (fault[2] == "raising"),
             f"{told}: it ended otherwise, with {victim.code}: {victim.err()[-600:]}")
    survivor.wait(allowed(fault))
    took = time.monotonic() - since
    must(survivor.code == 5, f"{told}: the survivor ended with {survivor.code}: {survivor.err()[-600:]}")
    must(names(survivor.err(), rank), f"{told}: the survivor does not name it: {survivor.err()[-600:]}")
    victim.end()
    return took


def launched(bench: Bench, command: list[str], rank: int, fault: tuple[Any, ...], told: str) -> float:
    """The same under torchrun, which signals the survivor at once and kills a stopped rank late."""
    tell = bench.folder / f"pid-{fault[0]}-{time.monotonic_ns()}"
    script = str(Path(__file__).with_name("rank.py"))
    run = bench.cold("--nproc-per-node", "2", "--master-port", str(free_port()), script, str(tell),
                     str(rank), *map(str, fault), *command, program=("-m", "torch.distributed.run"))
    files = [tell.with_name(f"{tell.name}-{number}") for number in range(2)]
    must(run.until(lambda: all(file.exists() and file.read_text() for file in files), pause=0.02),
         f"{told}: the ranks did not start: {run.err()[-600:]}")
    pids = [int(file.read_text()) for file in files]
    try:
        since = seen_lost(pids[rank], told)
        until = since + allowed(fault)
        while state(pids[1 - rank]) and time.monotonic() < until:
            time.sleep(0.02)
        took = time.monotonic() - since
        must(not state(pids[1 - rank]), f"{told}: the survivor still runs after {took:.0f} s: {run.err()[-600:]}")
    finally:  # torchrun starts them in sessions of their own: nobody else would end a stopped one
        for pid in pids:
            if state(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    must(run.wait(40) != 0, f"{told}: torchrun ended with 0")
    must(names(run.err(), rank), f"{told}: nobody names it: {run.err()[-900:]}")
    return took


def names(text: str, rank: int) -> bool:
    """One line of llmtrain's own that names the rank."""
    found = [line for line in text.splitlines() if line.startswith("llmtrain: ") and f"rank {rank} of 2" in line]
    return len(found) == 1 and len(found[0]) < 400


def allowed(fault: tuple[Any, ...]) -> float:
    return SPARE + TIMEOUT * (fault[2] == "stopped")


def pair(bench: Bench, *command: str, hook: Any = None, on: int = 0) -> list[Run]:
    """Two ranks without a launcher; the hook is for one of them."""
    port = str(free_port())
    return [bench.start(*command, hook=hook if rank == on else None,
                        env={"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                             "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}) for rank in range(2)]


def seen_lost(pid: int, told: str, timeout: float = 90) -> float:
    """When the process was first seen stopped or gone."""
    until = time.monotonic() + timeout
    while state(pid) not in ("", "T"):
        must(time.monotonic() < until, f"{told}: nothing happened in {timeout:g} s")
        time.sleep(0.01)
    return time.monotonic()


def state(pid: int) -> str:
    """The letter of /proc/PID/stat; empty when the process has ended."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return ""
    return "" if letter in "ZX" else letter
