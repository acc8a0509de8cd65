"""The lock on a run folder: one process at a time, and it dies with that process."""

from __future__ import annotations

import fcntl
import json
import os
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llmtrain.core.errors import ConfigError
from llmtrain.core.files import make_folder, writing

LOCK_NAME = ".lock"
NOTE_BYTES = 4096

_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


class FolderLock:
    """An exclusive lock on a folder, taken at once or refused; it dies with the process that holds it.

    Args:
        path: The folder; created when missing. The lock is an flock on ``.lock`` in it, a file that stays.

    Attributes:
        left: What the last holder had noted (:meth:`note`) and not taken back by :meth:`release`: it was killed. Else
            nothing.
        stood: Whether the lock's file was there before this holder came.
        made: The folders that this holder made, the inner ones first.

    Raises:
        ConfigError: Another process (or another holder in this one) has it, or locks do not work there.
        ResourceError: The file may not be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stood = False
        self.made: list[Path] = []
        self._handle = -1
        self._noted = False
        file = path / LOCK_NAME
        while self._handle < 0:
            try:
                self.made += make_folder(path)
                with writing(file):
                    handle, self.stood = _opened(file)
            except FileNotFoundError:  # a holder that failed removed the folder meanwhile
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _same_file(handle, file):  # else its last holder removed the folder meanwhile
                    self._handle = handle
            except BlockingIOError as error:
                raise ConfigError(f"a run is already using {path}; wait for it to end, or choose another "
                                  "run.name") from error
            except OSError as error:
                raise ConfigError(f"cannot lock {file} ({error.strerror}); choose a run.root on a disk that supports "
                                  "file locks") from error
            finally:
                if self._handle < 0:
                    os.close(handle)
        self.left = self._read()
        _held.add(self)

    def _read(self) -> dict[str, Any]:
        try:
            note = json.loads(os.pread(self._handle, NOTE_BYTES, 0))
        except (OSError, ValueError, RecursionError):
            return {}
        return note if isinstance(note, dict) else {}

    def note(self, value: dict[str, Any]) -> None:
        """Leave this for the next holder, should this one be killed. A disk that takes none is no reason to stop.

        A file of that name that holds anything else was not ours, and stays as it is.
        """
        if os.fstat(self._handle).st_size and not self.left:
            return
        self._noted, text = True, json.dumps(value)
        with suppress(OSError):
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, text.encode(), 0)

    def release(self) -> None:
        """Take the note back and give the folder free; fine when that happened before."""
        if self._handle >= 0 and self._noted:
            with suppress(OSError):
                os.ftruncate(self._handle, 0)
        self.drop()

    def drop(self) -> None:
        """Close the lock's file alone, as a child must that shares it."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        _held.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.release()


def _opened(file: Path) -> tuple[int, bool]:
    """The lock's file, open, and whether it was there already."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(file, flags | os.O_CREAT | os.O_EXCL, 0o666), False
    except FileExistsError:
        return os.open(file, flags), True


def _same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _release_in_child() -> None:
    # a forked data worker shares the flock: without this it would keep the folder locked after its parent's death
    for lock in list(_held):
        lock.drop()


os.register_at_fork(after_in_child=_release_in_child)
