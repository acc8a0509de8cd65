"""A warm process that forks one child a command: real processes, without the seconds that imports take.

Started by warm.py with the source tree to test on PYTHONPATH; with ``--libraries`` it loads no source tree, and forks
servers that do. A server reads one JSON object a line from stdin:

    {"id", "args", "cwd", "env", "out", "err", "stdin", "hook": ["module:function", [arguments]] | null, "script"}

runs ``llmtrain ARGS`` (or the Python file ``script`` with ARGS) in a child that leads a session of its own, and
answers ``{"id", "pid"}`` at once and ``{"pid", "status", "kib", "busy"}`` (wait status, peak resident KiB, CPU seconds)
when it has ended.
A hook runs in the child before the command: it sets a limit or makes a system call fail. The children end with the
server.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import logging
import os
import runpy
import select
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
LIBRARIES = ("accelerate", "datasets", "hydra", "rouge_score.rouge_scorer", "safetensors.torch",
             "transformers.models.auto.modeling_auto", "transformers.models.bert.modeling_bert",
             "transformers.models.bert.tokenization_bert")


def load_libraries() -> None:
    """What takes long to import and is the same for every source tree."""
    for name in ("torchao", "torch.utils._pytree"):  # they warn of other devices' kernels
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in LIBRARIES:
        importlib.import_module(name)


def warm_up() -> None:
    """Import all that the commands import late."""
    load_libraries()
    from llmtrain import registry
    from llmtrain.cli import COMMANDS
    from llmtrain.log import quiet_libraries

    quiet_libraries()
    modules = [part.target.partition(":")[0] for kind in registry.KINDS for part in registry.parts(kind)]
    for name in ("llmtrain.hf", "llmtrain.summarizer", "llmtrain.training.loop", "llmtrain.training.setup",
                 *(f"llmtrain.commands.{command.replace('-', '_')}" for command in COMMANDS), *modules):
        importlib.import_module(name)


def child(task: dict[str, Any]) -> NoReturn:
    code = 1
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, (path, flags) in enumerate(((task["stdin"] or os.devnull, os.O_RDONLY),
                                                (task["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
                                                (task["err"], os.O_WRONLY | os.O_CREAT | os.O_APPEND))):
            handle = os.open(path, flags, 0o666)
            os.dup2(handle, number)
            os.close(handle)
        sys.stdin = os.fdopen(0, "r", encoding="utf-8", closefd=False)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", closefd=False)
        os.chdir(task["cwd"])
        os.environ.clear()
        os.environ.update(task["env"])
        if task["hook"] is not None:
            target, arguments = task["hook"]
            module, _, function = target.partition(":")
            getattr(importlib.import_module(module), function)(*arguments)
        if task["script"] is None:
            from llmtrain.cli import main

            code = main(task["args"])
        else:
            sys.argv = [task["script"], *task["args"]]
            runpy.run_path(task["script"], run_name="__main__")
            code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


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


def fork_servers() -> None:
    """Load the libraries, and fork a server for each request {"env", "errors"}: it has the socket that came with it."""
    load_libraries()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a server here
    requests = socket.socket(fileno=os.dup(0))
    while True:
        data, handles, _, _ = socket.recv_fds(requests, 1 << 16, 1)
        if not data:
            return
        pid = os.fork()
        if pid == 0:
            requests.close()
            become_server(json.loads(data), handles[0])
        os.close(handles[0])
        requests.send(str(pid).encode())


def become_server(task: dict[str, Any], handle: int) -> NoReturn:
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        errors = os.open(task["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        for number, given in enumerate((handle, handle, errors)):
            os.dup2(given, number)
        os.environ.clear()
        os.environ.update(task["env"])
        sys.path[:0] = task["env"]["PYTHONPATH"].split(os.pathsep)
        warm_up()
        serve()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


if __name__ == "__main__":
    if sys.argv[1:] == ["--libraries"]:
        fork_servers()
    else:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        warm_up()
        serve()
