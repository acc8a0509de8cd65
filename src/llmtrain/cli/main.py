"""The command line: what is asked for is done, and ends with an exit code and errors of one line each.

Nothing heavy is imported here: ``--help`` answers at once, and a wrong override never waits for torch.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from contextlib import nullcontext

from llmtrain.cli.command_table import COMMANDS, EXAMPLES, SHARED, command_of, run
from llmtrain.cli.exit_codes import ending
from llmtrain.cli.options import CFG, CONFIG_DIR, PLUGIN, split_options
from llmtrain.core import system
from llmtrain.core.errors import ConfigError, redact
from llmtrain.core.logging import quiet_imports
from llmtrain.core.signals import left_as_found, stops
from llmtrain.core.stdio import borrowed, failed_in_thread, prepare, settle, tell

HELP = """usage: llmtrain COMMAND [OVERRIDE ...]

{examples}

commands:
{commands}

{overriding} take Hydra overrides: KEY=VALUE, GROUP=OPTION, +experiment=NAME, ++KEY=VALUE, ~KEY.
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
        *others, last = (name for name, one in COMMANDS.items() if CFG in one.options)
        print(HELP.format(commands="\n".join(f"  {name:<{width}}  {one.about}" for name, one in COMMANDS.items()),
                          examples=EXAMPLES, overriding=f"{', '.join(others)} and {last}"))
        return 0
    name, rest = arguments[0], arguments[1:]
    if name == "--version":
        name = "version"
    if name == "--shell-completion":
        return _completion(rest)
    if name == "--complete":
        from llmtrain.cli.completion import candidates

        print("\n".join(candidates(rest)))
        return 0
    command = command_of(name)
    if "--help" in rest or "-h" in rest:
        return _dispatch(["--help"])
    given, words = split_options(rest, (*command.options, *SHARED))
    _refuse_hydras_own(words)
    from llmtrain.config.overrides import config_files

    with config_files.using(given.get(CONFIG_DIR, [])):
        if PLUGIN not in given:
            return run(name, words, given)
        from llmtrain.plugins import using

        with using(given[PLUGIN]):
            return run(name, words, given)


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
