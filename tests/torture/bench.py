"""Where a row of the torture table works: one version of the source, a tiny base, rows, and processes to start.

:class:`Bench` starts commands of one source tree, from a warm server (``start``) or as a program of its own (``cold``,
which other tools such as strace can stand in front of). :class:`Run` is one such process.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers import SOURCE, environment, make_tiny_base, pairs, write_jsonl
from llmtrain.config.sections.task import DEFAULT
from task_rows import ROWS
from task_rows import SMALL as OWN_KEYS
from torture.change import Change
from torture.servers import Forked, Program, Server

TORTURE = Path(__file__).resolve().parent
ALL = ("head.layers=1", "head.ffn=32", "head.dropout=0.1")  # options that make a head small and lively
# which of them it has; any other head has all
SEVERAL = "multi"
SMALL = {"gru": ALL[::2], "lstm": ALL[::2], "prefix_lm": (), "classifier": ALL[2:], "span": ALL[2:]}


class Caught(AssertionError):
    """What must hold did not. The text says what was done and what was seen."""


def must(condition: object, what: str) -> None:
    """Raise :class:`Caught` unless the condition is true."""
    if not condition:
        raise Caught(what)


@dataclass
class Run:
    """One process. It leads a process group of its own."""

    pid: int
    out_path: Path
    err_path: Path
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    code: int | None = None  # as a shell tells it: -N for a death by signal N
    peak: int = 0  # resident bytes
    busy: float = 0.0  # seconds of CPU time, which other work on the machine does not lengthen as it does ``seconds``
    _done: threading.Event = field(default_factory=threading.Event)

    def settle(self, code: int, kib: int = 0, busy: float = 0.0) -> None:
        self.code, self.peak, self.busy, self.ended = code, kib << 10, busy, time.monotonic()
        self._done.set()

    @property
    def running(self) -> bool:
        return not self._done.is_set()

    def wait(self, timeout: float = 120) -> int:
        """The exit code; ends the whole group and raises Caught when the process outlives ``timeout`` seconds."""
        if not self._done.wait(timeout):
            tail = self.err()[-2000:]
            self.end()
            raise Caught(f"still running after {timeout:g} s; stderr ends: {tail}")
        assert self.code is not None
        return self.code

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.started

    def out(self) -> str:
        return self.out_path.read_text(encoding="utf-8", errors="replace")

    def err(self) -> str:
        return self.err_path.read_text(encoding="utf-8", errors="replace")

    def send(self, number: int, group: bool = False) -> None:
        """A signal to the process, or to its whole group; fine when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def end(self) -> None:
        """Kill the group and wait for it."""
        self.send(signal.SIGKILL, group=True)
        self._done.wait(20)

    def until(self, seen: Callable[[], object], timeout: float = 60, pause: float = 0.0005) -> bool:
        """Wait until ``seen()`` is true; False when the process ended first or time is up."""
        limit = time.monotonic() + timeout
        while time.monotonic() < limit:
            if seen():
                return True
            if not self.running:
                return bool(seen())
            time.sleep(pause)
        return False


