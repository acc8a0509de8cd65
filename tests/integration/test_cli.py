"""The command line as a user meets it, in processes of its own."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from helpers import SOURCE, environment, run_cli, warm_cli

HEAVY_CHECK = """
import sys
import zipfile
from llmtrain.cli.main import main
code = main(sys.argv[1:])
loaded = {"torch", "transformers", "accelerate", "datasets", "numpy", "nltk", "sacrebleu"} & set(sys.modules)
assert not loaded, loaded
sys.exit(code)
"""


@pytest.mark.parametrize(("arguments", "code"), [
    (["--help"], 0), (["list"], 0), (["version"], 0), (["train", "+experiment=bert_sum_fp16", "--cfg", "job"], 0),
    (["eval", "--cfg", "job"], 0), (["config"], 0), (["train", "-m", "--cfg", "job", "trainer.max_steps=1,2"], 0),
    (["train", "objective.lamb=1"], 2), (["trian"], 2), (["train", "trainer.max_steps=0"], 2),
    (["demo", "--cfg", "job"], 0), (["demo", "checkpoint=runs/a", "demo.prt=1"], 2), (["demo"], 2),
])
def test_light_commands_never_import_torch(arguments: list[str], code: int, tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-c", HEAVY_CHECK, *arguments], cwd=tmp_path, capture_output=True,
                            text=True, env={"PYTHONPATH": str(SOURCE), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
                            check=False)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_help_shows_the_three_lines(tmp_path: Path) -> None:
    text = run_cli("--help", cwd=tmp_path).stdout
    for line in ("train +experiment=bert_sum_fp16", "eval checkpoint=", "summarize checkpoint="):
        assert line in text


def test_bash_completes_experiments(tmp_path: Path) -> None:
    script = tmp_path / "complete.sh"
    script.write_text(f"""
