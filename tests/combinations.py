"""Every combination: which parts go together, each pair of them in a row that trains, resumes bitwise and is scored.

The factors come from the registry, so a part that is added appears by itself. A combination that is refused must be
refused with exit code 2 in one line, before any weight is read; its smallest guilty part is found by taking the others
away one by one.

    python combinations.py CELLS.json OUT.json      runs cells as one of several processes, with RANK and WORLD_SIZE set
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from helpers import Finished, environment, make_tiny_base, warm_cli, write_jsonl
from task_rows import ROWS, SMALL

Cell = dict[str, str]  # factor -> value
ALONE = " alone"  # behind an objective: the base trains alone, a joint run starts from it
BASES = ("bert", "roberta", "distilbert", "gpt2", "llama")
NEUTRAL = {"task": "summarization", "head": "transformer", "base": "bert", "objective": "select",
           "weighting": "fixed", "precision": "fp32", "processes": "1", "accumulate": "1", "optimizer": "adamw",
           "tuning": "full"}
HEAD = {"layers": "1", "ffn": "32", "dropout": "0.1"}  # options that a head may have: small, and with random numbers
OWN = {"mlm": {"mlm.fraction": "1", "mlm.warm_steps": "1"}, "clm": {"clm.fraction": "1"},
       "denoise": {"denoise.fraction": "1", "denoise.warm_steps": "1"},  # else nothing may happen
       "dwa": {"dwa.window": "1"}, "step": {"step.steps": "1"}, "linear": {"lam_start": "0.1", "lam_steps": "3"},
       "cosine": {"lam_start": "0.1", "lam_steps": "3"}}  # in three steps


def factors() -> dict[str, list[str]]:
    """What there is to combine, here and now."""
    from llmtrain import registry
    from llmtrain.config.compose import config_dir
    from llmtrain.config.task_fit import serves

    objectives = ["none", *names("objective"), *(name + ALONE for name in names("objective"))]
    tasks = [name for name in names("task") if name in ROWS]
    heads = [name for name in names("head") if any(
        serves(registry.get("head", name), registry.get("task", task)) for task in tasks)]
    found = {"task": tasks, "head": heads, "base": list(BASES),
             "objective": objectives, "precision": ["fp32", "fp16", "bf16"], "processes": ["1", "2"],
             "accumulate": ["1", "2"]}
    for kind in ("weighting", "optimizer"):
        if kind in registry.KINDS:
            found[kind] = names(kind)
    if (tuning := config_dir() / "tuning").is_dir():
        found["tuning"] = sorted(path.stem for path in tuning.glob("*.yaml"))
    return {factor: sorted(values, key=lambda value, first=NEUTRAL[factor]: value != first)  # type: ignore[misc]
            for factor, values in found.items()}


def names(kind: str) -> list[str]:
    from llmtrain import registry

    return [part.name for part in registry.parts(kind) if not part.origin]


def overrides(cell: Cell) -> list[str]:
    """The command line of a cell, but for its base's folder."""
    from llmtrain import registry

    options = registry.get("head", cell["head"]).options
    small = [f"head.{name}={value}" for name, value in HEAD.items() if name in options.__dataclass_fields__]
    base = cell["objective"].removesuffix(ALONE)
    preset = "summary_only" if base == "none" else "base_only" if base != cell["objective"] else "joint"
    objective = [f"objective={preset}", *([] if base == "none" else [f"objective.base={base}"])]
    weighting = [f"objective.weighting={cell['weighting']}"] if "weighting" in cell else []
    own = [f"objective.{key}={value}" for factor in ("objective", "weighting")
           for key, value in OWN.get(cell.get(factor, "").removesuffix(ALONE), {}).items()]
    return [f"task={cell['task']}", f"head={cell['head']}", *small, *SMALL.get(cell["task"], ()), *objective,
            *weighting, *own, f"precision={cell['precision']}", f"trainer.accumulate={cell['accumulate']}",
            *([f"optim={cell['optimizer']}"] if "optimizer" in cell else []),
            *([f"tuning={cell['tuning']}"] if "tuning" in cell else [])]


