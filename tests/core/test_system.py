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
from llmtrain.core import cache, system
from llmtrain.core.errors import ResourceError
from llmtrain.core.logging import keep_going
from llmtrain.core.signals import StopSignals, await_save_requests, give_back, left_as_found, stops
from llmtrain.core.stdio import borrowed, prepare, takes_any_character
from llmtrain.data.sources.docstrings import read_docstrings
from llmtrain.tasks.summarization.options import SummarizationData
from llmtrain.training.library_state import libraries_as_found

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
    splits = [read_docstrings(SummarizationData()) for _ in range(2)]
    assert splits[0].train and splits[0] == splits[1]
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and cache.VARIABLE in told


def test_a_cache_that_was_named_must_be_writable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrain.data.sources.docstrings.PACKAGES", ("rich",))
    monkeypatch.setenv(cache.VARIABLE, "/proc/nowhere")
    with pytest.raises(ResourceError, match=cache.VARIABLE):
        read_docstrings(SummarizationData())


def test_a_name_that_libraries_look_for_elsewhere_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a Latin-1 locale, where Python alone follows the locale in the names of files."""
    assert system.misnamed(["run.name=\u00c4"]) == []
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    (tmp_path / "\u00c4").mkdir()
    monkeypatch.chdir(tmp_path)
    assert system.misnamed(["train", "data.document=\u00d6", "run.name=a"]) == []
    for one in ("run.name=\u00d6", "model.path=\u00c4", "\u00c4", "run.root=\u00d6/x", "data.train=\u00c4/../\u00c4"):
        (line,) = system.misnamed(["train", one, "x=\0\u00d6"])
        assert line.startswith(f"{one} is not ASCII") and "PYTHONUTF8=1" in line and "iso8859-1" in line
    monkeypatch.chdir(tmp_path / "\u00c4")
    assert "the current folder" in system.misnamed([])[0]
    assert main.main(["train"]) == 2


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


def test_a_thread_awaits_no_request_to_save() -> None:
    before, raised = signal.getsignal(signal.SIGUSR1), []

    def work() -> None:
        try:
            await_save_requests()
            with left_as_found():
                pass
        except ValueError as error:  # Python's own, for whoever sets a handler there
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert raised == [] and signal.getsignal(signal.SIGUSR1) is before


def test_a_request_to_save_that_an_earlier_run_did_not_take_is_forgotten() -> None:
    with left_as_found():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        await_save_requests()
        assert signal.SIGUSR1 not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        os.kill(os.getpid(), signal.SIGUSR1)
        with StopSignals() as signals:
            assert signals.take_save_request() and not signals.take_save_request()
        os.kill(os.getpid(), signal.SIGUSR1)
        await_save_requests()
        assert not StopSignals().take_save_request()


def test_what_blocked_signals_and_what_python_did_not_set_stays() -> None:
    with left_as_found():
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        with left_as_found():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before | {signal.SIGUSR1}
        give_back({signal.SIGHUP: None})  # as signal.getsignal has a handler of a C library
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_a_terminal_that_is_closed_stops_nothing_under_nohup() -> None:
    with left_as_found():
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert signal.SIGHUP in stops()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert stops() == [signal.SIGINT, signal.SIGTERM]
        with StopSignals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def state_of_the_libraries() -> dict[str, Any]:
    import random

    import numpy as np
    import torch
    from accelerate.state import AcceleratorState, GradientState, PartialState

    return {"strict": torch.are_deterministic_algorithms_enabled(),
            "warning": torch.is_deterministic_algorithms_warn_only_enabled(),
            "fill": torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
            "threads": torch.get_num_threads(), "random": random.getstate(),
            "numpy": [np.random.get_state()[1].tolist(), np.random.get_state()[2]],  # type: ignore[index, union-attr]
            "torch": torch.get_rng_state().tolist(),
            **{kind.__name__: dict(kind._shared_state) for kind in (PartialState, AcceleratorState, GradientState)}}


def test_a_run_gives_back_what_it_sets_in_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    import numpy as np
    import torch
    from accelerate.state import AcceleratorState, GradientState, PartialState

    shared = [kind._shared_state for kind in (PartialState, AcceleratorState, GradientState)]
    with libraries_as_found():  # this test's own changes are taken back too
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
        torch.set_num_threads(2)
        for number, state in enumerate(shared):
            state["of the caller"] = number
        before = state_of_the_libraries()
        with libraries_as_found():
            assert not any(shared)  # accelerate refuses another precision than the one it was started with
            torch.use_deterministic_algorithms(False)
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
            torch.set_num_threads(1)
            for state in shared:
                state["of the run"] = 1
            random.random(), np.random.random(), torch.rand(1)
        after = state_of_the_libraries()
        assert after == before, [name for name in before if before[name] != after[name]]
        monkeypatch.setenv("WORLD_SIZE", "2")  # a group of processes is made once
        with libraries_as_found():
            assert [state["of the caller"] for state in shared] == [0, 1, 2]
            shared[0]["of the run"] = 1
        assert shared[0].pop("of the run") == 1


def test_main_gives_back_handlers_and_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    def changing(*_: object) -> int:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        keep_going()
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
