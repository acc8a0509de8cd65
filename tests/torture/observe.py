"""What is looked at after a run: its log without times, its checkpoints, and whether two runs are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmtrain import checkpoint
from llmtrain.checkpoint.locate import read_pointer
from llmtrain.core.errors import CheckpointError
from stopping import same
from torture.bench import Bench, Caught, Run, must


def log_rows(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what clocks tell."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if not key.startswith("time.")} for line in lines]


def steps(folder: Path) -> list[int]:
    """The committed step folders of a run, whole or not, in order."""
    return sorted(int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-*"))


def whole_steps(folder: Path) -> list[int]:
    """Those that verify."""
    found = []
    for step in steps(folder):
        try:
            checkpoint.verify(folder / "checkpoints" / f"step-{step}")
        except CheckpointError:
            continue
        found.append(step)
    return found


def pointed(folder: Path, name: str) -> int | None:
    """The step that ``last`` or ``best`` names."""
    path = folder / "checkpoints" / name
    return read_pointer(path)[0] if path.exists() else None


def left_over(folder: Path) -> list[Path]:
    """Unfinished files of a run."""
    return sorted(folder.rglob(".tmp-*"))


def alike(first: Path, second: Path, step: int) -> None:
    """The checkpoints of this step and the logs of two run folders are the same, bit by bit.

    Raises:
        Caught: Naming the first difference.
    """
    one, two = log_rows(first), log_rows(second)
    for number, (a, b) in enumerate(zip(one, two, strict=False)):
        must(a == b, f"line {number + 1} of metrics.jsonl differs: {a} and {b}")
    must(len(one) == len(two), f"metrics.jsonl has {len(one)} and {len(two)} lines")
    try:
        same(first / "checkpoints" / f"step-{step}", second / "checkpoints" / f"step-{step}")
    except AssertionError as error:
        raise Caught(f"step {step}: {error}") from error
    for name in ("last", "best"):
        must(pointed(first, name) == pointed(second, name), f"{name} is {pointed(first, name)} and "
                                                            f"{pointed(second, name)}")


def finished(bench: Bench, *args: str, **how: Any) -> Run:
    """A command that must end with 0."""
    run = bench.cli(*args, **how)
    must(run.code == 0, f"llmtrain {' '.join(args[:1])} ended with {run.code}: {run.err()[-1500:]}")
    return run