def named(cell: Cell) -> str:
    return "-".join(cell.values()).replace(" ", "_")


# ------------------------------------------------------------------------------------------------ covering arrays

Pair = tuple[tuple[str, str], ...]


def covering(values: dict[str, list[str]], strength: int, forbidden: Iterable[Cell] = (), seed: int = 0,
             candidates: int = 20) -> tuple[list[Cell], list[Pair]]:
    """Rows that hold every combination of ``strength`` factors' values, greedily few; and those no row can hold.

    No row holds all of a forbidden cell. The same arguments give the same rows.
    """
    draw, forbidden = random.Random(seed), list(forbidden)
    open_ = {tuple(zip(chosen, combination, strict=True)) for chosen in itertools.combinations(values, strength)
             for combination in itertools.product(*(values[factor] for factor in chosen))}
    rows: list[Cell] = []
    impossible: list[Pair] = []
    while open_:
        start = min(open_)
        made = [row for _ in range(candidates)
                if (row := _row(values, dict(draw.choice(sorted(open_))), open_, forbidden, draw)) is not None]
        if not made and (row := _search(values, dict(start), forbidden)) is None:
            impossible.append(start)
            open_.remove(start)
            continue
        best = max(made, key=lambda row: len(_held(row, open_, strength))) if made else row
        assert best is not None
        open_ -= _held(best, open_, strength)
        rows.append({factor: best[factor] for factor in values})
    return rows, impossible


def _held(row: Cell, open_: set[Pair], strength: int) -> set[Pair]:
    return {pair for pair in itertools.combinations(row.items(), strength) if pair in open_}


def _allowed(row: Cell, forbidden: list[Cell]) -> bool:
    return not any(cell.items() <= row.items() for cell in forbidden)


def _row(values: dict[str, list[str]], row: Cell, open_: set[Pair], forbidden: list[Cell], draw: random.Random,
         ) -> Cell | None:
    """A whole row from a part of one, each further value the one that holds most open combinations."""
    others = [factor for factor in values if factor not in row]
    draw.shuffle(others)
    for factor in others:
        choices = [value for value in values[factor] if _allowed(row | {factor: value}, forbidden)]
        if not choices:
            return None
        draw.shuffle(choices)
        row[factor] = max(choices, key=lambda value: sum(
            all(row.get(f, value if f == factor else None) == v for f, v in pair) for pair in open_
            if (factor, value) in pair))
    row = {factor: row[factor] for factor in values}
    return row if _allowed(row, forbidden) else None


def _search(values: dict[str, list[str]], row: Cell, forbidden: list[Cell]) -> Cell | None:
    """Any allowed row that holds a part of one."""
    if not _allowed(row, forbidden):
        return None
    factor = next((factor for factor in values if factor not in row), None)
    if factor is None:
        return row
    return next((found for value in values[factor]
                 if (found := _search(values, row | {factor: value}, forbidden)) is not None), None)


# ------------------------------------------------------------------------------------------------ running cells


class Reached(BaseException):
    """The weights would be read now."""


@contextmanager
def no_weights() -> Iterator[None]:
    """Inside, reading a base's weights raises Reached."""
    from transformers import AutoModel

    def reached(*_: Any, **__: Any) -> None:
        raise Reached

    before = AutoModel.__dict__["from_pretrained"]
    AutoModel.from_pretrained = reached
    try:
        yield
    finally:
        AutoModel.from_pretrained = before


