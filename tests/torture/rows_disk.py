"""Rows about the disk: a real run killed by strace at each call that a save makes."""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from torture.bench import Bench, Run, must
from torture.observe import alike, finished, left_over, pointed, steps, whole_steps
from torture.rows import Skipped

ARGS = ["trainer.keep_last=1", "trainer.max_steps=6"]
SAVE = "llmtrain.checkpoint:save"
CHANGES = ("openat,write,fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,fchmod,chmod,"
           "ftruncate")
_CALL = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<what>.*)")


def traced(bench: Bench, command: Sequence[str], target: str, nth: int, inject: Sequence[str] = (),
           ) -> tuple[Run, list[str]]:
    """A command with strace attached from the nth call of ``target`` on; the run and the trace's lines."""
    if shutil.which("strace") is None:
        raise Skipped("no strace here")
    number = len(list(bench.folder.glob("flag-*")))
    flag, out = bench.folder / f"flag-{number}", bench.folder / f"trace-{number}"
    run = bench.start(*command,
                      hook=("torture.hooks:wait_for_tracer", [target, nth, str(flag)]))
    must(run.until(flag.exists, pause=0.005), f"it never came to call {nth} of {target}: {run.err()[-800:]}")
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-y", "-s", "0", "-e", f"trace={CHANGES}", *inject, "-o",
                               str(out), "-p", str(run.pid)], stderr=subprocess.PIPE, text=True)
    try:
        tracer.wait(120)
    except subprocess.TimeoutExpired:
        tracer.kill()
    told = tracer.communicate()[1]
    if "not permitted" in told:
        run.end()
        raise Skipped(f"strace may not attach: {told.strip()[:100]}")
    run.wait()
    lines = out.read_text(encoding="utf-8", errors="replace").splitlines()
    return run, [line for line in lines if line.startswith(f"{run.pid} ")]


def changes_of(lines: list[str], folder: Path) -> list[tuple[str, int, str]]:
    """(call, its number among those of that name, line) of each call that changes something below a folder."""
    seen, found = Counter[str](), []
    for line in lines:
        if not (match := _CALL.match(line)):
            continue
        seen[match["name"]] += 1
        reads = match["name"] == "openat" and not re.search(r"O_WRONLY|O_RDWR|O_CREAT", line)
        if str(folder) in line and not reads:
            found.append((match["name"], seen[match["name"]], line))
    return found


def straight_run(bench: Bench) -> tuple[Path, list[tuple[str, int, str]]]:
    """A run never disturbed, and the calls of its second save with all that follows up to the third."""
    folder = bench.run_folder("traced")
    run, lines = traced(bench, bench.train_args(folder.name, *ARGS), SAVE, 2)
    must(run.code == 0, f"traced it ended with {run.code}: {run.err()[-800:]}")
    calls = changes_of(lines, folder / "checkpoints")
    third = next((number for number, call in enumerate(calls) if ".tmp-step-6" in call[2]), len(calls))
    return folder, calls[:third]


def check_order(calls: list[tuple[str, int, str]], folder: Path) -> None:
    """Each file of the checkpoint is forced to disk before the folder's rename, its parent after, then the pointer."""
    staged = str(folder / "checkpoints" / ".tmp-step-4")
    commit = next((number for number, (name, _, line) in enumerate(calls)
                   if name.startswith("rename") and f'"{staged}"' in line), None)
    must(commit is not None, "the trace shows no rename of the staged folder")
    before, after = calls[:commit], calls[commit:]
    written: set[str] = set()
    for name, _, line in before:  # safetensors writes under another name and renames
        if found := re.search(rf"write\(\d+<({re.escape(staged)}[^>]*)>", line):
            written.add(found[1])
        if name.startswith("rename") and (moved := re.findall(r'"([^"]*)"', line))[0] in written:
            written = written - {moved[0]} | {moved[1]}
    synced = {found[1] for name, _, line in before if "sync" in name and (found := re.search(r"<([^>]*)>", line))}
    must(len(written) > 5 and written <= synced, "written, and not forced to disk before the rename: "
                                                 f"{sorted(written - synced)[:3] or 'too little was seen'}")
    kept = [number for number, (name, _, line) in enumerate(after) if name == "fsync"
            and f"<{folder / 'checkpoints'}>" in line]
    pointer = [number for number, (name, _, line) in enumerate(after)
               if name.startswith("rename") and '/last"' in line]
    pruned = [number for number, (name, _, line) in enumerate(after) if "pruned-" in line]
    must(kept and pointer and kept[0] < pointer[0], "the folder is not forced to disk before the pointer moves")
    must(not pruned or pointer[0] < pruned[0], "an old checkpoint goes before the pointer has moved")


def killed_at_calls(bench: Bench, n: int, draw: random.Random) -> str:
    """R2: SIGKILL right before a call that changes the folder; a whole checkpoint stays and the run goes on bitwise."""
    straight, calls = straight_run(bench)
    check_order(calls, straight)
    chosen = calls if n >= len(calls) else sorted(draw.sample(calls, n), key=calls.index)
    for name, number, line in chosen:
        folder = bench.run_folder(f"call-{name}-{number}")
        run, _ = traced(bench, bench.train_args(folder.name, *ARGS), SAVE, 2,
                        ["-e", f"inject={name}:signal=KILL:when={number}"])
        told = f"killed at {line[:160]}"
        must(run.code == -signal.SIGKILL, f"{told}: it ended with {run.code}")
        must(whole_steps(folder), f"{told}: no whole checkpoint is left of {steps(folder)}")
        must(pointed(folder, "last") in whole_steps(folder), f"{told}: last is not whole")
        go_on(bench, folder, straight, told)
    return f"{len(chosen)} of {len(calls)} calls; each file forced to disk before the rename, the folder after"


def go_on(bench: Bench, folder: Path, straight: Path, told: str) -> None:
    """The next start ends as the undisturbed run did and leaves nothing unfinished."""
    finished(bench, *bench.train_args(folder.name, *ARGS))
    alike(straight, folder, 6)
    must(not left_over(folder), f"{told}: left over: {left_over(folder)}")
    must(steps(folder) == steps(straight), f"{told}: {steps(folder)} is left, not {steps(straight)}")
    shutil.rmtree(folder)
