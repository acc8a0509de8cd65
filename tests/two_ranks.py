"""A script of tests/ run by two gloo processes, and how near their sums must come to one process's."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from helpers import environment
from warm.libraries import python

HERE = Path(__file__).resolve().parent
TOLERANCE = {"atol": 2e-6, "rtol": 2e-4}  # fp32: the same sums in another order


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def run_two_ranks(script: str, base: Path, out: Path) -> Path:
    """The folder that two processes of a script wrote, which takes a base and that folder."""
    port = str(free_port())
    started = [subprocess.Popen([python(), str(HERE / script), str(base), str(out)], env=environment(
        {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
         "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, cwd=out) for rank in range(2)]
    told = [process.communicate(timeout=400)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(told)[-3000:]
    return out
