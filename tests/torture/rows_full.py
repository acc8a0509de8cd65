"""The row about disks that take no more: full, broken, over quota, read-only, and files that may not grow."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from llmtrain.core.files import STAGED, folder_size
from torture.bench import Bench, Run, must
from torture.observe import alike, finished, left_over, pointed, steps, whole_steps
from torture.rows_disk import ARGS, changes_of, traced

CLAIM = "llmtrain.training.run_folder.claim:RunFolder.claim"
DISK_BYTES = 4 << 20
AGAIN = 3
REMOVALS = {"unlink", "unlinkat", "rmdir"}  # what does not go now goes at the next start
ERRORS = {"write": ("ENOSPC", "EIO", "EDQUOT", "EFBIG"), "fsync": ("EIO", "ENOSPC", "EDQUOT"),
          "openat": ("ENOSPC", "EROFS", "EDQUOT"), "mkdir": ("ENOSPC", "EROFS", "EDQUOT")}
OTHER_ERRORS = ("EIO", "EROFS")
LOG = "metrics.jsonl"
WHERE = {"log": LOG, "log, opened or forced": LOG, "cache": "-cache/", "save": "/.tmp-step-",
         "end": "results", "pointer": "/.tmp-last", "prune": "pruned-", "start": ""}  # in a path; the first that fits
LIMITED, FILLED, READ_ONLY, CLOSED = "size limits", "full disks", "read-only disks", "closed folders"
Call = tuple[str, int, str]


def refused(bench: Bench, n: int, draw: random.Random) -> str:
    """R3: one write of a run fails, each kind in turn: of the log, the cache, a save, a pointer, a prune, the results.

    An error injected into one call, a file-size limit, a disk that is really full, one that turns read-only, and a
    folder that may not be written any more. The run ends with 5 and one line that names the path and the bytes needed;
    what was saved stays whole; the next start leaves nothing temporary and ends as the run that nothing happened to,
    bit by bit.
    """
    straight, calls = undisturbed(bench)
    kinds = plan(calls)
    done = []
    with ExitStack() as stack:
        small: SmallDisk | None = None
        for trial in range(n):
            kind = kinds[trial % len(kinds)]
            folder = bench.run_folder(f"refused-{trial}")
            if kind in calls:
                injected(bench, folder, straight, draw.choice(calls[kind]), draw)
            elif kind in (LIMITED, CLOSED):
                (limited if kind == LIMITED else closed)(bench, folder, straight, draw)
            else:
                small = small or stack.enter_context(SmallDisk(bench))
                (filled if kind == FILLED else read_only)(small, folder, straight, draw)
            done.append(kind)
    counts = ", ".join(f"{done.count(kind)} {kind}" for kind in dict.fromkeys(done))
    total = sum(map(len, calls.values()))
    return f"{counts}; of {total} calls{'' if FILLED in kinds else '; no small disk may be mounted here'}"


def plan(calls: dict[str, list[Call]]) -> list[str]:
    """What is done, in turn: the log, a save and a full disk first, so that a short form has them."""
    may = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0
    disks = [FILLED, READ_ONLY] if may else []
    first = ["log", "save", *disks[:1], LIMITED]
    return [*first, *(kind for kind in (CLOSED, *calls, *disks) if kind not in first)]


def args_of(bench: Bench, folder: Path) -> list[str]:
    """A run with a cache of its own beside it."""
    return bench.train_args(folder.name, *ARGS, f"run.root={folder.parent}", f"data.cache_dir={folder}-cache")


def undisturbed(bench: Bench) -> tuple[Path, dict[str, list[Call]]]:
    """A run that nothing happens to, and its calls that change its folder or its cache, by what they write."""
    folder = bench.run_folder("undisturbed")
    folder.parent.mkdir(exist_ok=True)  # else the first run makes it: one call more than the others
    run, lines = traced(bench, args_of(bench, folder), CLAIM, 1)
    must(run.code == 0, f"traced it ended with {run.code}: {run.err()[-800:]}")
    found: dict[str, list[Call]] = {kind: [] for kind in WHERE}
    of_log = Counter[str]()
    for name, number, line in changes_of(lines, folder):
        if of_the_log(name, line):  # counted among the log's own: of all calls one more or less comes on a busy machine
            of_log[name] += 1
            number = of_log[name]
        if " = -1 " not in line:  # a folder that is there already, a file that is not
            found[kind_of(line)].append((name, number, line))
    must(all(found.values()), f"no call was seen of {[kind for kind in found if not found[kind]]}")
    return folder, found


def injected(bench: Bench, folder: Path, straight: Path, call: Call, draw: random.Random) -> None:
    """One call fails; where it is none of what it should be of, since on a busy machine one call more or less came
    before it, once more."""
    name, number, line = call
    error, landed = draw.choice(ERRORS.get(name, OTHER_ERRORS)), False
    its_file = ["-P", str(folder / LOG)] if of_the_log(name, line) else []
    for _ in range(AGAIN):
        run, lines = traced(bench, args_of(bench, folder), CLAIM, 1,
                            [*its_file, "-e", f"inject={name}:error={error}:when={number}"])
        hit = [line for line in lines if "(INJECTED)" in line]
        told = f"{error} at {hit or line}"[:300]
        if not any(str(folder) in line for line in hit):  # a library's own read, say
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(f"{folder}-cache", ignore_errors=True)
            continue
        moved = name.startswith("rename") and "/features/tmp" in line  # datasets then copies the file
        note = any("/.lock>" in line for line in hit)  # what a killed run leaves; one that cannot write it goes on
        ends_well(bench, run, folder, straight, told, passed_over=name in REMOVALS or moved or note)
        landed = True
        if any(kind_of(one) == kind_of(line) for one in hit):
            return
    must(landed, f"{told}: no call of the run failed")


def of_the_log(name: str, line: str) -> bool:
    return name in ("write", "fsync") and f"/{LOG}>" in line


def kind_of(line: str) -> str:
    return next(kind for kind, part in WHERE.items() if part in line and (kind != "log" or "write(" in line))


def limited(bench: Bench, folder: Path, straight: Path, draw: random.Random) -> None:
    """No file may grow beyond a size that one of a checkpoint's has."""
    largest = max(path.stat().st_size for path in (straight / "checkpoints").rglob("*") if path.is_file())
    size = draw.randint(8 << 10, largest - 1)
    run = bench.cli(*args_of(bench, folder), hook=("torture.hooks:limit_file_size", [size]))
    ends_well(bench, run, folder, straight, f"files of at most {size} bytes")


