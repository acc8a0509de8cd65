"""The only code that commits a file: stage, fsync, rename, fsync the parent.

A reader sees the old content or the new one, never a part, whenever the process or the machine stops. Everything
unfinished is called ``.tmp-*`` and is removed by the next start (:func:`clear_staged`).
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from llmtrain.core.errors import CheckpointError, ConfigError, ResourceError, behind, shorten

SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: no file can hold it as UTF-8
STAGED = ".tmp-"
REPLACED = f"{STAGED}old-"
JSON_LIMIT = 64 << 20
BLOCK = 4096  # bytes
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
IN_USE = {errno.EBUSY, errno.ENOTEMPTY}  # also a network disk's .nfs... of a file that is open somewhere
NOT_ALLOWED = {errno.EACCES, errno.EPERM}
IN_THE_WAY = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}


def errno_of(error: BaseException) -> int | None:
    """The system's error number. Rust libraries (safetensors, tokenizers) tell it only in their message."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def _translate(error: Exception, path: Path, needed: int) -> Exception:
    number = errno_of(error)
    if number is None:  # a library that tidies up after a failed write may fail once more
        number = next((code for one in behind(error) if (code := errno_of(one)) in DISK), None)
    named = getattr(error, "filename", None) or path
    if number in DISK | NOT_ALLOWED:
        todo = ("free space or use another disk" if number in DISK else
                "make its folder writable for you or choose another")
        return ResourceError(f"cannot write at {named} ({os.strerror(number)}): {needed} bytes are needed there; "
                             f"{todo}, then run the same command again")
    if number in IN_THE_WAY:
        return ConfigError(f"cannot write at {named} ({os.strerror(number)}); choose a folder you can write to")
    return error


@contextmanager
def writing(path: Path, needed: int = BLOCK) -> Iterator[None]:
    """Turn a failed write of ``needed`` bytes at ``path`` into one line; a folder's entry needs a block.

    Raises:
        ResourceError: The disk is full, over quota, broken or read-only, the folder may not be written, or the file
            grew past a limit.
        ConfigError: Something else is in the way of the path.
    """
    try:
        yield
    except Exception as error:
        translated = _translate(error, path, needed)
        if translated is error:
            raise
        raise translated from error


def write_problem(folder: Path) -> OSError | None:
    """Why nothing can be written into a folder, which need not be there yet; None where it can. Leaves nothing."""
    try:
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(BLOCK))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


def make_folder(path: Path) -> list[Path]:
    """Create a folder and its parents, durably; returns those that were missing, itself first."""
    with writing(path):
        missing = list(takewhile(lambda folder: not folder.exists(), (path, *path.parents)))
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            with suppress(PermissionError):  # a folder may be written that may not be read
                sync_folder(folder.parent)
    return missing


def sync_folder(path: Path) -> None:
    """Force a folder's entries (a rename in it) to disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path | str, text: str) -> None:
    """Replace a file's content (UTF-8) at once, durably. Missing parent folders are created.

    Raises:
        ResourceError, ConfigError: As :func:`writing`; the old content is then untouched.
    """
    path, data = Path(path), text.encode()
    make_folder(path.parent)
    staged = path.with_name(f"{STAGED}{path.name}-{os.getpid()}")
    with writing(path, len(data)):
        try:
            with staged.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            staged.replace(path)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def dump_json(value: Any) -> str:
    """JSON text, indented, with a final newline; ValueError for NaN and infinities, which JSON does not have."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def write_json(path: Path | str, value: Any) -> None:
    """:func:`write_text` of :func:`dump_json`."""
    write_text(path, dump_json(value))


def _no_constant(text: str) -> Any:
    raise ValueError(f"it holds {text}")


def _finite(text: str) -> float:
    if (value := float(text)) in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:20]} is out of range")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise ValueError(f"the key {shorten(name, 80)!r} stands twice")
        result[name] = value
    return result


def read_regular(path: Path, limit: int) -> bytes:
    """The content of a regular file. Raises ValueError for another kind and for more than ``limit`` bytes, OSError."""
    # O_NONBLOCK: opening a named pipe must not wait for its other end
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a regular file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"it is larger than {limit} bytes")
    return data


def read_json(path: Path | str, limit: int = JSON_LIMIT) -> Any:
    """Read JSON strictly: a regular file of at most ``limit`` bytes, UTF-8, no NaN or infinity, no key twice.

    Raises:
        CheckpointError: Naming the file and what is wrong with it.
    """
    path = Path(path)
    try:
        data = read_regular(path, limit)
        return json.loads(data.decode(), parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_unique)
    except (OSError, ValueError, RecursionError) as error:
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
        raise CheckpointError(f"cannot read JSON at {path}: {reason}; restore the file, or use another "
                              "checkpoint or run folder") from error


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; symlinks are not followed, vanished files count nothing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                continue
    return total


def _settle(folder: Path) -> None:
    """Give staged files the folder's own permissions (safetensors writes 0600) and force all of it to disk."""
    mode = stat.S_IMODE(folder.stat().st_mode) & 0o666
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            handle = os.open(os.path.join(root, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                os.fchmod(handle, mode)
                os.fsync(handle)
            finally:
                os.close(handle)
        sync_folder(Path(root))


@contextmanager
def stage_folder(final: Path | str, needed: int = 0) -> Iterator[Path]:
    """Write a folder under ``.tmp-NAME`` beside its final place; commit it on a clean exit, remove it on an error.

    A folder that already stands at ``final`` is replaced. ``needed`` is the expected size in bytes, for the message
    of a failure (at least what was written is told).

    Raises:
        ResourceError, ConfigError: As :func:`writing`, from the body as well as from the commit.
    """
    final = Path(final)
    staged = final.with_name(f"{STAGED}{final.name}")
    replaced = final.with_name(f"{REPLACED}{final.name}")
    make_folder(final.parent)
    try:
        for left in (staged, replaced):
            remove(left)
        staged.mkdir()
        yield staged
        _settle(staged)
        if final.exists():
            final.rename(replaced)
        staged.rename(final)
        sync_folder(final.parent)
    except BaseException as error:
        needed = max(needed, folder_size(staged))
        shutil.rmtree(staged, ignore_errors=True)
        _give_back(replaced, final)
        if not isinstance(error, Exception) or (translated := _translate(error, staged, needed)) is error:
            raise
        raise translated from error
    shutil.rmtree(replaced, ignore_errors=True)


def _give_back(replaced: Path, final: Path) -> None:
    """Where a failure or a kill fell between a replacement's two renames, the old folder is still the valid one."""
    if replaced.exists() and not final.exists():
        with suppress(OSError):
            replaced.rename(final)


def remove(path: Path) -> None:
    """Remove a file, link or folder tree; fine when there is none, or another process removes it too. A link's target
    stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=_unless_gone)
    else:
        path.unlink(missing_ok=True)


def _unless_gone(_call: object, _path: str, raised: Any) -> None:
    if not isinstance(raised[1], FileNotFoundError):
        raise raised[1]


def clear_staged(parent: Path) -> None:
    """Remove what earlier, interrupted writes left in ``parent``, and put back what one had not yet replaced.

    The caller holds the folder's lock.
    """
    if parent.is_dir():
        for path in parent.glob(f"{REPLACED}*"):
            _give_back(path, path.with_name(path.name.removeprefix(REPLACED)))
        for path in parent.glob(f"{STAGED}*"):
            try:
                with writing(path):
                    remove(path)
            except OSError as error:
                if error.errno not in IN_USE:  # what is in use harms nobody under its name, and goes next time
                    raise
