"""The process that has loaded what every source tree imports, and none of them. libraries.py starts it.

Its standard input is a socket over which it is asked for torture servers; its argument is the number of the listening
socket that interpreters (interpreter.py) come to. It ends when the standard input does, and all that it forked with it.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import logging
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
LIBRARIES = ("accelerate", "datasets", "hydra", "rich.live", "rich.markup", "rich.progress_bar", "rich.table",
             "rouge_score.rouge_scorer", "safetensors.torch", "torch.distributed.run",
             "transformers.models.auto.modeling_auto", "transformers.models.bert.modeling_bert",
             "transformers.models.bert.tokenization_bert")
OVERRIDES = ("a=b", "+a/b=c", "a.b=1", "a.b=1e-3", "a.b=null", "a.b=true", "a.b=/c/d.e", "a.b='c d'", "a.b=[c,1]",
             "a.b=[{c: d}]", "a=b-c_d")


def load_libraries() -> None:
    """What takes long to import, or to do for the first time, and is the same for every source tree."""
    for name in ("torchao", "torch.utils._pytree"):  # they warn of other devices' kernels
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in LIBRARIES:
        importlib.import_module(name)
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.plugins import Plugins
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    Plugins.instance()
    OverridesParser.create().parse_overrides(list(OVERRIDES))  # the grammar is worked out where it is first met
    get_checkpoint_conversion_mapping("bert")  # compiles a thousand expressions


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def take_streams(handles: Sequence[int], unbuffered: bool = False) -> None:
    """These become the standard input, output and error."""
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin = os.fdopen(0, "r", encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", buffering=1 if unbuffered else -1, encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", closefd=False)


def ended_with(program: Callable[[], object]) -> int:
    """The exit code of a program run to its end."""
    try:
        program()
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def become(task: dict[str, Any], streams: Callable[[], Sequence[int]], program: Callable[[], object],
           at_end: Callable[[], object] = bool, unbuffered: bool = False) -> NoReturn:
    """This process, which was forked, becomes a program in a session of its own, and ends with its exit code.

    Args:
        task: Its folder, "cwd", and its environment, "env".
        streams: Opens what becomes the standard input, output and error.
    """
    code = 1
    try:
        os.setsid()
        die_with_parent()
        take_streams(streams(), unbuffered)
        os.chdir(task["cwd"])
        os.environ.clear()
        os.environ.update(task["env"])
        code = ended_with(program)
        at_end()
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def run_program(task: dict[str, Any], handles: Sequence[int], path: list[str]) -> NoReturn:
    """What an interpreter was asked to run, in this process; ``path`` is what every program finds modules on."""
    arguments: list[str] = task["arguments"]
    if unbuffered := arguments[0] == "-u":
        arguments = arguments[1:]
    sys.executable = task["executable"]
    tempfile.tempdir = None  # some library has asked for it in this process's own environment
    named = [folder for folder in task["env"].get("PYTHONPATH", "").split(os.pathsep) if folder]
    become(task, lambda: handles, lambda: start(arguments, [*named, *path]), end_as_python, unbuffered)


def end_as_python() -> None:
    """Python waits for its threads, then does what was registered for its end."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()


def start(arguments: list[str], path: list[str]) -> None:
    what, *rest = arguments
    sys.path[:] = path
    if not os.environ.get("PYTHONSAFEPATH"):
        sys.path.insert(0, "" if what in ("-c", "-m") else str(Path(what).resolve().parent))
    if what == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif what == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.modules["__main__"] = module = ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), module.__dict__)
    else:
        sys.argv = arguments
        runpy.run_path(what, run_name="__main__")


def keep(connection: socket.socket, path: list[str]) -> NoReturn:
    """Fork a program for an interpreter, tell it the process id and at the end the wait status; end one with the
    other."""
    die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    data, handles, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    pid = os.fork()
    if pid == 0:
        connection.close()
        run_program(json.loads(data), handles, path)
    for handle in handles:
        os.close(handle)
    connection.send(str(pid).encode())
    ended = os.pidfd_open(pid)
    if ended not in select.select([ended, connection], [], [])[0]:  # the interpreter is gone
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    try:
        connection.send(str(status).encode())
    finally:
        os._exit(0)


def become_server(task: dict[str, Any], handle: int) -> NoReturn:
    """A server of the torture table: {"env", "errors"}, and the socket that it hears and answers on."""
    try:
        os.setsid()
        die_with_parent()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        errors = os.open(task["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        for number, given in enumerate((handle, handle, errors)):
            os.dup2(given, number)
        os.environ.clear()
        os.environ.update(task["env"])
        sys.path[:0] = task["env"]["PYTHONPATH"].split(os.pathsep)
        from torture.server import serve, warm_up

        warm_up()
        serve()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def reap(*_: object) -> None:
    """Wait for what has ended, so that its CPU time counts as this process's (cost.py)."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main(listening: int) -> None:
    path = sys.path[1:]  # without the folder of this file
    load_libraries()
    gc.freeze()  # what is forked need not go through all this, nor copy it for that
    signal.signal(signal.SIGCHLD, reap)
    requests, listener = socket.socket(fileno=os.dup(0)), socket.socket(fileno=listening)
    while True:
        ready = select.select([requests, listener], [], [])[0]
        if listener in ready:
            connection = listener.accept()[0]
            if os.fork() == 0:
                requests.close()
                listener.close()
                keep(connection, path)
            connection.close()
        if requests in ready:
            data, handles, _, _ = socket.recv_fds(requests, 1 << 16, 1)
            if not data:
                return
            pid = os.fork()
            if pid == 0:
                requests.close()
                listener.close()
                become_server(json.loads(data), handles[0])
            os.close(handles[0])
            requests.send(str(pid).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]))