class Bench:
    """Runs cells in ``folder``: tiny bases and data are made there once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._problems: dict[str, tuple[str, ...]] = {}
        for task, make in ROWS.items():
            if not (folder / f"{task}.jsonl").exists():
                write_jsonl(folder / f"{task}.jsonl", make(24, 0))
                write_jsonl(folder / f"{task}-held.jsonl", make(4, 1))

    def base(self, family: str) -> Path:
        path = self.folder / "bases" / family
        if not (path / "config.json").exists():
            make_tiny_base(path, family)
        return path

    def command(self, cell: Cell, name: str) -> list[str]:
        return [*overrides(cell), f"model.path={self.base(cell['base'])}", f"run.name={name}",
                f"run.root={self.folder / 'runs'}", "data=files",
                f"data.train={self.folder / cell['task']}.jsonl",
                f"data.validation={self.folder / cell['task']}-held.jsonl", "data.max_test_rows=0",
                f"data.cache_dir={self.folder / 'cache'}", "data.max_source_tokens=64",
                "trainer.batch_size=8", "trainer.max_steps=3", "trainer.save_every=1", "trainer.keep_last=3",
                "trainer.eval_every=3", "trainer.eval_rows=4", "trainer.log_every=1", "trainer.device=cpu",
                "schedule.warmup_steps=1", "generation.max_new_tokens=4", "eval.bootstrap_samples=2",
                "eval.baselines=false"]

    def train(self, cell: Cell, name: str) -> Finished:
        return warm_cli("train", *self.command(cell, name), cwd=self.folder)

    def refusal(self, cell: Cell) -> str | None:
        """Why a cell cannot be trained, or None when its command comes as far as the weights."""
        return "; ".join(self.problems(cell)) or None

    def problems(self, cell: Cell) -> tuple[str, ...]:
        """Each reason for which a cell is refused.

        Raises AssertionError when its command ends before the weights in any other way than exit code 2 and one line a
        problem.
        """
        if named(cell) not in self._problems:
            self._problems[named(cell)] = self._probe(cell)
        return self._problems[named(cell)]

    def _probe(self, cell: Cell) -> tuple[str, ...]:
        try:
            with no_weights():
                ended = self.train(cell, "probe")
        except Reached:
            return ()
        finally:
            self.remove("probe")
        lines = ended.stderr.splitlines()
        assert ended.returncode == 2 and lines and all(line.startswith("llmtrain: ") for line in lines), (cell, ended)
        return tuple(line.removeprefix("llmtrain: ").replace(str(self.base(cell["base"])), "FOLDER")
                     for line in dict.fromkeys(lines))

    def guilty(self, cell: Cell, values: dict[str, list[str]]) -> tuple[Cell, list[str]]:
        """What the first problem of a refused cell hangs on: a cell that has it and is neutral wherever it can be, and
        the factors of it that are not neutral, or of which another value would not have it.
        """
        first = self.problems(cell)[0]
        for factor in cell:
            if first in self.problems(plainer := cell | {factor: NEUTRAL[factor]}):
                cell = plainer
        return cell, [factor for factor, value in cell.items() if value != NEUTRAL[factor]
                      or any(first not in self.problems(cell | {factor: other}) for other in values[factor])]

    def check(self, cell: Cell) -> str:
        """Train three steps, go on from the second again, score. Returns "" or what is wrong."""
        name = named(cell)
        problem = self.trains(cell, name) or self.resumes(cell, name) or self.scores(cell, name)
        wait()
        if not problem and os.environ.get("RANK", "0") == "0":
            self.remove(name)
        return problem

    def trains(self, cell: Cell, name: str) -> str:
        ended = self.train(cell, name)
        return "" if ended.returncode == 0 else f"train ended with {ended.returncode}: {last(ended.stderr)}"

    def resumes(self, cell: Cell, name: str) -> str:
        run, rank = self.folder / "runs" / name, os.environ.get("RANK", "0")
        if rank == "0":
            shutil.copytree(run, self.folder / "runs" / f"{name}-again")
            forget_the_third_step(self.folder / "runs" / f"{name}-again")
        wait()
        ended = self.train(cell, f"{name}-again")
        if ended.returncode != 0:
            return f"resume ended with {ended.returncode}: {last(ended.stderr)}"
        return difference(run, self.folder / "runs" / f"{name}-again") if rank == "0" else ""

    def scores(self, cell: Cell, name: str) -> str:
        if cell["objective"].endswith(ALONE):
            ended = warm_cli("train", *self.command(cell | {"objective": "none"}, f"{name}-from"),
                             f"model.init_from={self.folder / 'runs' / name}", cwd=self.folder)
            return "" if ended.returncode == 0 else f"a run from it ended with {ended.returncode}: {last(ended.stderr)}"
        if os.environ.get("RANK", "0") != "0":
            return ""
        run = self.folder / "runs" / name
        with alone():
            ended = warm_cli("eval", f"checkpoint={run}", "eval.split=validation", f"eval.output={run / 'scored'}",
                             "trainer.device=cpu", cwd=self.folder)
        if ended.returncode != 0:
            return f"eval ended with {ended.returncode}: {last(ended.stderr)}"
        first, again = (json.loads((folder / "results.json").read_text())["metrics"]["validation"]
                        for folder in (run, run / "scored"))
        # two processes decode in batches of other sizes
        same = cell["processes"] != "1" or first == again
        return "" if same else f"eval gives {again}, the run {first}"

    def remove(self, name: str) -> None:
        for folder in (name, f"{name}-again", f"{name}-from"):
            shutil.rmtree(self.folder / "runs" / folder, ignore_errors=True)


def last(text: str) -> str:
    """The last line that is llmtrain's own, else the last."""
    lines = text.strip().splitlines() or [""]
    return next((line for line in reversed(lines) if line.startswith("llmtrain: ")), lines[-1])[:300]