def closed(bench: Bench, folder: Path, straight: Path, draw: random.Random) -> None:
    """The folder's mode forbids a save; it is opened again before the next start."""
    run = bench.cli(*args_of(bench, folder), hook=("torture.hooks:forbid_at_save", [draw.randint(1, 3)]))
    for path in (folder, folder / "checkpoints"):
        if path.exists():
            path.chmod(0o755)
    ends_well(bench, run, folder, straight, "a folder closed by its mode")


class SmallDisk(Bench):
    """A bench whose processes see a disk of 4 MiB, which only they see; ``runs`` is it, ``seen`` the way to it from
    outside."""

    def __init__(self, bench: Bench) -> None:
        self.disk = bench.folder / "disk"
        self.disk.mkdir(exist_ok=True)
        super().__init__(bench.folder / "small", bench.source,
                         ("unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size={DISK_BYTES} disk "$0" && exec "$@"',
                          str(self.disk)))

    def seen(self, path: Path) -> Path:
        return Path(f"/proc/{self._warm().pid}/root") / path.relative_to("/")

    def filler(self) -> Path:
        return self.seen(self.disk / "filler")


def filled(small: SmallDisk, folder: Path, straight: Path, draw: random.Random) -> None:
    """The disk is full before the run has written all of it."""
    folder = small.disk / folder.name
    whole = sum(path.stat().st_size for path in straight.rglob("*") if path.is_file())
    left = draw.randint(16 << 10, whole)
    small.filler().write_bytes(bytes(DISK_BYTES - left))
    run = small.cli(*args_of(small, folder))
    small.filler().unlink()
    ends_well(small, run, folder, straight, f"a disk with {left} bytes left")


def read_only(small: SmallDisk, folder: Path, straight: Path, draw: random.Random) -> None:
    """The disk turns read-only before a save."""
    folder = small.disk / folder.name
    run = small.cli(*args_of(small, folder),
                    hook=("torture.hooks:read_only_at_save", [str(small.disk), draw.randint(1, 3)]))
    small.cli("--version", hook=("torture.hooks:unmount", [str(small.disk)]))
    ends_well(small, run, folder, straight, "a disk turned read-only")


def ends_well(bench: Bench, run: Run, folder: Path, straight: Path, told: str, passed_over: bool = False) -> None:
    """The failure was told, nothing is lost, and the next start goes on."""
    text = run.err()
    lines = [line for line in text.splitlines() if line.startswith("llmtrain: ")]
    if not (passed_over and run.code == 0):
        must(run.code == 5, f"{told}: it ended with {run.code}: {text[-800:]}")
        must(len(lines) == 1 and str(folder) in lines[0] and len(lines[0]) < 400, f"{told}: it said {text[-800:]}")
        needed = re.search(r": (\d+) bytes are needed there", lines[0])
        whole = folder_size(straight / "checkpoints" / "step-6") if f"{STAGED}step-" in lines[0] else 1
        must(needed and int(needed[1]) >= 0.9 * whole, f"{told}: of {whole} bytes it said {lines[0]}")
    must("Traceback" not in text, f"{told}: a traceback: {text[-1500:]}")
    there = bench.seen(folder) if isinstance(bench, SmallDisk) else folder
    last = pointed(there, "last")
    must(last is None or last in whole_steps(there), f"{told}: last is {last}, and whole are {whole_steps(there)}")
    finished(bench, *args_of(bench, folder))
    alike(straight, there, 6)
    cache = there.with_name(f"{there.name}-cache")
    must(not left_over(there) and not left_over(cache), f"{told}: left over: {left_over(there) + left_over(cache)}")
    must(steps(there) == steps(straight), f"{told}: {steps(there)} is left, not {steps(straight)}")
    shutil.rmtree(there)
    shutil.rmtree(cache)
