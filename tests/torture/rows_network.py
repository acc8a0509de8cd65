"""The row about the network: none at all, a hub that refuses, is silent, slow, or answers nonsense."""

from __future__ import annotations

import contextlib
import http.server
import random
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torture.bench import Bench, Run, must
from torture.rows import Skipped

SECONDS = 10  # that a name of the hub may take to fail
SLACK = 5  # more, where the machine is busy: the command's own start counts
BASE, DATA = "model.path=nobody/no-such-base", ("data=hub", "data.hub.name=nobody/no-such-data", "data.cache_dir=null")


def no_network(bench: Bench, n: int, draw: random.Random) -> str:
    """R14: without a network local things work and try no connection; a name of the hub fails in 10 s with one line,
    wherever the hub is."""
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode:
        raise Skipped("unshare -n is forbidden here")
    slowest, plan = 0.0, [CASES[number % len(CASES)] for number in range(n)]
    with cut_off(bench) as (inner, trace):
        for number, (name, case) in enumerate(plan):
            slowest = max(slowest, case(bench, inner, trace, bench.run_folder(f"network-{number}"), name))
    told = "strace saw no connection" if trace else "no strace here"
    return f"{', '.join(name for name, _ in plan)}; local things worked and {told}; names failed in {slowest:.1f} s"


Case = Callable[[Bench, Bench, "Path | None", Path, str], float]


@contextmanager
def cut_off(bench: Bench) -> Iterator[tuple[Bench, Path | None]]:
    """A bench whose processes have no network, not even a loopback that is up, under strace where there is one."""
    trace = bench.folder / "connections.trace"
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect,sendto,sendmmsg", "-e", "signal=none", "-o",
              str(trace)]
    works = shutil.which("strace") and subprocess.run([*strace, "true"], capture_output=True,
                                                      check=False).returncode == 0
    with Bench(bench.folder / "cut-off", bench.source, ["unshare", "-rn", *(strace if works else [])],
               {"HF_HUB_OFFLINE": ""}) as inner:
        yield inner, trace if works else None


def local(*commands: Callable[[Bench, Path], list[str]]) -> Case:
    def case(_: Bench, inner: Bench, trace: Path | None, folder: Path, name: str) -> float:
        for command in commands:
            start = trace.stat().st_size if trace else 0
            run = inner.cli(*command(inner, inner.run_folder(folder.name)), stdin="Some text. And more.\n")
            must(run.code == 0, f"{name} without a network ended with {run.code}: {run.err()[-800:]}")
            tried = trace.read_bytes()[start:].decode(errors="replace").splitlines() if trace else []
            tried = [line for line in tried if "AF_INET" in line]
            must(not tried, f"{name} without a network tried {tried[:2]}")
        return 0.0

    return case


def trains(bench: Bench, folder: Path) -> list[str]:
    return bench.train_args(folder.name)


def uses(*words: str) -> Callable[[Bench, Path], list[str]]:
    return lambda _, folder: [word.replace("RUN", str(folder)) for word in words]


def shows(bench: Bench, folder: Path) -> list[str]:
    return ["data", "show", *(word for word in bench.train_args(folder.name) if word.startswith("data"))]


def named(*overrides: str) -> Case:
    """A name of the hub where there is no network."""
    def case(_: Bench, inner: Bench, _trace: Path | None, folder: Path, name: str) -> float:
        run = inner.start(*inner.train_args(folder.name, *overrides),
                          hook=("torture.hooks:hub_of_the_environment", []))
        return told(run, name, inner.run_folder(folder.name))

    return case


def served(kind: str, *overrides: str) -> Case:
    """A name of the hub where something else answers in its place."""
    def case(bench: Bench, _: Bench, _trace: Path | None, folder: Path, name: str) -> float:
        with HUBS[kind]() as port:
            run = bench.start(*bench.train_args(folder.name, *overrides),
                              hook=("torture.hooks:hub_of_the_environment", []),
                              env={"HF_HUB_OFFLINE": "", "HF_ENDPOINT": f"http://127.0.0.1:{port}"})
            return told(run, name, folder)

    return case