class Bench:
    """Starts commands of one source tree inside ``folder``. Use as a context manager.

    Args:
        folder: Everything is written below it.
        source: The folder that holds the package ``llmtrain``; a mutant's is a changed copy.
        before: What stands in front of the warm server's command (strace ...).
        env: Beside the usual environment; an empty value takes the variable away.
    """

    def __init__(self, folder: Path, source: Path = SOURCE, before: Sequence[str] = (),
                 env: dict[str, str] | None = None) -> None:
        self.folder, self.source, self.before, self.env = folder, source, before, env or {}
        folder.mkdir(parents=True, exist_ok=True)
        self._count = 0
        self._server: Server | None = None
        self._runs: dict[int, Run] = {}
        self._waiting: dict[int, Callable[[int], None]] = {}
        self._lock = threading.Lock()
        self._all: list[Run] = []

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        for run in self._all:
            if run.running:
                run.end()
        if self._server is not None:
            self._server.close()

    # ------------------------------------------------------------------------------------------ what runs work on

    def base(self, family: str = "bert", mlm: bool = True) -> Path:
        """A seeded 2-layer base, made once."""
        folder = self.folder / f"base-{family}-{'mlm' if mlm else 'plain'}"
        return folder if folder.is_dir() else make_tiny_base(folder, family, mlm=mlm)

    def data(self, task: str = DEFAULT) -> Path:
        """A folder with train, validation and test .jsonl of a task: 48, 4 and 2 rows."""
        folder = self.folder / ("data" if task == DEFAULT else f"data-{task}")
        if not folder.is_dir():
            folder.mkdir()
            for seed, (name, count) in enumerate((("train", 48), ("validation", 4), ("test", 2))):
                write_jsonl(folder / f"{name}.jsonl", (pairs if task == DEFAULT else ROWS[task])(count, seed))
        return folder

    def files(self, task: str) -> list[str]:
        return [f"data.{split}={self.data(task) / split}.jsonl" for split in ("train", "validation", "test")]

    def several(self) -> list[str]:
        """A run's tasks, each with its own data: two that write, one in a vocabulary of its own, labels and spans."""
        tasks = []
        for task in (DEFAULT, "translation", "classification", "question_answering"):
            keys = [key.removeprefix("data.").replace("=", ": ")
                    for key in (*self.files(task), *OWN_KEYS.get(task, ()))]
            writes = task in (DEFAULT, "translation")
            head = "head: {name: transformer, layers: 1, ffn: 32, dropout: 0.1}, " if writes else ""
            tasks.append(f"{{task: {task}, {head}data: {{{', '.join(keys)}}}}}")
        return [f"task.tasks=[{', '.join(tasks)}]"]

    def train_args(self, name: str, *overrides: str) -> list[str]:
        """``train`` of a tiny run called ``name``: 6 steps of 8 rows, saved and validated at 2, 4 and 6, dropout on."""
        task = next((one.removeprefix("task=") for one in overrides if one.startswith("task=")), DEFAULT)
        head = next((one.removeprefix("head=") for one in overrides if one.startswith("head=")), "transformer")
        return ["train", f"model.path={self.base()}", *(() if task == SEVERAL else SMALL.get(head, ALL)), "data=files",
                *(self.several() if task == SEVERAL else self.files(task)),
                f"data.cache_dir={self.folder / 'cache'}", "data.max_source_tokens=32", *OWN_KEYS.get(task, ()),
                "trainer.batch_size=8", "trainer.log_every=1", "trainer.eval_rows=4", "trainer.eval_every=2",
                "schedule.warmup_steps=2", "model.dropout=0.1", "generation.max_new_tokens=4",
                "eval.bootstrap_samples=5", "eval.baselines=false", "trainer.max_steps=6",
                "trainer.best_metric=loss.total", f"run.root={self.folder / 'runs'}", f"run.name={name}", *overrides]

    def run_folder(self, name: str) -> Path:
        return self.folder / "runs" / name

    # ------------------------------------------------------------------------------------------------- processes

    def start(self, *args: str, cwd: Path | None = None, env: dict[str, str] | None = None, stdin: str | None = None,
              hook: tuple[str, Sequence[Any]] | None = None, script: Path | None = None) -> Run:
        """``llmtrain ARGS`` as a child of the warm server.

        Args:
            env: Beside the usual environment; an empty value takes the variable away.
            hook: ("module:function" under tests/, its arguments), called in the child before the command.
            script: Run this Python file with ARGS instead of llmtrain.
        """
        self._count += 1
        number = self._count
        out, err = self._outputs(number)
        variables = {name: value for name, value in {**self._environment(), **(env or {})}.items() if value}
        task = {"id": number, "args": list(args), "cwd": str(cwd or self.folder), "env": variables, "out": str(out),
                "err": str(err), "stdin": self._stdin(number, stdin), "script": None if script is None else str(script),
                "hook": None if hook is None else [hook[0], list(hook[1])]}
        server, answered = self._warm(), threading.Event()
        made: list[Run] = []

        def ready(pid: int) -> None:
            made.append(Run(pid, out, err))
            self._runs[pid] = made[0]
            answered.set()

        self._waiting[number] = ready
        with self._lock:
            server.send(json.dumps(task))
        if not answered.wait(60):
            raise RuntimeError("the warm server does not answer")
        self._all.append(made[0])
        return made[0]

    def cold(self, *args: str, cwd: Path | None = None, env: dict[str, str] | None = None, stdin: str | None = None,
             before: Sequence[str] = (), program: Sequence[str] = ("-m", "llmtrain")) -> Run:
        """``BEFORE python -m llmtrain ARGS``, a program of its own: its start takes seconds."""
        self._count += 1
        number = self._count
        out, err = self._outputs(number)
        variables = {name: value for name, value in {**self._environment(), **(env or {})}.items() if value}
        given_path = self._stdin(number, stdin) or os.devnull
        with out.open("wb") as to_out, err.open("wb") as to_err, open(given_path, encoding="utf-8") as given:
            process = subprocess.Popen([*before, sys.executable, *program, *args], cwd=cwd or self.folder,
                                       env=variables, stdin=given, stdout=to_out, stderr=to_err,
                                       start_new_session=True)
        run = Run(process.pid, out, err)

        def wait() -> None:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            run.settle(process.returncode, usage.ru_maxrss, usage.ru_utime + usage.ru_stime)

        threading.Thread(target=wait, daemon=True).start()
        self._all.append(run)
        return run

    def cli(self, *args: str, timeout: float = 120, **how: Any) -> Run:
        """:meth:`start` and wait."""
        run = self.start(*args, **how)
        run.wait(timeout)
        return run

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.source), str(TORTURE.parent)])
        return {name: value for name, value in {**environment(), "PYTHONPATH": path, **self.env}.items() if value}

    def _outputs(self, number: int) -> tuple[Path, Path]:
        folder = self.folder / "outputs"
        folder.mkdir(exist_ok=True)
        return folder / f"{number}.out", folder / f"{number}.err"

    def _stdin(self, number: int, text: str | None) -> str | None:
        if text is None:
            return None
        path = self.folder / "outputs" / f"{number}.in"
        path.write_text(text, encoding="utf-8")
        return str(path)

    def _warm(self) -> Server:
        if self._server is None:
            errors = self.folder / "server.err"
            own = self.before or self.env
            self._server = Program(self.before, self._environment(), errors) if own else Forked(self._environment(),
                                                                                                errors)
            if not self._server.answers.readline():
                raise RuntimeError(f"the warm server did not start: {errors.read_text(encoding='utf-8')[-2000:]}")
            threading.Thread(target=self._listen, daemon=True).start()
        return self._server

    def _listen(self) -> None:
        assert self._server is not None
        for line in self._server.answers:
            answer = json.loads(line)
            if "id" in answer:
                self._waiting.pop(answer["id"])(answer["pid"])
            else:
                code = os.waitstatus_to_exitcode(answer["status"])
                self._runs.pop(answer["pid"]).settle(code, answer["kib"], answer["busy"])


@contextlib.contextmanager
def changed_source(folder: Path, change: Change) -> Iterator[Path]:
    """A copy of the source with one change made: a deliberately broken program.

    Raises:
        ValueError: There is not exactly one place for it: the code has moved on, and the change must follow.
    """
    copy = folder / "src"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "configs").symlink_to(SOURCE.parent / "configs")
    path = copy / "llmtrain" / change.file
    path.write_text(change.apply(path.read_text(encoding="utf-8")), encoding="utf-8")
    try:
        yield copy
    finally:
        shutil.rmtree(folder, ignore_errors=True)
