"""scripts/mutate on a toy module: what it tells, and that it changes no file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "mutation"
TOY = '''"""A toy."""

LIMIT = 3


def kept(values: list[int]) -> list[int]:
    return [value for value in values if value < LIMIT]


def double(value: int) -> int:
    """Never sees a 0."""
    if value == 0:
        return 0
    return value * 2


def unseen(value: int) -> int:
    assert value > 0, f"{value + 1} is wrong"
    return -value
'''
TESTS = """
from toy import double, kept

def test_kept():
    assert kept([1, 2, 3, 4]) == [1, 2]

def test_double():
    assert double(3) == 6
"""
KNOWN = '''[equivalent."{toy}"]
"double: value == 0 -> value == -1" = "0 doubled is 0"
"double: no such thing -> gone" = "was there once"
'''


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    (tmp_path / "toy.py").write_text(TOY, encoding="utf-8")
    (tmp_path / "test_toy.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "known.toml").write_text(KNOWN.format(toy=tmp_path / "toy.py"), encoding="utf-8")
    return tmp_path


def command(folder: Path, *more: str) -> list[str]:
    return [sys.executable, str(SCRIPT), str(folder / "toy.py"), "--tests", str(folder / "test_toy.py"), "--known",
            str(folder / "known.toml"), "--report", str(folder / "report.json"), *more]


def mutate(folder: Path, *more: str) -> tuple[int, dict[str, str], str]:
    """The exit code, the verdict on each mutant, and all that was told."""
    done = subprocess.run(command(folder, *more), cwd="/", capture_output=True, text=True, timeout=120, check=False)
    rows: list[dict[str, Any]] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return done.returncode, {row["name"]: row["verdict"] for row in rows}, done.stdout + done.stderr


def test_each_mutant_is_killed_survives_or_is_known_and_no_file_changes(toy: Path) -> None:
    before = {path.name: path.read_bytes() for path in toy.iterdir()}
    code, found, told = mutate(toy)
    assert code == 1
    assert found == {
        "module: 3 -> 4": "killed", "module: 3 -> 2": "killed",
        "kept: [value for value in values if value < LIMIT] -> [value for value in values if True]": "killed",
        "kept: value < LIMIT -> value <= LIMIT": "killed", "kept: value < LIMIT -> value >= LIMIT": "killed",
        "double: value == 0 -> value != 0": "killed", "double: value == 0 -> value == 1": "survived",
        "double: value == 0 -> value == -1": "equivalent", "double: 0 -> 1": "unreached",
        "double: 0 -> -1": "unreached",
        "double: value * 2 -> value / 2": "killed", "double: value * 2 -> value": "killed",
        "double: value * 2 -> 2": "killed", "double: value * 2 -> value * 3": "killed",
        "double: value * 2 -> value * 1": "killed", "unseen: -value -> value": "unreached"}
    assert "equivalent (0 doubled is 0)" in told
    assert "listed as equivalent and made no more" in told and "double: no such thing -> gone" in told
    assert "survived  " in told and "toy.py:12  double: value == 0 -> value == 1" in told
    assert {path.name: path.read_bytes() for path in toy.iterdir() if path.suffix != ".json"
            and path.is_file()} == before


def test_a_sample_is_the_same_for_the_same_seed_and_survivors_are_tried_again(toy: Path) -> None:
    listed = [mutate(toy, "--list", "--sample", "5", "--seed", seed)[1] for seed in ("1", "1", "2")]
    assert len(listed[0]) == 5
    assert listed[0] == listed[1] != listed[2]
    mutate(toy)
    (toy / "report.json").rename(toy / "before.json")
    (toy / "test_toy.py").write_text(TESTS + "    assert double(1) == 2\n    assert double(0) == 0\n", encoding="utf-8")
    code, found, _ = mutate(toy, "--again", str(toy / "before.json"), "--match", "double")
    assert set(found.values()) == {"killed"} and len(found) == 3
    assert code == 0


def test_it_ends_when_told_to_and_leaves_nothing_running(toy: Path) -> None:
    slow = ["def test_slow():", "import os, time", f"open({str(toy / 'pid')!r}, 'w').write(str(os.getpid()))",
            "double(2)", "time.sleep(100)"]
    (toy / "test_toy.py").write_text(TESTS + "\n\n" + "\n    ".join(slow) + "\n", encoding="utf-8")
    running = subprocess.Popen(command(toy), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    pid = toy / "pid"
    for _ in range(600):
        if pid.exists() and pid.read_text():
            break
        time.sleep(0.05)
    child = int(pid.read_text())
    running.send_signal(signal.SIGTERM)
    _, told = running.communicate(timeout=30)
    assert running.returncode == 1 and "nothing was changed" in told
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert (toy / "toy.py").read_text(encoding="utf-8") == TOY


def test_a_path_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), str(tmp_path / "none.py")], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 2
    told = f"no file or folder at {tmp_path / 'none.py'}; name one of src/llmtrain"
    assert done.stderr.splitlines()[-1].endswith(told)
