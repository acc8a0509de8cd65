"""Options of the command line, and the one parser that splits them from overrides and paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from llmtrain.core.errors import ConfigError, shorten


def _named(value: str) -> bool:
    return bool(value) and not value.startswith("-")


def _count(value: str) -> bool:
    return value.isdecimal() and len(value) < 10


class Option(NamedTuple):  # dataclasses would take half of the time of --help
    """An option: a switch, or one with a value, written ``--name VALUE`` or ``--name=VALUE``.

    Attributes:
        name: With its dashes.
        value: What help calls its value; nothing for a switch.
        short: Another way to write it, as a word of its own.
        only: The one value that it takes, if it takes one alone.
        fits: Whether a value can be used.
        problem: What is told of another one, with ``{value}`` in it.
        hidden: llmtrain's own processes use it; it is shown to nobody.
    """

    name: str
    value: str = ""
    short: str = ""
    only: str = ""
    fits: Callable[[str], bool] = bool
    problem: str = ""
    hidden: bool = False

    @property
    def completed(self) -> str:
        """How completion writes it."""
        return f"{self.name}={self.only}" if self.value else self.name


CFG = Option("--cfg", "job", "-c", "job", lambda value: value == "job",
             "--cfg shows the job's configuration only; use --cfg job")
MULTIRUN = Option("--multirun", short="-m")
CONFIG_DIR = Option("--config-dir", "DIR", "-cd", fits=_named,
                    problem="--config-dir needs a folder; use --config-dir DIR")
PLUGIN = Option("--plugin", "FILE.py", fits=_named, problem="--plugin needs a file; use --plugin FILE.py")
OUTPUT = Option("--output", "FILE", fits=_named, problem="--output needs a file; use --output FILE.html")
NO_TEXTS = Option("--no-texts")
YES = Option("--yes")
JSON = Option("--json")
REPO = Option("--repo", "NAME", fits=_named, problem="--repo needs a name; use --repo NAME or --repo OWNER/NAME")
PUBLIC, UPDATE = Option("--public"), Option("--update")
DEFAULTS = Option("--defaults")
PORT = Option("--port", "N", fits=_count, problem="--port needs a number, not {value!r}; use --port 8000")
STEPS, STOP = (Option(name, "N", fits=_count, problem=f"{name} needs a number of steps, not {{value!r}}; use {name} 6")
               for name in ("--steps", "--stop"))
TRACE = Option("--trace", "FILE", hidden=True, fits=lambda value: True)
PAUSE = Option("--pause", "N", hidden=True, fits=_count, problem="--pause needs a number of steps, not {value!r}")
STARTER = Option("--starter", "PID", hidden=True, fits=_count, problem="--starter needs a process id, not {value!r}")
PLAN = Option("--plan")

Given = dict[Option, list[str]]  # what each option was given, in order; one "" for each time a switch stands there


def split_options(arguments: Sequence[str], options: Sequence[Option]) -> tuple[Given, list[str]]:
    """Split a command line.

    Returns:
        What the options were given, and all other words in order, options that are not known among them.

    Raises:
        ConfigError: An option lacks its value, or has one that it does not take.
    """
    known = {name: option for option in options for name in (option.name, option.short) if name}
    given: Given = {}
    others: list[str] = []
    waiting = iter(arguments)
    for word in waiting:
        name, equals, value = word.partition("=")
        option = known.get(word) or (known.get(name) if name.startswith("--") else None)
        if option is None or (equals and not option.value):
            others.append(word)
            continue
        if option.value:
            value = value if equals else next(waiting, "")
            if not option.fits(value):
                raise ConfigError(option.problem.format(value=shorten(value, 40)))
        given.setdefault(option, []).append(value)
    return given, others
