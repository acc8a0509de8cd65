"""``damage.py CHECKPOINTS WORK N SEED``: damages one file N times and asks the library what it makes of it.

Prints a summary, or ends with 1 and the first damage that was neither refused by name nor warned of.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

from llmtrain import checkpoint
from llmtrain.core.errors import CheckpointError


def damage(path: Path, other: Path, how: str, draw: random.Random) -> bool:
    """Whether the file is another one now."""
    before = path.read_bytes()
    data = bytearray(before)
    if how == "flipped" and data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif how == "truncated" and data:
        del data[draw.randrange(len(data)):]
    elif how == "zeroed":
        start = draw.randrange(len(data))
        length = min(draw.choice((1, 512, 4096, len(data))), len(data) - start)
        data[start:start + length] = bytes(length)
    elif how == "swapped" and other.is_file():
        data = bytearray(other.read_bytes())
        other.write_bytes(before)
    path.write_bytes(data)
    return bytes(data) != before


def same_pointer(path: Path, whole: Path) -> bool:
    """Whether it says all that it said: a pointer that lost the end of its last line only does."""
    try:
        return bool(json.loads(path.read_bytes()) == json.loads(whole.read_bytes()))
    except ValueError:
        return False


def pick(folder: Path, source: Path, trial: int, draw: random.Random) -> tuple[Path, Path]:
    """A file of the newest step, or the pointer ``last``, in turn, and the one to swap it with."""
    names = sorted(path.relative_to(source) for path in (source / "step-6").rglob("*") if path.is_file())
    number = trial % (len(names) + 1)
    if number == len(names):
        return folder / "last", folder / "best"
    name = names[number]
    return folder / name, folder / "step-4" / name.relative_to("step-6")


def main(source: Path, work: Path, n: int, seed: int) -> int:
    draw, done, trial = random.Random(seed), Counter[str](), 0
    while sum(done.values()) < n:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(source, work)
        how = draw.choice(("flipped", "truncated", "zeroed", "swapped"))
        path, other = pick(work, source, trial, draw)
        trial += 1
        if not damage(path, other, how, draw) or (path.name == "last" and same_pointer(path, source / "last")):
            continue
        done[how] += 1
        told = f"{path.relative_to(work)} {how}"
        found, said = None, ""
        try:
            found, warnings = checkpoint.latest_valid(work)
            said = "\n".join(warnings)
        except CheckpointError as error:
            said = str(error)
        if path.name == "last":
            good = (path.name in said and found is not None) or "step-6" in said
            good = good or (how == "swapped" and found == work / "step-6")  # best may name the same step
        else:
            good = found == work / "step-2" if how == "swapped" else found == work / "step-4"
            good = good and found is not None and "step-6" in said and found.name in said
            try:
                checkpoint.verify(work / "step-6")
                good = False
            except CheckpointError as error:
                good = good and str(work / "step-6") in str(error)
        if not good:
            print(f"{told} (seed {seed}, trial {trial}): took {found}, said {said or 'nothing'}")
            return 1
    print(", ".join(f"{count} {how}" for how, count in sorted(done.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