def forget_the_third_step(run: Path) -> None:
    """Leave a run as a stop after its second step leaves it."""
    (run / "results.json").unlink()
    shutil.rmtree(run / "checkpoints" / "step-3")
    body = json.loads((run / "checkpoints" / "step-2" / "manifest.json").read_text())
    assert body["step"] == 2
    for pointer in ("last", "best"):
        (run / "checkpoints" / pointer).unlink(missing_ok=True)


def difference(first: Path, second: Path) -> str:
    """What is not bitwise the same in two runs' third step and logs, timings apart; "" for nothing."""
    import torch
    from safetensors.torch import load_file

    one, two = (run / "checkpoints" / "step-3" for run in (first, second))
    files = sorted(path.relative_to(one) for path in one.rglob("*.safetensors"))
    if not files or files != sorted(path.relative_to(two) for path in two.rglob("*.safetensors")):
        return "resumed: other files in the third step"
    for file in files:
        left, right = load_file(one / file), load_file(two / file)
        wrong = [key for key in sorted(left.keys() | right.keys()) if key not in left or key not in right
                 or not torch.equal(left[key], right[key])]
        if wrong:
            return f"resumed: {len(wrong)} tensors differ in {file}, first {wrong[0]}"
    for file in sorted((one / "state").glob("*.json")):
        if file.stem != "progress" and file.read_text() != (two / "state" / file.name).read_text():
            return f"resumed: state/{file.name} differs"
    logs = [[{key: value for key, value in json.loads(line).items() if not key.startswith("time.")}
             for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (first, second)]
    return "" if logs[0] == logs[1] else "resumed: metrics.jsonl differs"


# ------------------------------------------------------------------------------------------------ several processes


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process is not one of several."""
    held = {name: os.environ.pop(name) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE") if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(held)


def wait() -> None:
    """Until every process is here."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.barrier()


def pairwise_in_processes(cells: list[Cell], folder: Path) -> list[str]:
    """What :meth:`Bench.check` says of each cell, run by two processes."""
    for cell in cells:
        Bench(folder).base(cell["base"])
    asked, out = folder / "cells.json", folder / "outcomes.json"
    asked.write_text(json.dumps(cells))
    out.unlink(missing_ok=True)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    started = [subprocess.Popen([sys.executable, __file__, str(asked), str(out)], cwd=folder, env=environment(
        {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
         "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True) for rank in range(2)]
    told = [process.communicate(timeout=900)[0] for process in started]
    outcomes: list[str] = json.loads(out.read_text()) if out.exists() else []
    return outcomes + [f"the processes ended: {last(told[0])} / {last(told[1])}"] * (len(cells) - len(outcomes))


def main(asked: Path, out: Path) -> None:
    import torch

    torch.set_num_threads(1)
    # a command ends the group of processes at its end; the next one in the same processes needs it
    torch.distributed.destroy_process_group = lambda *_: None
    bench = Bench(asked.parent)
    outcomes = []
    for cell in json.loads(asked.read_text()):
        outcomes.append(bench.check(cell))
        if os.environ["RANK"] == "0":
            out.write_text(json.dumps(outcomes))
        wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
