"""A warm process that forks one child a command: real processes, without the seconds that imports take.

Started by servers.py with the source tree to test on PYTHONPATH. It reads one JSON object a line from stdin:

    {"id", "args", "cwd", "env", "out", "err", "stdin", "hook": ["module:function", [arguments]] | null, "script"}

runs ``llmtrain ARGS`` (or the Python file ``script`` with ARGS) in a child that leads a session of its own, and
answers ``{"id", "pid"}`` at once and ``{"pid", "status", "kib", "busy"}`` (wait status, peak resident KiB, CPU seconds)
when it has ended.
A hook runs in the child before the command: it sets a limit or makes a system call fail. The children end with the
server.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import sys
from typing import Any, NoReturn

from warm.process import become, load_libraries


def warm_up() -> None:
    """Import all that the commands import late."""
    load_libraries()
    from llmtrain import registry
    from llmtrain.cli.main import COMMANDS
    from llmtrain.core.logging import quiet_libraries

    quiet_libraries()
    modules = [part.target.partition(":")[0] for kind in registry.KINDS for part in registry.parts(kind)]
    for name in ("llmtrain.hf", "llmtrain.tasks.summarization.summarizer", "llmtrain.training.trainer",
                 "llmtrain.training.build",
                 *(f"llmtrain.cli.commands.{command.replace('-', '_')}" for command in COMMANDS), *modules):
        importlib.import_module(name)
    from llmtrain.config.load import load
    from llmtrain.core.errors import LlmtrainError

    with contextlib.suppress(LlmtrainError):  # it is about the caches that a first composition fills
        load("train", ["data=files"])
    gc.freeze()  # what is forked need not go through all this, nor copy it for that


def child(task: dict[str, Any]) -> NoReturn:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    become(task, lambda: [
        os.open(task["stdin"] or os.devnull, os.O_RDONLY),
        *(os.open(task[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666) for name in ("out", "err"))],
        lambda: command(task))


def command(task: dict[str, Any]) -> None:
    if task["hook"] is not None:
        target, arguments = task["hook"]
        module, _, function = target.partition(":")
        getattr(importlib.import_module(module), function)(*arguments)
    if task["script"] is None:
        from llmtrain.cli.main import main

        sys.exit(main(task["args"], program=True))
    sys.argv = [task["script"], *task["args"]]
    runpy.run_path(task["script"], run_name="__main__")


def serve() -> None:
    requests = os.dup(0)  # children get a stdin of their own
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    answers.write(json.dumps({"ready": os.getpid()}) + "\n")
    held = b""
    while True:
        ready, _, _ = select.select([requests, readable], [], [])
        if requests in ready:
            data = os.read(requests, 1 << 16)
            if not data:
                return
            *lines, held = (held + data).split(b"\n")
            for line in lines:
                task = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    child(task)
                answers.write(json.dumps({"id": task["id"], "pid": pid}) + "\n")
        if readable in ready:
            os.read(readable, 1 << 12)
            while True:
                try:
                    pid, status, usage = os.wait4(-1, os.WNOHANG)
                except ChildProcessError:
                    break
                if pid == 0:
                    break
                answers.write(json.dumps({"pid": pid, "status": status, "kib": usage.ru_maxrss,
                                          "busy": usage.ru_utime + usage.ru_stime}) + "\n")


if __name__ == "__main__":
    warm_up()
    serve()
