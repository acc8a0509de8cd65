"""How a run of a study is started: its command, where it lies, what of the machine it gets, and why one failed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from llmtrain import plugins
from llmtrain.config.overrides import config_files
from llmtrain.core.children import Forwarding
from llmtrain.core.errors import ConfigError, LlmtrainError, ResourceError, Stopped, shorten
from llmtrain.core.files import make_folder
from llmtrain.study.plan import Plan, Run

LOGS = "logs"


def train_command(processes: int | None) -> list[str]:
    """How a run of this study is started, overrides to follow."""
    launcher = [] if not processes or processes == 1 else [
        "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    starter = [] if launcher else ["--starter", str(os.getpid())]  # else the launcher would be the parent
    return [sys.executable, "-m", *launcher, "llmtrain", "train", *starter, *plugins.arguments(),
            *config_files.arguments()]


def place(folder: Path, name: str) -> list[str]:
    return [f"run.root={folder}", f"run.name={name}"]


def kept(plan: Plan, run: Run) -> list[str]:
    """One checkpoint beside the best, where nothing else is asked for: a study is many runs on one disk."""
    asked = any(word.lstrip("+").startswith("trainer.keep_last=") for word in (*plan.typed, *run.cell.overrides))
    return [] if asked or run.cell.config.optim.average_last else ["trainer.keep_last=1"]


def check_disk(folder: Path, left: int) -> str | None:
    """A warning where the disk has no room for so many more runs like the one in ``folder``."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free
    if size * left <= free:
        return None
    return (f"a run takes {size / 2**30:.2f} GiB, {left} more are to come and {free / 2**30:.1f} GiB are free at "
            f"{folder}; free space (runs that find none are passed over, and the same command tries them again)")


def share(slot: int, parallel: int) -> dict[str, str]:
    """The environment of one of several runs at a time: a GPU of its own, or its share of the cores."""
    if parallel == 1:
        return {}
    gpus = visible_gpus()
    if gpus:
        return {"CUDA_VISIBLE_DEVICES": gpus[slot]}
    return {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // parallel))}


def visible_gpus() -> list[str]:
    """The GPUs that this process may hand out, by what CUDA_VISIBLE_DEVICES calls them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() and name.strip() != "-1"]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def check_parallel(plan: Plan) -> None:
    """Raise ConfigError where fewer GPUs are seen than runs shall be trained at a time."""
    parallel, processes = plan.study.parallel, plan.config.trainer.processes or 1
    if parallel == 1:
        return
    if processes > 1:
        raise ConfigError(f"study.parallel={parallel} gives each run a GPU and trainer.processes={processes} wants "
                          "several for each; leave one of them out")
    if (gpus := visible_gpus()) and len(gpus) < parallel:
        raise ConfigError(f"study.parallel={parallel} and {len(gpus)} GPU{'s are' if len(gpus) > 1 else ' is'} seen; "
                          f"use study.parallel={len(gpus)}")


def problem_of(log: Path, offset: int, code: int) -> str:
    """Why a run failed: its own last line, else its exit code."""
    with log.open("rb") as file:
        file.seek(offset)
        text = file.read().decode("utf-8", errors="replace")
    if code < 0:
        return (f"killed by signal {-code}, which is 9 where the system was out of memory; the same command tries it "
                "again")
    lines = [line.removeprefix("llmtrain: ") for line in text.splitlines() if line.startswith("llmtrain: ")]
    others = [line for line in text.splitlines() if line.strip()]
    return shorten((lines or others or [f"ended with {code}"])[-1], 300)


def run_of_pace(plan: Plan, forwarding: Forwarding, run: Run, more: list[str], name: str) -> Path:
    """Train one measurement of a cell's pace; the run's folder.

    Raises:
        Stopped: A signal asked to stop.
        LlmtrainError: It failed, with its line and its exit code.
    """
    log = plan.folder / LOGS / f"{name}.log"
    make_folder(log.parent)
    offset = log.stat().st_size if log.exists() else 0
    command = [*train_command(run.cell.config.trainer.processes), *plan.typed, *run.cell.overrides, *more,
               *place(plan.folder, name), f"run.seed={run.seed}"]
    with log.open("ab") as output:
        code = forwarding.run(command, output)
    if forwarding.signals:
        raise Stopped("stopped while paces are measured; the same command goes on", forwarding.signals[0])
    if code:
        failure = LlmtrainError(f"{run.cell.name} failed while its pace was measured: {problem_of(log, offset, code)}")
        failure.exit_code = code if code > 0 else ResourceError.exit_code
        raise failure
    return plan.folder / name
