"""Processes that prepare data never outlive the one that started them, and never keep it from ending."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmtrain.core.errors import DataError, ResourceError
from llmtrain.core.processes import spread

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from llmtrain.core.processes import spread

def work(job):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(60)

class Stop(KeyboardInterrupt):
    pass

def stop(number, frame):
    raise Stop

signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs this in the background may ignore it
signal.signal(signal.SIGUSR1, lambda number, frame: None)
try:
    spread(work, [1, 2, 3])
except KeyboardInterrupt as error:
    sys.exit(f"ended by {type(error).__name__}")
"""


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("to_group", [True, False])
@pytest.mark.parametrize(("number", "told"), [(signal.SIGTERM, "ended by Stop\n"), (signal.SIGKILL, ""),
                                              (signal.SIGINT, "ended by KeyboardInterrupt\n")])
def test_whatever_ends_the_parent_ends_its_processes(number: signal.Signals, told: str, to_group: bool,
                                                     tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], stderr=subprocess.PIPE, text=True,
                              process_group=0)
    until = time.monotonic() + 30
    while len(workers := [int(path.name) for path in tmp_path.iterdir()]) < 3 and time.monotonic() < until:
        time.sleep(0.02)
    assert len(workers) == 3
    os.killpg(parent.pid, signal.SIGUSR1)  # a request to save is nothing to them
    began = time.monotonic()
    (os.killpg if to_group else os.kill)(parent.pid, number)
    assert parent.communicate(timeout=20)[1] == told
    while any(map(running, workers)) and time.monotonic() < began + 5:
        time.sleep(0.02)
    assert not any(map(running, workers)) and time.monotonic() - began < 2


def half(job: int) -> int:
    if job == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    if job % 2:
        raise DataError(f"{job} is odd")
    return job // 2


def test_results_come_in_order_and_failures_are_told() -> None:
    assert spread(half, [2, 8, 4]) == [1, 4, 2]
    assert spread(half, []) == []
    with pytest.raises(DataError, match="5 is odd"):
        spread(half, [2, 5, 4])
    with pytest.raises(ResourceError, match="a process that prepares data was lost"):
        spread(half, [2, 13, 4])
