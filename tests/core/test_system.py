"""What the system and the environment lack is worked around, or told in one line."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from helpers import environment
from llmtrain.cli import main
from llmtrain.config.sections.data import DataConfig
from llmtrain.core import cache, system
from llmtrain.core.errors import ResourceError
from llmtrain.core.signals import StopSignals
from llmtrain.core.stdio import borrowed, prepare, takes_any_character
from llmtrain.data.sources.docstrings import read_docstrings

NO_HOME = """
import os, pwd
def nobody(number):
    raise KeyError(number)
pwd.getpwuid = nobody
os.environ.pop("HOME", None)
import llmtrain
"""
LACKING = """
import signal, sys
sys.modules |= {"fcntl": None, "resource": None, "pwd": None}
for name in ("SIGHUP", "SIGUSR1", "pthread_sigmask"):
    delattr(signal, name)
sys.argv = ["llmtrain", *sys.argv[1:]]
"""


def run(program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in environment().items() if name not in system.TOLD}
    return subprocess.run([sys.executable, "-c", program, *arguments], env=kept | variables, capture_output=True,
                          text=True, check=False)


def test_scoring_loads_for_a_user_without_a_home_folder() -> None:
    done = run(NO_HOME + "from rouge_score import rouge_scorer\nprint(os.environ['HOME'])")
    assert (done.returncode, done.stdout) == (0, "/\n"), done.stderr


@pytest.mark.parametrize(("variables", "told"), [
    ({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"), ({"GOMP_SPINCOUNT": "9"}, "None"),
    ({"KMP_BLOCKTIME": "9"}, "None")])
def test_threads_wait_without_spinning_unless_the_user_says_how(variables: dict[str, str], told: str) -> None:
    program = "import sys, llmtrain, os\nassert 'torch' not in sys.modules\nprint(os.environ.get('OMP_WAIT_POLICY'))"
    assert run(program, **variables).stdout == f"{told}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["train"], []])
def test_a_system_that_cannot_run_it_gets_one_line(arguments: list[str]) -> None:
    done = run(LACKING + "from llmtrain.cli.main import entry\nentry()", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "WSL2" in done.stderr and "fcntl" in done.stderr
    reading = "import llmtrain\ntry:\n    llmtrain.Summarizer\nexcept ImportError as error:\n    print(error)"
    done = run(LACKING + reading)
    assert done.returncode == 0 and "WSL2" in done.stdout, done.stderr


@pytest.mark.parametrize("home", ["/proc/nowhere", os.devnull])
def test_a_closed_default_cache_is_done_without_and_told_once(home: str, monkeypatch: pytest.MonkeyPatch,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("llmtrain.data.sources.docstrings.PACKAGES", ("rich",))
    monkeypatch.delenv(cache.VARIABLE, raising=False)
    monkeypatch.setenv("HOME", home)
    cache._tell.cache_clear()
    splits = [read_docstrings(DataConfig()) for _ in range(2)]
    assert splits[0].train and splits[0] == splits[1]
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and cache.VARIABLE in told


def test_a_cache_that_was_named_must_be_writable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrain.data.sources.docstrings.PACKAGES", ("rich",))
    monkeypatch.setenv(cache.VARIABLE, "/proc/nowhere")
    with pytest.raises(ResourceError, match=cache.VARIABLE):
        read_docstrings(DataConfig())


def test_main_in_a_thread_sets_no_handlers_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    found: list[Any] = []

    def work() -> None:
        found.append(main.main(["train", "trainer.batch_size=x"]))
        with StopSignals() as signals:
            found.append(signals.requested)
        from llmtrain.core.signals import tell_unhandled

        tell_unhandled()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [2, None]
    assert "not the main thread" in capsys.readouterr().err


def test_main_gives_back_handlers_and_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    def changing(_: list[str]) -> int:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        main.keep_going()
        return 0

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)]
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr("llmtrain.cli.commands.version.run", changing)
    assert main.main(["version"]) == 0
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)] == before
    assert sys.stdout is stream and stream.errors == "strict"


def test_marks_are_plain_characters_where_a_terminal_lacks_them(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", shown)
    with borrowed():
        prepare()
        print("a ‖ b⏎ 中")
    shown.flush()
    assert shown.buffer.getvalue() == b"a || b\\n \\u4e2d\n"  # type: ignore[attr-defined]
    assert not takes_any_character(shown)


def test_what_other_programs_read_stays_utf_8(tmp_path: Path) -> None:
    program = "from llmtrain.core import stdio\nstdio.prepare()\nprint(stdio.write_data(), '中')"
    done = subprocess.run([sys.executable, "-c", program], env=environment({"PYTHONIOENCODING": "latin-1"}),
                          capture_output=True, check=True)
    assert done.stdout.decode() == "True 中\n"
