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
    """Files and folders of the checkpoint are forced to disk as they are when it is renamed, its parent after; then the
    pointer moves, likewise; only then an old checkpoint goes."""
    checkpoints = str(folder / "checkpoints")
    staged = f"{checkpoints}/.tmp-step-4"
    commit = first(calls, 0, "rename", f'"{staged}"')
    must(commit is not None, "the trace shows no rename of the staged folder")
    assert commit is not None
    changed = {path: place for path, place in last_changes(calls[:commit]).items()
               if f"{path}/".startswith(f"{staged}/")}
    files = [path for path in changed if Path(path).name.count(".")]
    must(len(files) > 5 and {staged, f"{staged}/model", f"{staged}/state"} <= set(changed), "too little was seen")
    check_forced(calls[:commit], changed, "the rename")
    pointer = first(calls, commit, "rename", '/last"')
    must(pointer is not None, "the trace shows no rename of the pointer")
    assert pointer is not None
    temporary = {path: place for path, place in last_changes(calls[:pointer]).items() if ".tmp-last" in path}
    must(temporary, "the trace shows no writing of the pointer")
    check_forced(calls[:pointer], temporary | {checkpoints: commit}, "the pointer moves")
    pruned = first(calls, 0, "", "pruned-")
    must(pruned is None or pointer < pruned, "an old checkpoint goes before the pointer has moved")
    check_forced(calls[:pruned], {checkpoints: pointer}, "an old checkpoint goes, or the end,")


def first(calls: list[tuple[str, int, str]], start: int, name: str, text: str) -> int | None:
    """Place of the first such call from ``start`` on whose line holds ``text``."""
    return next((place for place, (called, _, line) in enumerate(calls) if place >= start and called.startswith(name)
                 and text in line), None)


def last_changes(calls: list[tuple[str, int, str]]) -> dict[str, int]:
    """Place of the last call that changed a file or a folder's entries, by the path that it has at the end."""
    changed: dict[str, int] = {}
    for place, (name, _, line) in enumerate(calls):
        named = re.findall(r'"([^"]*)"', line)
        if found := re.search(r"\bwrite\(\d+<([^>]*)>", line):
            changed[found[1]] = place
        elif name.startswith("rename"):  # safetensors writes under another name first
            for path in [path for path in changed if f"{path}/".startswith(f"{named[0]}/")]:
                changed[named[1] + path.removeprefix(named[0])] = changed.pop(path)
            changed[str(Path(named[1]).parent)] = place
        elif named and (name.startswith("mkdir") or "O_CREAT" in line):
            changed[named[-1]] = changed[str(Path(named[-1]).parent)] = place
    return changed


def check_forced(calls: list[tuple[str, int, str]], changed: dict[str, int], when: str) -> None:
    """Each path was forced to disk after it had last changed."""
    forced = {found[1]: place for place, (name, _, line) in enumerate(calls)
              if "sync" in name and (found := re.search(r"<([^>]*)>", line))}
    late = [path for path, place in changed.items() if forced.get(path, -1) <= place]
    must(not late, f"not forced to disk before {when}: {late[:3]}")


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
