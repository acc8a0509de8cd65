"""What a run tells: lines and a progress bar on rank 0's terminal, and metrics.jsonl."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TextIO

from llmtrain.core.errors import CheckpointError, DataError, as_told, one_line
from llmtrain.core.files import writing

NOISY = ("torchao", "torch.utils._pytree")  # loggers of what transformers imports


def is_main() -> bool:
    """Whether this process is rank 0 (known before any process group exists)."""
    return os.environ.get("RANK", "0") == "0"


def say(line: str) -> None:
    """Print one line on rank 0 at once, above a progress bar when one is drawn."""
    if is_main():
        print(one_line(line), flush=True)


def warn(line: str) -> None:
    """Print one warning on rank 0's stderr."""
    if is_main():
        print(as_told(line), file=sys.stderr, flush=True)


@contextmanager
def quieted_imports() -> Iterator[None]:
    """:func:`quiet_imports` for a time, in a program that is not ours."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    quiet_imports()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def quiet_imports() -> None:
    """Call it before anything heavy is imported: transformers imports torchao where that is installed, which warns of
    kernels for other devices and of deprecations inside torch."""
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)


def quiet_libraries() -> None:
    """Keep transformers' and datasets' own bars and reports off the terminal; their errors still come."""
    from datasets import disable_progress_bars
    from transformers.utils import logging as reports

    reports.set_verbosity_error()
    reports.disable_progress_bar()
    disable_progress_bars()


NEAR_END = 1 << 20  # bytes of the log
GONE = {errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def discard(stream: TextIO) -> None:
    """From now on what this stream is given, and what it still holds, goes nowhere; nothing is done to one that is no
    file of the system's (a notebook's)."""
    try:
        number = stream.fileno()
    except (AttributeError, OSError, ValueError):
        return
    handle = os.open(os.devnull, os.O_WRONLY)
    os.dup2(handle, number)
    os.close(handle)


class Lenient:
    """A text stream whose output goes nowhere once it cannot be written: its reader has left (``| head -1``, a closed
    terminal), its disk is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, call: Callable[..., Any], *arguments: str) -> None:
        try:
            call(*arguments)
        except OSError as error:
            if error.errno not in GONE:
                raise
            discard(self._stream)


def keep_going() -> None:
    """From here on a reader that leaves does not end the program: a run must not stop with its terminal."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, Lenient):
            setattr(sys, name, Lenient(stream))


class MetricsLog:
    """metrics.jsonl: one flat JSON object a line, flushed as written.

    ``size`` goes into each checkpoint; :meth:`cut` drops what a stopped run wrote after its last checkpoint, so a
    resumed log is the log of a run that was never stopped.
    """

    def __init__(self, path: Path, enabled: bool = True) -> None:
        self._path = path
        self._enabled = enabled

    @property
    def size(self) -> int:
        with writing(self._path):
            try:
                found = os.lstat(self._path)
            except FileNotFoundError:
                return 0
        if not stat.S_ISREG(found.st_mode):
            raise self._foreign()
        return found.st_size

    def cut(self, size: int) -> None:
        """Keep the first ``size`` bytes. Raises DataError when the file is shorter than that."""
        if not self._enabled or self.size == size:
            return
        if self.size < size:
            raise DataError(f"metrics.jsonl at {self._path} is shorter than its checkpoint says ({self.size} of {size} "
                            "bytes); restore it, or move the run folder away and start again")
        with writing(self._path), self._open(os.O_RDWR) as file:
            file.truncate(size)
            os.fsync(file.fileno())

    def write(self, row: Mapping[str, Any]) -> None:
        if not self._enabled:
            return
        line = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()
        with writing(self._path, len(line)), self._open(os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
            file.write(line)

    def last(self, *splits: str) -> dict[str, Any] | None:
        """The last row of one of these splits, as far as it stands near the end; None where there is none."""
        size = self.size
        if not size:
            return None
        with writing(self._path), self._open(os.O_RDWR) as file:
            file.seek(max(0, size - NEAR_END))
            lines = file.read().splitlines()
        for line in reversed(lines if size <= NEAR_END else lines[1:]):
            row: dict[str, Any] = json.loads(line)
            if row["split"] in splits:
                return row
        return None

    def sync(self) -> None:
        """Force the log to disk, before a checkpoint that names its size."""
        if self._enabled and self.size:
            with writing(self._path), self._open(os.O_RDWR) as file:
                os.fsync(file.fileno())

    def _open(self, flags: int) -> BinaryIO:
        """The file, which must be one of its own: through a link another file would be cut, and a pipe would block."""
        try:
            handle = os.open(self._path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise self._foreign() from error
            raise
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise self._foreign()
        return os.fdopen(handle, "rb+" if flags & os.O_RDWR else "ab")

    def _foreign(self) -> CheckpointError:
        return CheckpointError(f"the log at {self._path} is a link or no regular file; put the file itself there, or "
                               "remove it and choose another run.name")


class Progress:
    """A training progress bar with ETA, losses and tokens/s; plain lines when stdout is no terminal."""

    def __init__(self, total: int | None, start: int) -> None:
        self._bar: Any = None
        self._total, self._start = total, start

    def __enter__(self) -> Self:
        if is_main() and sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                                 TextColumn("{task.fields[note]}"))
            self._bar.start()
            self._task = self._bar.add_task("train", total=self._total, completed=self._start, note="")
        return self

    def step(self, step: int, total: int | None) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=step, total=total)

    def line(self, text: str) -> None:
        """A log line: the note beside the bar on a terminal, a printed line elsewhere."""
        if self._bar is not None:
            self._bar.update(self._task, note=text)
        else:
            say(text)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
                 ) -> None:
        if self._bar is not None:
            self._bar.stop()


class Counting:
    """A bar on rank 0's stderr for work that counts up to a total; nothing when stderr is no terminal."""

    def __init__(self, what: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bar

        self._bar = Bar(console=Console(stderr=True), transient=True, disable=not (is_main() and sys.stderr.isatty()))
        self._task = self._bar.add_task(what, total=total)

    def add(self, done: int) -> None:
        self._bar.advance(self._task, done)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
