"""The row about files that somebody else made to do harm: each case is done, and watched."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torture.bench import Bench, Run, must
from torture.hostile_case import SECRET, Case, Place
from torture.hostile_cases import CASES
from torture.observe import finished

SECONDS, MEMORY = 10, 2 << 30


def hostile(bench: Bench, n: int, draw: random.Random) -> str:
    """R12: refused, or not used, within seconds: nothing executed, written outside, connected to, no secret read."""
    cases, keen = [*CASES], [case for case in CASES if case.name in KEEN]
    if n > len(CASES):
        cases += [case.by(command) for case in CASES if case.by for command in COMMANDS
                  if not case.name.startswith(f"{command}:")]
    draw.shuffle(cases)
    done = [*keen, *(case for case in cases if case not in keen)][:n]
    with watched(bench) as (inner, trace):
        model, outside = inner.run_folder("to-read"), inner.folder / "outside"
        finished(inner, *inner.train_args(model.name, "trainer.max_steps=2"))
        outside.mkdir()
        (outside / "secret.txt").write_text(SECRET)
        slowest = 0.0
        for number, case in enumerate(done):
            folder = inner.folder / f"hostile-{number}"
            folder.mkdir()
            place = Place(folder, outside, inner.train_args("run", f"run.root={folder / 'runs'}",
                                                            "trainer.max_steps=1"), model)
            args, before = case.make(place), sorted(outside.rglob("*"))
            start = trace.stat().st_size if trace else 0
            run = inner.cli(*args, cwd=folder, env={"HF_TOKEN": SECRET}, timeout=90)
            check(case, run, place, before)
            slowest = max(slowest, run.seconds)
            if trace:
                look(case, trace.read_bytes()[start:].decode(errors="replace"), place, inner)
            shutil.rmtree(folder)
    seen = "connections, openings, programs and writes seen by strace" if trace else "no strace here: output alone seen"
    return f"{len(done)} of {len(cases)} cases, the slowest in {slowest:.1f} s; {seen}"


CALLS = ("connect,open,openat,openat2,execve,execveat,mkdir,mkdirat,rename,renameat,renameat2,symlink,symlinkat,"
         "link,linkat")


@contextmanager
def watched(bench: Bench) -> Iterator[tuple[Bench, Path | None]]:
    """A bench of the same source that may reach the hub, its server under strace where the machine allows that."""
    trace = bench.folder / "calls.trace"
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-s", "4096", "-e", f"trace={CALLS}", "-e", "signal=none",
              "-o", str(trace)]
    works = shutil.which("strace") and subprocess.run([*strace, "true"], capture_output=True,
                                                      check=False).returncode == 0
    folder = bench.folder / "watched"
    shutil.rmtree(folder, ignore_errors=True)
    env = {"HF_HUB_OFFLINE": "", "PYTHONDONTWRITEBYTECODE": "1",  # a fresh checkout's __pycache__ is no news
           "LLMTRAIN_CACHE": str(folder / "cache")}
    with Bench(folder, bench.source, strace if works else (), env) as inner:
        yield inner, trace if works else None


def look(case: Case, calls: str, place: Place, bench: Bench) -> None:
    """What strace saw: no connection, no program but git (it tells environment.json the commit), nothing opened
    outside, and nothing written where runs may not write."""
    lines = calls.splitlines()
    for line in lines:
        must("AF_INET" not in line, f"{case.name}: connects: {line[:300]}")
        must("execve" not in line or '["git", ' in line, f"{case.name}: starts a program: {line[:300]}")
    if not case.opens:
        seen = next((line for line in lines if re.search(r"= \d+<[^>]*/outside/[^>]+>", line)), None)
        must(seen is None, f"{case.name}: opens what lies outside: {seen}")
    may = (str(place.folder), str(bench.folder / "cache"), str(bench.folder / "outputs"), "/dev/", "/proc/")
    for line in lines:
        if "O_CREAT" in line or "O_WRONLY" in line or "O_RDWR" in line:
            path = re.search(r"= \d+<([^>]*)>", line)
            must(path is None or path[1].startswith(may), f"{case.name}: writes elsewhere: {line[:300]}")
        elif re.search(r"\b(mkdir|rename|symlink|link)(at2?)?\(", line) and line.endswith("= 0"):
            must(any(one in line for one in may), f"{case.name}: writes elsewhere: {line[:300]}")


def check(case: Case, run: Run, place: Place, before: list[Path]) -> None:
    text = run.err()
    must(not place.executed.exists(), f"{case.name}: foreign code was executed")
    must(sorted(place.outside.rglob("*")) == before, f"{case.name}: something was written outside the run's folder")
    must("Traceback" not in text, f"{case.name}: a traceback: {text[-1500:]}")
    must(run.code in case.codes, f"{case.name}: ended with {run.code}, not {case.codes}: {text[-800:]}")
    must(run.busy < SECONDS and run.seconds < 3 * SECONDS,  # the machine may have other work
         f"{case.name}: took {run.seconds:.1f} s, {run.busy:.1f} s of CPU time")
    must(run.peak < MEMORY, f"{case.name}: took {run.peak >> 20} MiB")
    if run.code != 0:
        lines = [line for line in text.splitlines() if line.startswith("llmtrain: ")]
        must(bool(lines) and all(len(line) < 500 for line in lines), f"{case.name}: said {text[-800:]}")
    must(SECRET not in run.out() + text, f"{case.name}: the secret is in its output")
    for path in (place.folder / "runs").rglob("*"):
        must(not path.is_file() or SECRET.encode() not in path.read_bytes(), f"{case.name}: the secret is in {path}")


COMMANDS = ("eval", "summarize", "init", "extend", "verify")
KEEN = ("base: an index that points outside", "base: a vocabulary that is a link to a secret", "eval: a plugin",
        "typed: run.name=${oc.env:HF_TOKEN}", "verify: a pickle called x.pkl",
        "base: a template that climbs", "data: a gzip bomb", "base: a large index that points outside",
        "eval: an index that points outside", "base: code for the tokenizer", "data: a parquet bomb",
        "init: no weights", "data: a gzip bomb of short lines")  # always done first: the broken programs fail on these
assert set(KEEN) <= {case.name for case in CASES}
