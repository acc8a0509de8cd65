"""Memory: what the kernel, an address-space limit and a control group do to a run. Real groups, real kills."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmtrain.core import memory
from torture.bench import Bench
from torture.observe import alike, finished, steps

LIMIT, KILLS = ("memory.limit_in_bytes", "memory.max"), ("memory.oom_control", "memory.events")


class Group:
    """A memory control group of our own, below this process's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.limit = next(folder / name for name in LIMIT if (folder / name).exists())

    def allow(self, more: int) -> None:
        """As many bytes as are used now, and ``more``."""
        used = int((self.folder / ("memory.usage_in_bytes" if self.limit.name == LIMIT[0] else "memory.current"))
                   .read_text())
        self.limit.write_text(str(used + more))

    def kills(self) -> int:
        found = next(path for name in KILLS if (path := self.folder / name).exists())
        return memory.numbers(found)["oom_kill"]

    def lift(self) -> None:
        self.limit.write_text("-1" if self.limit.name == LIMIT[0] else "max")


@pytest.fixture(scope="module")
def group() -> Iterator[Group]:
    inner = next((path for path, _ in memory.groups()), None)
    if inner is None:
        pytest.skip("no memory control group here")
    folder = inner / f"llmtrain-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group may be made here: {error}")
    try:
        if not any((folder / name).exists() for name in LIMIT):
            pytest.skip("control groups made here have no memory limit")
        yield Group(folder)
    finally:
        subprocess.run(["rmdir", str(folder)], check=False)


@pytest.fixture(scope="module")
def bench(group: Group, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Its warm server and all that it starts are in the group."""
    with Bench(tmp_path_factory.mktemp("bench"),
               before=["sh", "-c", f'echo $$ > {group.folder}/cgroup.procs && exec "$@"', "sh"]) as made:
        finished(made, "--version")
        yield made


def test_the_start_after_a_kernel_kill_says_so(bench: Bench, group: Group) -> None:
    whole = bench.run_folder("whole")
    finished(bench, *bench.train_args(whole.name))
    group.allow(600 << 20)
    run = bench.cli(*bench.train_args("killed"), hook=("torture.hooks:eat_memory_at_step", [3, 2 << 30]))
    group.lift()
    assert run.code == -9, run.err()
    assert steps(bench.run_folder("killed")) == [2]
    again = finished(bench, *bench.train_args("killed"))
    told = [line for line in again.err().splitlines() if "killed for want of memory" in line]
    assert len(told) == 1 and "trainer.batch_size" in told[0] and len(told[0]) < 400, again.err()
    alike(whole, bench.run_folder("killed"), 6)
    assert "want of memory" not in finished(bench, *bench.train_args("killed")).err()


def test_a_kill_by_hand_is_not_told_as_one_of_the_kernel(bench: Bench) -> None:
    run = bench.cli(*bench.train_args("by-hand"), hook=("torture.hooks:signal_at_step", [3, 9]))
    assert run.code == -9
    assert (bench.run_folder("by-hand") / ".lock").read_text()
    again = finished(bench, *bench.train_args("by-hand"))
    assert "want of memory" not in again.err()
    assert not (bench.run_folder("by-hand") / ".lock").read_text()


def test_an_address_space_limit_ends_with_5_and_what_to_lower(bench: Bench) -> None:
    run = bench.cli(*bench.train_args("limited"), hook=("torture.hooks:limit_address_space_at_step", [3]))
    assert run.code == 5, run.err()
    lines = run.err().splitlines()
    assert len(lines) == 1 and "out of memory" in lines[0] and len(lines[0]) < 400
    for key in ("trainer.batch_size", "data.max_source_tokens", "trainer.accumulate"):
        assert key in lines[0]
    assert steps(bench.run_folder("limited")) == [2]
    finished(bench, *bench.train_args("limited"))


def test_the_largest_micro_batch_that_fits_is_found_and_kept(bench: Bench, group: Group) -> None:
    rows = bench.folder / "long.jsonl"
    rows.write_text("".join(json.dumps({"document": f"red systems number {i} " * 60, "summary": f"red {i}"}) + "\n"
                            for i in range(384)))
    args = ("data.max_source_tokens=128", "trainer.batch_size=384", f"data.train={rows}",
            "trainer.find_batch_size=true", "objective=summary_only",
            "trainer.best_metric=loss.summary", "trainer.max_steps=4")
    free = finished(bench, *bench.train_args("free", *args))
    assert "trainer.accumulate=1, 384 rows" in free.out()
    killed = group.kills()
    group.allow(400 << 20)
    first = bench.cli(*bench.train_args("tight", *args), hook=("torture.hooks:signal_at_step", [2]))
    group.lift()
    assert first.code == 143, first.err()
    found = int(first.out().split("trainer.accumulate=")[1].split(",")[0])
    assert found > 1
    assert group.kills() == killed
    second = finished(bench, *bench.train_args("tight", *args))  # there is room now, and what was found stays
    assert "rows a micro-batch" not in second.out()
    results = json.loads((bench.run_folder("tight") / "results.json").read_text())
    assert results["config"]["trainer"]["accumulate"] == found
    finished(bench, *bench.train_args("asked", *args, "trainer.find_batch_size=false", f"trainer.accumulate={found}"))
    alike(bench.run_folder("asked"), bench.run_folder("tight"), 4)
