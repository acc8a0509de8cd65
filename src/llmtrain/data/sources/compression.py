"""A data file's bytes, unpacked from .gz, .zst, .xz or .bz2."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from llmtrain.core.errors import DataError
from llmtrain.data.sources.unpacking_limits import bounded

PIECE = 1 << 20  # bytes unpacked at a time
XZ_MEMORY = 256 << 20  # bytes for an .xz file's dictionary; xz -9 takes 65 MiB
PACKED = (".gz", ".zst", ".xz", ".bz2")


def kind_of(path: Path) -> tuple[str, str]:
    """(kind, packing): the suffix in lower case, one of PACKED apart; each empty where there is none."""
    suffixes = [s.lower() for s in path.suffixes]
    packed = suffixes.pop() if suffixes and suffixes[-1] in PACKED else ""
    return (suffixes[-1] if suffixes else ""), packed


def read_bytes(path: Path) -> bytes:
    """A file's content, unpacked. Raises DataError when it is missing, empty or damaged."""
    if not path.is_file():
        raise DataError(f"no data file at {path}; check the path")
    try:
        if path.stat().st_size == 0:
            raise DataError(f"empty data file at {path}; it needs at least one row")
        packed = kind_of(path)[1]
        if packed == ".gz":
            with gzip.open(path) as file:
                return b"".join(bounded(path, iter(lambda: file.read(PIECE), b"")))
        if packed == ".zst":
            return b"".join(bounded(path, _unpack_zst(path)))
        if packed:
            make = bz2.BZ2Decompressor if packed == ".bz2" else _xz
            return b"".join(bounded(path, _unpack_streams(path, make)))
        return path.read_bytes()
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"cannot read the data file at {path} ({error}); check or restore it") from error


def _xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=XZ_MEMORY)


def _unpack_streams(path: Path, make: Callable[[], Any]) -> Iterator[bytes]:
    """Every stream of an .xz or .bz2 file, PIECE by PIECE; zeros that fill up an .xz are passed by."""
    with path.open("rb") as file:
        waiting = file.read(PIECE)
        while waiting:
            unpacker = make()
            while not unpacker.eof:
                if unpacker.needs_input and not waiting:
                    raise EOFError("it ends too early")
                yield unpacker.decompress(waiting, PIECE)
                waiting = file.read(PIECE) if unpacker.needs_input else b""
            waiting = unpacker.unused_data + waiting
            waiting = waiting or file.read(PIECE)
            while waiting and not waiting.strip(b"\0"):
                waiting = file.read(PIECE)
            waiting = waiting.lstrip(b"\0")


def _unpack_zst(path: Path) -> Iterator[bytes]:
    """Every frame of a .zst file; a stream reader would give the half of a truncated one without a word."""
    import zstandard

    packed, at = memoryview(path.read_bytes()), 0
    unpacker = zstandard.ZstdDecompressor()
    try:
        while at < len(packed):
            frame = unpacker.decompressobj()
            while not frame.eof:
                if at == len(packed):
                    raise zstandard.ZstdError("it ends in the middle of a frame")
                piece = packed[at:at + (PIECE >> 6)]
                yield frame.decompress(piece)
                at += len(piece) - len(frame.unused_data)  # what belongs to the next frame
    except zstandard.ZstdError as error:
        raise DataError(f"damaged .zst data file at {path} ({error}); restore it") from error
