"""The Python that tests start programs with does what Python does."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import SOURCE, environment
from warm.libraries import python

SHOWS = """
import atexit, os, sys, tempfile
atexit.register(print, "at the end")
print(__name__, sys.argv, os.getcwd(), os.environ["LLMTRAIN_TEST"], tempfile.gettempdir(), sys.stdin.read())
print("told", file=sys.stderr)
sys.exit({code})
"""


def run(*command: str, cwd: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    extra = {"LLMTRAIN_TEST": "ü", "TMPDIR": str(cwd)}
    return subprocess.run(command, cwd=cwd, env=environment(extra), input=given, capture_output=True, text=True,
                          check=False, timeout=60)


@pytest.mark.parametrize("code", ["0", "3", "None", "'a text'"])
@pytest.mark.parametrize("way", ["-c", "-m", "file"])
def test_it_runs_what_python_runs_as_python_runs_it(way: str, code: str, tmp_path: Path) -> None:
    (tmp_path / "shows.py").write_text(SHOWS.format(code=code))
    program = {"-c": ["-c", SHOWS.format(code=code)], "-m": ["-m", "shows"], "file": ["shows.py"]}[way]
    warm, cold = (run(which, *program, "a", "b c", cwd=tmp_path, given="é\n") for which in (python(), sys.executable))
    assert "__main__" in warm.stdout and "at the end" in warm.stdout
    assert (warm.returncode, warm.stdout, warm.stderr) == (cold.returncode, cold.stdout, cold.stderr)


def test_it_has_the_libraries_and_finds_the_source_it_is_told(tmp_path: Path) -> None:
    code = ("import sys; print('torch' in sys.modules, 'llmtrain' in sys.modules); import llmtrain; "
            "print(llmtrain.__file__)")
    loaded, found = run(python(), "-c", code, cwd=tmp_path).stdout.splitlines()
    assert loaded == "True False" and Path(found).is_relative_to(SOURCE)


@pytest.mark.parametrize("safe", ["", "1"])
def test_it_looks_into_the_current_folder_as_python_does(safe: str, tmp_path: Path) -> None:
    warm, cold = (subprocess.run([which, "-c", "import sys; print('' in sys.path)"], cwd=tmp_path, text=True,
                                 env=environment({"PYTHONSAFEPATH": safe}), capture_output=True, check=True).stdout
                  for which in (python(), sys.executable))
    assert warm == cold == f"{not safe}\n"


def test_what_it_starts_with_sys_executable_is_warm_too(tmp_path: Path) -> None:
    code = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', 'import sys; sys.exit(4)']))"
    assert run(python(), "-c", code, cwd=tmp_path).returncode == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGKILL])
def test_signals_reach_the_program_and_its_end_is_told(number: signal.Signals, tmp_path: Path) -> None:
    code = ("import os, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); "
            "signal.signal(signal.SIGINT, signal.SIG_DFL); print(os.getpid(), flush=True); time.sleep(60)")
    process = subprocess.Popen([python(), "-c", code], env=environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert pid != process.pid
    process.send_signal(number)
    assert process.wait(30) == (5 if number == signal.SIGTERM else -number)
    assert process.stdout.read() == ""  # nobody holds it any more
    for _ in range(200):
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