llmtrain() {{ PYTHONPATH={SOURCE} {sys.executable} -m llmtrain "$@"; }}
eval "$(llmtrain --shell-completion bash)"
COMP_LINE='llmtrain train +experiment=bert_sum_'; COMP_POINT=${{#COMP_LINE}}
COMP_WORDS=(llmtrain train +experiment = bert_sum_); COMP_CWORD=4
_llmtrain
printf '%s\\n' "${{COMPREPLY[@]}}"
""")
    result = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)
    assert result.stdout.split() == ["bert_sum_bf16", "bert_sum_fp16", "bert_sum_fp32"], result.stderr


def test_list_shows_plugin_kinds_and_refuses_unknown_ones(tmp_path: Path) -> None:
    assert "transformer" in warm_cli("list", "heads", cwd=tmp_path).stdout
    result = warm_cli("list", "headz", cwd=tmp_path)
    assert result.returncode == 2
    assert "heads" in result.stderr


def test_config_explains_every_key_and_its_origin(tmp_path: Path) -> None:
    text = warm_cli("config", "--defaults", "+experiment=bert_sum_bf16", "objective.lam=0.3", cwd=tmp_path).stdout
    assert "objective.lam: 0.3  # lambda" in text
    assert "set by the command line" in text
    assert "set by configs/precision/bf16.yaml" in text


def origins(*arguments: str, cwd: Path) -> dict[str, str]:
    result = warm_cli("config", "--defaults", *arguments, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return {line.partition(":")[0]: line.rpartition("set by ")[2].rstrip(")") for line in result.stdout.splitlines()}


def test_what_a_preset_changed_is_told(tmp_path: Path) -> None:
    found = origins("+experiment=bert_sum_bf16", "trainer.max_minutes=3", "experiment_name=mine", cwd=tmp_path)
    assert found["trainer.max_minutes"] == found["experiment_name"] == "the command line"
    assert found["trainer.max_steps"] == found["schedule.name"] == "trainer.max_minutes"
    assert found["trainer.batch_size"] == "configs/trainer/default.yaml"
    assert found["trainer.keep_last"] == "schema default"
    plain = origins("+experiment=bert_sum_bf16", "schedule=cosine", cwd=tmp_path)
    assert plain["experiment_name"] == "+experiment=bert_sum_bf16"
    assert plain["schedule.name"] == "configs/schedule/cosine.yaml"


def test_config_shows_what_would_not_run_and_the_other_commands(tmp_path: Path) -> None:
    result = warm_cli("config", "trainer.batch_size=3", "trainer.accumulate=2", cwd=tmp_path)
    assert result.returncode == 0
    assert "trainer.accumulate: 2" in result.stdout
    assert "must divide" in result.stderr
    assert warm_cli("config", "trainer.bach_size=3", cwd=tmp_path).returncode == 2
    hint = warm_cli("train", "qqqq.zzzz=3", cwd=tmp_path).stderr
    command = hint.partition("`llmtrain ")[2].partition("`")[0].split()
    assert command == ["config", "train"]
    for name in ("train", "eval", "summarize"):
        shown = warm_cli("config", name, cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert ("summarize.batch: 32" in shown.stdout) == (name == "summarize")


def test_multirun_shows_jobs_without_training_them(tmp_path: Path) -> None:
    arguments = ["train", "trainer.max_steps=1", "objective.lam=0.1,0.2"]
    for options in (["-m", "--cfg", "job"], ["--multirun", "--cfg=job"]):
        result = warm_cli(*arguments, *options, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert [job["objective"]["lam"] for job in yaml.safe_load_all(result.stdout)] == [0.1, 0.2]
    assert not list(tmp_path.iterdir())
    for sweep in ("objective.lam=interval(0,1)", "precision=glob(*)"):
        refused = warm_cli("train", "-m", "trainer.max_steps=1", sweep, cwd=tmp_path)
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1
        assert sweep in refused.stderr


CHILD = """
import os, signal, sys, time
assert os.getpgid(0) == os.getpid()  # else a terminal's Ctrl-C would reach it twice
assert "" not in sys.path  # the files of a data folder are no modules
def stop(number, frame):
    open("seen", "a").write(f"{number} ")
    time.sleep(1)  # longer than subprocess.run would wait
    open("saved", "a").write(str(number))
    sys.exit(128 + number)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGHUP, stop)
print("ready", flush=True)
time.sleep(30)
"""
PARENT = f"""
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # what runs this in the background may ignore it
from llmtrain.cli.commands import sweep
sweep.jobs_of = lambda overrides: [[], []]
sweep.load_config = lambda *_: sweep.TrainConfig()
run = sweep.Forwarding.run
sweep.Forwarding.run = lambda self, command: run(self, [sys.executable, "-c", {CHILD!r}])
sys.exit(sweep.run([]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_multirun_lets_its_job_save_and_starts_no_other(number: int, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", PARENT], cwd=tmp_path, env=environment(), text=True,
                               stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    while process.stdout.readline() != "ready\n":
        assert process.poll() is None
    os.killpg(process.pid, number)  # to the whole group, as a terminal's Ctrl-C
    rest = process.communicate(timeout=20)[0]
    assert process.returncode == 128 + number
    assert (tmp_path / "seen").read_text() == f"{int(number)} "  # once: twice would mean `at once`
    assert (tmp_path / "saved").read_text() == str(int(number))
    assert f"job 0: exit {128 + number}" in rest
    assert "job 1" not in rest


SAVER = """
import signal, sys, time
signal.signal(signal.SIGUSR1, lambda number, frame: sys.exit(0))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
print("ready", flush=True)
time.sleep(30)  # longer than the test waits
"""
STARTING = """
import sys, time
from llmtrain.core import signals
print("ready", flush=True)
time.sleep(0.5)  # as long as a start's imports take
signals.await_save_requests()
sys.exit(0 if signals._early else 7)
"""


@pytest.mark.parametrize("job", [SAVER, STARTING], ids=["at work", "just starting"])
def test_a_multirun_hands_on_a_request_to_save_and_goes_on(job: str, tmp_path: Path) -> None:
    """Each job ends with 0 only once the request has reached it."""
    process = subprocess.Popen([sys.executable, "-c", PARENT.replace(repr(CHILD), repr(job))], cwd=tmp_path,
                               env=environment(), text=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(2):
        while process.stdout.readline() != "ready\n":
            assert process.poll() is None
        process.send_signal(signal.SIGUSR1)
    rest = process.communicate(timeout=20)[0]
    assert process.returncode == 0
    assert "job 0: exit 0" in rest and "job 1: exit 0" in rest


WRITER = """
import sys
from rich.console import Console
from llmtrain.core.logging import keep_going, say, warn
keep_going()
for line in range(20_000):
    say(f"line {line}")
    warn("told")
Console().print("a report")
open("done", "w").close()
"""


@pytest.mark.parametrize("both", ["", "2>&1"])
def test_a_reader_that_leaves_does_not_stop_a_run(both: str, tmp_path: Path) -> None:
    result = subprocess.run(["bash", "-c", f'set -o pipefail; "{sys.executable}" -c "$0" {both} | head -1', WRITER],
                            cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-300:]
    assert (tmp_path / "done").exists()
    assert result.stdout == "line 0\n"


def test_short_commands_end_quietly_when_their_reader_leaves(tmp_path: Path) -> None:
    command = f'set -o pipefail; "{sys.executable}" -m llmtrain config | true'
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment(), capture_output=True, text=True,
                            check=False)
    assert (result.returncode, result.stderr) == (0, "")


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


@pytest.mark.parametrize(("error", "code", "told"), [
    (MemoryError(), 5, "out of memory (MemoryError)"), (OutOfMemoryError("CUDA out of\nmemory"), 5, "out of memory"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 5, "lower trainer.batch_size"),
    (RuntimeError("std::bad_alloc"), 5, "out of memory"), (OSError(errno.ENOMEM, "Cannot allocate memory"), 5, "lower"),
    (ImportError("libx.so: failed to map segment from shared object"), 5, "the limit on memory (ulimit -v)"),
    (OSError(errno.ENOSPC, "No space left on device"), 5, "the disk is full"), (ValueError("x"), 1, "unexpected"),
    (OSError(errno.ENOTEMPTY, "Directory not empty", "/x/.tmp-step-2"), 5, "/x/.tmp-step-2 (Directory not empty); end"),
    (OSError(errno.EINVAL, "Invalid"), 1, "unexpected"),
])
def test_exhausted_resources_have_a_code_of_their_own(error: Exception, code: int, told: str, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr("llmtrain.cli.commands.version.run", fail)
    result = warm_cli("version", cwd=tmp_path)
    assert result.returncode == code
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_wheel_carries_configs_and_pages(tmp_path: Path) -> None:
    root = SOURCE.parent
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w",
                    str(tmp_path), str(root)], check=True, capture_output=True)
    wheel = next(tmp_path.glob("*.whl"))
    unpacked = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    assert (unpacked / "llmtrain/configs/train.yaml").is_file()
    own = {path.relative_to(SOURCE / "llmtrain") for path in (SOURCE / "llmtrain/report/assets").rglob("*.*")}
    assert len(own) > 10 and all((unpacked / "llmtrain" / path).is_file() for path in own)  # the report's own files
    result = subprocess.run([sys.executable, "-m", "llmtrain", "train", "+experiment=bert_sum_bf16", "--cfg", "job"],
                            cwd=tmp_path, env={"PYTHONPATH": str(unpacked), "HOME": str(tmp_path)},
                            capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "name: bf16" in result.stdout


@pytest.mark.parametrize(("line", "offered"), [
    ("llmtrain ver", "verify verify-resume version"), ("llmtrain clean --", "--yes"), ("llmtrain verify ru", ""),
    ("llmtrain verify-resume --st", "--steps= --stop="), ("llmtrain verify-resume +experiment=bert_sum_b",
                                                          "+experiment=bert_sum_bf16")])
def test_completion_offers_what_a_command_takes(line: str, offered: str, tmp_path: Path) -> None:
    assert warm_cli("--complete", line, cwd=tmp_path).stdout.split() == offered.split()


@pytest.mark.parametrize(("arguments", "told"), [
    (["eval", "-m"], "--multirun is for train alone; leave it out"),
    (["train", "--yes"], "--yes is for clean and push alone; leave it out"),
    (["train", "--cfg", "all"], "--cfg shows the job's configuration only; use --cfg job"),
    (["train", "--foo", "--learning_rate", "3"], "unknown option '--foo'; `llmtrain --help` shows them\n"),
    (["config", "--files"], "unknown option '--files'; config takes --defaults and overrides"),
    (["fetch", "--all"], "fetch takes names alone, not '--all'; choose from"),
    (["version", "--short"], "unknown option '--short'; `llmtrain --help` shows them")])
def test_an_option_that_a_command_does_not_take_is_refused(arguments: list[str], told: str, tmp_path: Path) -> None:
    result = warm_cli(*arguments, cwd=tmp_path)
    assert result.returncode == 2 and f"llmtrain: {told}" in result.stderr


def test_help_completion_and_modules_know_the_same_commands(tmp_path: Path) -> None:
    commands = warm_cli("--help", cwd=tmp_path).stdout.partition("\ncommands:\n")[2].partition("\n\n")[0]
    told = [line.split()[0] for line in commands.splitlines()]
    assert warm_cli("--complete", "llmtrain ", cwd=tmp_path).stdout.split() == sorted(told)
    files = {path.stem.replace("_", "-") for path in (SOURCE / "llmtrain/cli/commands").glob("*.py")}
    assert set(told) <= files