def stopped(*overrides: str) -> Case:
    """A SIGTERM while a run's start waits for a hub that says nothing."""
    def case(bench: Bench, _: Bench, _trace: Path | None, folder: Path, name: str) -> float:
        with silent() as port:
            run = bench.start(*bench.train_args(folder.name, *overrides),
                              hook=("torture.hooks:hub_of_the_environment", []),
                              env={"HF_HUB_OFFLINE": "", "HF_ENDPOINT": f"http://127.0.0.1:{port}"})
            must(run.until(folder.exists), f"{name}: it never began: {run.err()[-800:]}")
            time.sleep(1)
            run.send(signal.SIGTERM)
            sent = time.monotonic()
            must(run.wait() == 143, f"{name}: it ended with {run.code}: {run.err()[-800:]}")
            took = time.monotonic() - sent
        must(took < 2 + SLACK, f"{name}: it took {took:.1f} s to end")
        must(not folder.exists(), f"{name}: {folder} is left")
        return took

    return case


def told(run: Run, name: str, folder: Path) -> float:
    run.wait(120)
    lines = run.err().splitlines()
    must(run.code == 2 and len(lines) == 1 and len(lines[0]) < 400,
         f"{name}: ended with {run.code}: {run.err()[-800:]}")
    must("nobody/no-such" in lines[0], f"{name}: the line does not tell the name: {lines[0]}")
    must(run.seconds < SECONDS + SLACK, f"{name}: it took {run.seconds:.1f} s")
    must(not folder.exists(), f"{name}: {folder} is left")
    return run.seconds


@contextmanager
def refusing() -> Iterator[int]:
    """A port at which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        yield int(found.getsockname()[1])


@contextmanager
def silent() -> Iterator[int]:
    """Takes every connection and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield int(listening.getsockname()[1])


class Answers(http.server.BaseHTTPRequestHandler):
    """The root answers at once, so that the hub seems to be there."""

    status, pause, body = 200, 0.0, b"<html>nonsense</html>"

    def do_HEAD(self) -> None:
        self._answer(False)

    def do_GET(self) -> None:
        self._answer(True)

    do_POST = do_GET

    def _answer(self, with_body: bool) -> None:
        with contextlib.suppress(OSError):
            if self.path != "/":
                time.sleep(self.pause)
            self.send_response(self.status)
            self.send_header("Content-Length", str(len(self.body)))
            self.end_headers()
            if with_body:
                self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def answering(status: int, pause: float = 0.0) -> Callable[[], contextlib.AbstractContextManager[int]]:
    """Answers every path but the root after ``pause`` seconds."""
    @contextmanager
    def hub() -> Iterator[int]:
        handler = type("Handler", (Answers,), {"status": status, "pause": pause})
        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            server.server_close()

    return hub


HUBS: dict[str, Callable[[], contextlib.AbstractContextManager[int]]] = {
    "refusing": refusing, "silent": silent, "broken": answering(500), "foreign": answering(200),
    "slow": answering(404, 60.0), "unknown": answering(404)}
CASES: tuple[tuple[str, Case], ...] = (
    ("train, eval, summarize", local(trains, uses("eval", "checkpoint=RUN", "eval.split=validation"),
                                     uses("summarize", "checkpoint=RUN"))),
    ("a base, no network", named(BASE)),
    ("a dataset, silent hub", served("silent", *DATA)),
    ("a base, slow hub", served("slow", BASE)),
    ("a base, refusing hub", served("refusing", BASE)),
    ("a dataset, no network", named(*DATA)),
    ("data show, verify", local(trains, shows, uses("verify", "RUN"))),
    ("a base, broken hub", served("broken", BASE)),
    ("a dataset, slow hub", served("slow", *DATA)),
    ("a base, foreign hub", served("foreign", BASE)),
    ("a dataset, broken hub", served("broken", *DATA)),
    ("a dataset, foreign hub", served("foreign", *DATA)),
    ("a base the hub lacks", served("unknown", BASE)),
    ("a dataset the hub lacks", served("unknown", *DATA)),
    ("a base, silent hub", served("silent", BASE)),
    ("a dataset, refusing hub", served("refusing", *DATA)),
    ("a stop while a hub is silent", stopped(BASE)),
)
