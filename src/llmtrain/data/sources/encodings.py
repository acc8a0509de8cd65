"""Text files by their byte order mark, and what files that are no text really are."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from llmtrain.core.errors import DataError
from llmtrain.core.git_lfs import lfs_pointer

MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
         (codecs.BOM_UTF16_BE, "utf-16"))  # the longer first: one begins with the other
HEAD = 4096  # bytes that are looked at
MANY = 5  # a NUL in so many bytes: every second one of UTF-16 that holds Latin letters
NUL = "holds a NUL character (UTF-16 without a byte order mark?)"
NOT_UTF8 = "not UTF-8"  # a bad row of such bytes
SAVE_AS = ("save it as UTF-8, for Windows-1252 by: iconv -f WINDOWS-1252 -t UTF-8 (Chinese: GB18030; Latin-1: "
           "ISO-8859-1)")
EXPORT = "export it as CSV or JSON Lines"
FOREIGN: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a zip archive or an Office file (.xlsx, .docx)", f"unpack it, or {EXPORT} from the program that "
                                                                     "made it"),
    (b"\xd0\xcf\x11\xe0", "an old Office file (.xls, .doc)", EXPORT), (b"%PDF-", "a PDF", "export its text"),
    (b"\x89PNG", "a picture", "give text"), (b"\xff\xd8\xff", "a picture", "give text"),
    (b"\x1f\x8b", "packed by gzip", "end its name in .gz"), (b"\xfd7zXZ\0", "packed by xz", "end its name in .xz"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", "end its name in .zst"),
    (b"BZh", "packed by bzip2", "end its name in .bz2"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"), (b"Rar!", "a rar archive", "unpack it"),
    (b"PAR1", "a Parquet file", "end its name in .parquet"), (b"ARROW1", "an Arrow file", EXPORT),
    (b"SQLite format 3\0", "a SQLite database", EXPORT), (b"\x89HDF", "an HDF5 file", EXPORT),
    (b"\x93NUMPY", "a NumPy file", EXPORT))
PICKLE = re.compile(rb"\x80[\x02-\x05](\x95|c|}|\]|\()")
HTML = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html)\b", re.IGNORECASE)


def check_kind(path: Path, content: bytes, kind: str) -> None:
    """Raises DataError for content that is another kind of file than text, or than Parquet where that is named."""
    if kind == ".parquet" and content.startswith(b"PAR1"):
        return
    if lfs_pointer(content):
        raise DataError(f"a Git LFS pointer, not the data, at {path}; run: git lfs pull")
    for mark, what, todo in FOREIGN:
        if content.startswith(mark) and not (mark == b"BZh" and content[4:10] != b"1AY&SY"):
            raise DataError(f"{what}, not {kind or 'text'}, at {path}; {todo}")
    if PICKLE.match(content):
        raise DataError(f"a Python pickle, which is never opened, at {path}; {EXPORT} where it was made")
    if HTML.match(content[:HEAD]):
        raise DataError(f"an HTML page, not data, at {path}; download the file itself (the raw one), or {EXPORT}")


def mark_of(content: bytes) -> str | None:
    """utf-16 or utf-32 where a byte order mark says so."""
    return next((name for mark, name in MARKS if content.startswith(mark)), None)


def as_utf8(path: Path, content: bytes) -> bytes:
    """A text file's content as UTF-8, without a byte order mark; bytes that are no UTF-8 stay as they are.

    Raises:
        DataError: It is not what its byte order mark says, or UTF-16 without one.
    """
    name = mark_of(content)
    if name is None:
        head = content[:HEAD]
        if head.count(0) * MANY > len(head):
            raise DataError(f"not UTF-8 text (a NUL beside every letter: UTF-16 without a byte order mark?) at {path}; "
                            "save it as UTF-8 (iconv -f UTF-16LE -t UTF-8)")
        return content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode(name, "surrogatepass").removeprefix("\ufeff").encode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise DataError(f"not {name.upper()} text, though it begins with its byte order mark, at {path} "
                        f"({error.reason}); save it as UTF-8") from error


def not_utf8(path: Path, content: bytes, error: UnicodeDecodeError) -> DataError:
    """The error of a file that is read as a whole, with the line of the first byte that is no UTF-8."""
    line = content.count(b"\n", 0, error.start) + 1
    return DataError(f"{NOT_UTF8} text at {path}:{line}; {SAVE_AS}")


def decoded(path: Path, content: bytes) -> str:
    """A text file's content. Raises DataError where it is not UTF-8, or holds NUL characters."""
    content = as_utf8(path, content)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(path, content, error) from error
    if (at := text.find("\0")) >= 0:
        line = text.count("\n", 0, at) + 1
        raise DataError(f"a line {NUL} at {path}:{line}; save it as UTF-8 or take it out")
    return text
