"""What the program tells, and ends with, when a stream or the system fails it."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import environment, warm_cli
from llmtrain.cli import main
from llmtrain.cli.commands.train import _stop_outside_the_loop
from llmtrain.cli.exit_codes import ending
from llmtrain.core import logging, stdio
from llmtrain.core.errors import LONGEST_LINE, ConfigError, LlmtrainError, Terminated
from llmtrain.core.logging import Lenient
from llmtrain.core.signals import StopSignals


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = command.replace("LLMTRAIN", f"{sys.executable} -m llmtrain")
    buffered = {name: value for name, value in environment().items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(["bash", "-c", command], cwd=cwd, env=buffered, capture_output=True, text=True,
                          check=False, timeout=60)


CLOSED = """
import os, sys
from llmtrain.core.stdio import prepare
prepare()
handle = os.open("file", os.O_WRONLY | os.O_CREAT)
assert handle > 2, handle
print("lost", file=sys.stderr)
assert sys.stdin.read() == ""
"""


@pytest.mark.parametrize("which", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_closed_stream_gives_its_number_to_no_file(which: str, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(CLOSED)
    result = shell(f"{sys.executable} main.py {which if '0' in which else which + ' 0</dev/null'}", tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize(("command", "code"), [
    ("LLMTRAIN train objective.lamb=1 2>&-", 2), ("LLMTRAIN trian 2>/dev/full", 2), ("LLMTRAIN --help >/dev/full", 5),
    ("LLMTRAIN --help >&-", 0)])
def test_the_exit_code_is_told_whatever_the_streams_are(command: str, code: int, tmp_path: Path) -> None:
    assert shell(command, tmp_path).returncode == code


HOLDING = """
from llmtrain.cli import main

def fail(_):
    print("held")
    raise main.ConfigError("x")

main._dispatch = fail
main.entry()
"""


def test_what_stdout_still_holds_changes_no_exit_code(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(HOLDING)
    assert shell(f"{sys.executable} main.py > /dev/full", tmp_path).returncode == 2  # else Python's own 120


THREADED = """
import threading
from llmtrain.cli import main

def fail(arguments):
    def write():
        raise OSError(28, "full") if arguments[0] == "full" else ValueError
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    raise main.ConfigError("x")

