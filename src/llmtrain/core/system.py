"""What the system and the environment must offer before anything heavy is loaded.

Libraries read some variables once, while they are imported; they are set here, and what the user has set stays.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

MODULES = ("fcntl", "pwd", "resource")
SIGNALS = ("SIGHUP", "SIGUSR1", "pthread_sigmask")
WAITING = "OMP_WAIT_POLICY"
TOLD = (WAITING, "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")  # by a user, to GNU's or LLVM's OpenMP
NO_HOME = "/"
NAMES = ("run.name=", "run.root=", "eval.output=", "data.cache_dir=")  # of what need not be there


def prepare() -> None:
    """Set what libraries read once: how OpenMP's threads wait, and a home folder where this user has none."""
    _wait_without_spinning()
    _have_a_home()


def _wait_without_spinning() -> None:
    """Let OpenMP's threads sleep while they wait for each other.

    They spin otherwise: beside another program that keeps one of their cores busy, those that are done then take the
    core away from the one that is waited for, and a training step lasts 5 to 15 times as long. Results stay the same.
    """
    if not any(name in os.environ for name in TOLD):
        os.environ[WAITING] = "PASSIVE"


def _have_a_home() -> None:
    """Where neither HOME nor the system's list of users tells one (``docker run --user``), use what a login does.

    Libraries would stop while they are imported (nltk), or make a folder called ``~`` here (the hub's).
    """
    try:
        Path.home()
    except (RuntimeError, KeyError):
        os.environ["HOME"] = NO_HOME


def misnamed(arguments: list[str]) -> list[str]:
    """One line for each name of a file or folder among the arguments, the current folder's too, that libraries would
    look for elsewhere: Python writes names in the locale's encoding, and what reads models writes them in UTF-8."""
    coding = sys.getfilesystemencoding()
    if coding.lower().replace("-", "") == "utf8":
        return []
    named = [(argument, argument.partition("=")[2] or argument) for argument in arguments if not argument.isascii()]
    found = [argument for argument, value in named if argument.startswith(NAMES) or _is_there(value)]
    with suppress(OSError):
        found += [] if str(here := Path.cwd()).isascii() else [f"the current folder {here}"]
    return [f"{what} is not ASCII and this locale's file names are {coding}, which not every library follows; set "
            "PYTHONUTF8=1 where names are UTF-8, or use a name of ASCII" for what in found]


def _is_there(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # closed, too long, a NUL
        return False


def unsupported() -> str | None:
    """Why llmtrain cannot run on this system, in one line; None where it can."""
    missing = [name for name in MODULES if not _has(name)]
    missing += [f"signal.{name}" for name in SIGNALS if not hasattr(signal, name)]
    if not missing and os.name == "posix":
        return None
    lacks = f" (its Python lacks {', '.join(missing)})" if missing else ""
    return (f"llmtrain runs on Linux and macOS and not on {sys.platform}{lacks}; on Windows use it inside WSL2 "
            "(wsl --install)")


def _has(module: str) -> bool:
    try:
        import_module(module)
    except ImportError:
        return False
    return True
