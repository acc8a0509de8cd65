"""What the program ends with when a command fails: an exit code, and the lines that are told."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from llmtrain.core.errors import ConfigError, LlmtrainError, ResourceError, behind, shorten
from llmtrain.core.files import DISK, IN_THE_WAY, IN_USE, NOT_ALLOWED, errno_of
from llmtrain.core.logging import Lenient

_RELIEF = {"out of memory": "lower trainer.batch_size, data.max_source_tokens or generation.batch_tokens, or raise "
                            "trainer.accumulate",
           "a library cannot be loaded": "raise the limit on memory (ulimit -v), or mount its folder without noexec",
           "the disk is full": "free space, then run the same command again"}
_NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "std::bad_alloc")
_NO_HOME = "determine home directory"  # of pathlib's RuntimeError, which names no path


def ending(error: BaseException, arguments: list[str]) -> tuple[int, list[str]]:
    """The exit code and the lines. ``arguments``: the command line that failed."""
    if (stop := _stop(error)) is not None:
        return int(getattr(stop, "exit_code", 130)), [str(stop) or "interrupted"]
    if isinstance(error, LlmtrainError):
        return error.exit_code, error.problems
    if isinstance(error, BrokenPipeError) and not isinstance(sys.stdout, Lenient):
        return 0, []  # the reader left; a run goes on without, and there it is another pipe that broke
    if (known := _known(error, arguments)) is not None:
        return known.exit_code, known.problems
    line = shorten(str(error), 300)
    if exhausted := _exhausted(error):
        reason = shorten(line, 180) or type(error).__name__  # CUDA tells of every other process on the device too
        return ResourceError.exit_code, [f"{exhausted} ({reason}); {_RELIEF[exhausted]}"]
    return 1, [f"unexpected {type(error).__name__}: {line}; LLMTRAIN_DEBUG=1 shows where"]


def _stop(error: BaseException) -> KeyboardInterrupt | None:
    """The request to stop that this is, or in whose handling it came up."""
    return next((one for one in behind(error) if isinstance(one, KeyboardInterrupt)), None)


def _known(error: BaseException, arguments: list[str]) -> LlmtrainError | None:
    """A failure of the system that no place on the way had guarded, as the error that it is."""
    if isinstance(error, RuntimeError) and _NO_HOME in str(error):
        try:
            Path.home()
        except RuntimeError:
            return ConfigError("this user has no home folder; set HOME, and LLMTRAIN_CACHE for the cache")
        named = next((one for one in arguments if "~" in one), "a path")
        return ConfigError(f"{shorten(named, 120)} begins with the ~ of no user of this machine; write the folder out")
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return _nowhere(error)
    if not isinstance(error, OSError) or error.filename is None or isinstance(error.filename, int):
        return None
    named, reason = os.fsdecode(error.filename), error.strerror
    if error.errno in NOT_ALLOWED:
        return ResourceError(f"no right to read or write at {named} ({reason}); change the rights there or choose "
                             "another place, then run the same command again")
    if error.errno in DISK:
        return ResourceError(f"cannot read or write at {named} ({reason}); free space or use another disk, then run "
                             "the same command again")
    if error.errno in IN_USE:
        return ResourceError(f"cannot remove or replace {named} ({reason}); end what uses it, then run the same "
                             "command again")
    if error.errno in IN_THE_WAY:
        return ConfigError(f"cannot read or write at {shorten(named, 200)} ({reason}); name another place")
    return None


def _nowhere(error: FileNotFoundError) -> LlmtrainError | None:
    """What Python tells without a path: nothing can be written for a while, or the current folder is gone."""
    if "temporary directory" in str(error):
        return ResourceError(f"{shorten(str(error.strerror), 200)}; free space, or name a folder in the environment "
                             "variable TMPDIR")
    try:
        Path.cwd()
    except FileNotFoundError:
        return ConfigError("the current folder was removed; change to another one and run the command there")
    return None


def _exhausted(error: BaseException) -> str | None:
    """What ran out, if anything did. torch's own error is known by name: torch is not imported here."""
    names, text = {kind.__name__ for kind in type(error).__mro__}, str(error).lower()
    if "failed to map segment" in text:
        return "a library cannot be loaded"
    if names & {"MemoryError", "OutOfMemoryError"} or any(sign in text for sign in _NO_MEMORY):
        return "out of memory"
    return "the disk is full" if errno_of(error) in (errno.ENOSPC, errno.EDQUOT) else None