main._dispatch = fail
main.entry()
"""


@pytest.mark.parametrize(("failure", "debug", "told"), [("full", "", False), ("full", "1", True), ("bug", "", True)])
def test_a_librarys_writing_thread_tells_no_failure_of_its_own(failure: str, debug: str, told: bool,
                                                               tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(THREADED)
    result = subprocess.run([sys.executable, "main.py", failure], cwd=tmp_path, capture_output=True, text=True,
                            env=environment({"LLMTRAIN_DEBUG": debug}), check=False)
    assert ("Exception in thread" in result.stderr) is told
    assert told or result.stderr.splitlines() == ["llmtrain: x"]


def test_a_character_that_a_terminal_lacks_is_shown_as_an_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", shown)
    stdio.prepare()
    print("a \U0001f600 \udcff")
    shown.flush()
    assert shown.buffer.getvalue() == b"a \\U0001f600 \\udcff\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_run_goes_on_without_what_shows_it(number: int, tmp_path: Path) -> None:
    class Full:
        def __init__(self) -> None:
            self.file = (tmp_path / "log").open("w")

        def write(self, _: str) -> int:
            raise OSError(number, "gone")

        def fileno(self) -> int:
            return self.file.fileno()

    full = Full()
    assert Lenient(full).write("told") == 4  # type: ignore[arg-type]
    assert str(Path(f"/proc/self/fd/{full.fileno()}").readlink()) == os.devnull


@pytest.mark.parametrize(("argument", "told"), [
    ("trainer.batch_size=" + "x" * 800, "give one"), ("trainer.max_steps=" + "[" * 6100, "in quotes"),
    ("run.name=a\udcff", r"run.name=a\udcff is not UTF-8")])
def test_a_line_has_an_end(argument: str, told: str, tmp_path: Path) -> None:
    lines = warm_cli("train", argument, cwd=tmp_path).stderr.splitlines()
    assert len(lines) == 1 and len(lines[0]) <= LONGEST_LINE
    assert lines[0].startswith("llmtrain: ") and told in lines[0]


def test_one_problem_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failing(monkeypatch, ConfigError("no file at /tmp/a\nb\x1b[2J; check it"))
    assert warm_cli("version", cwd=tmp_path).stderr == "llmtrain: no file at /tmp/a\\nb\\x1b[2J; check it\n"


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr("llmtrain.cli.commands.version.run", fail)


@pytest.mark.parametrize(("number", "code", "told"), [
    (errno.EACCES, 5, "change the rights"), (errno.EPERM, 5, "change the rights"), (errno.EROFS, 5, "another disk"),
    (errno.EIO, 5, "another disk"), (errno.ENOTDIR, 2, "name another place"), (errno.EEXIST, 2, "name another place"),
    (errno.ENAMETOOLONG, 2, "name another place"), (errno.EINVAL, 1, "unexpected")])
def test_what_the_system_refuses_is_no_bug(number: int, code: int, told: str, tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, OSError(number, os.strerror(number), "/a/place"))
    result = warm_cli("version", cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (code, 1)
    assert told in result.stderr and "/a/place" in result.stderr


def test_a_folder_that_is_gone_and_none_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = FileNotFoundError(errno.ENOENT, "No such file or directory")
    assert ending(bare, [])[0] == 1
    code, (told,) = ending(FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), [])
    assert code == 5 and "['/tmp']" in told and "TMPDIR" in told
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    code, (told,) = ending(bare, [])
    assert code == 2 and told.startswith("the current folder was removed; ")


@pytest.mark.parametrize("arguments", [
    ["clean", "~nosuchuser/x"], ["clean", "--plugin", "~nosuchuser/x.py"], ["verify", "~nosuchuser/x"],
    ["train", "+experiment=bert_sum_fp32", "run.root=~nosuchuser/x"], ["verify", "n" * 300], ["clean", "n" * 300],
    ["eval", "checkpoint=" + "n" * 300]])
def test_paths_that_name_nothing_are_wrong_keys(arguments: list[str], tmp_path: Path) -> None:
    result = warm_cli(*arguments, cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr


def test_a_reader_that_left_ends_a_run_no_better_than_another_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = BrokenPipeError(errno.EPIPE, "Broken pipe")
    assert ending(broken, []) == (0, [])
    monkeypatch.setattr(sys, "stdout", Lenient(sys.stdout))
    assert ending(broken, [])[0] == 1


@pytest.mark.parametrize("wrapped", [LlmtrainError, RuntimeError])
def test_a_failure_on_the_way_out_of_a_stop_is_the_stop(wrapped: type[Exception]) -> None:
    for stop, ended in ((Terminated("stopped"), (143, ["stopped"])), (KeyboardInterrupt(), (130, ["interrupted"]))):
        try:
            try:
                raise stop
            except BaseException as error:
                raise wrapped("could not read") from error
        except Exception as error:
            assert ending(error, []) == ended


def test_a_stop_passes_what_catches_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, Terminated("stopped outside training"))
    result = warm_cli("version", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (143, "llmtrain: stopped outside training\n")
    assert not issubclass(Terminated, Exception)


def test_a_stop_is_remembered_when_nobody_reads_that_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_number: int, _text: bytes) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with StopSignals() as signals:
        monkeypatch.setattr("llmtrain.core.signals.os.write", gone)
        signal.raise_signal(signal.SIGTERM)
        assert signals.requested == signal.SIGTERM


@pytest.mark.parametrize("nohup", [False, True])
def test_a_closed_terminal_stops_a_run_as_sigterm_does(nohup: bool) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else lambda *_: None)
    try:
        with StopSignals() as signals:
            signal.raise_signal(signal.SIGHUP)
        assert signals.requested == (None if nohup else signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    with pytest.raises(Terminated) as stop:
        _stop_outside_the_loop(signal.SIGHUP, None)
    assert stop.value.exit_code == 129


def test_a_signal_does_not_reach_the_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def telling(_: str) -> None:
        for number in before:
            signal.raise_signal(number)

    monkeypatch.setattr(main, "tell", telling)
    try:
        assert main.main(["trian"], program=True) == 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_requests_to_save_are_awaited_before_anything_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def composing(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGUSR1)  # would end the process
        raise ConfigError("seen")

    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    monkeypatch.setattr("llmtrain.config.load.compose", composing)
    try:
        assert warm_cli("train", cwd=tmp_path).stderr == "llmtrain: seen\n"
        assert StopSignals().take_save_request()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_log_is_a_file_of_its_own(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious\n")
    link, pipe = tmp_path / "link.jsonl", tmp_path / "pipe.jsonl"
    link.symlink_to(outside)
    os.mkfifo(pipe)
    for path in (link, pipe, Path("/dev/null")):
        for use in (lambda log: log.cut(0), lambda log: log.write({"a": 1}), lambda log: log.size,
                    lambda log: log.sync()):
            with pytest.raises(LlmtrainError, match="link or no regular file") as caught:
                use(logging.MetricsLog(path))
            assert caught.value.exit_code == 3
    assert outside.read_text() == "precious\n"


def test_what_others_wrote_cannot_change_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A file or a plugin that a warning names may be called anything."""
    logging.warn(f"left alone: no right to read at a\x1b[2J\nllmtrain: all is well {'x' * 1000} hf_{'a1B2' * 8}; "
                 "change it")
    logging.say("data: row a\x1b[2J\nrun: done")
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and len(err) <= LONGEST_LINE + 1
    assert err.startswith("llmtrain: left alone: no right to read at a\\x1b[2J\\nllmtrain: all") and "hf_" not in err
    assert err.endswith("; change it\n") and out == "data: row a\\x1b[2J\\nrun: done\n"
