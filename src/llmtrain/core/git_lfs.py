"""Git LFS pointers: the short texts that a clone without Git LFS has in the place of its large files."""

from __future__ import annotations

from pathlib import Path

START = b"version https://git-lfs.github.com/spec/v"
LONGEST = 1024  # bytes, by the specification
ADVICE = "run git lfs pull in its folder, or download the file itself"


def lfs_pointer(content: bytes) -> bool:
    """Whether a file's content, or its first bytes, is a Git LFS pointer's."""
    return content.startswith(START)


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is a Git LFS pointer; False for what cannot be read, which its reader will tell."""
    try:
        if not path.is_file() or path.stat().st_size > LONGEST:
            return False
        with path.open("rb") as file:
            return lfs_pointer(file.read(len(START)))
    except OSError:
        return False


def pointer_problem(path: Path) -> str:
    """The line that says so."""
    return f"a Git LFS pointer and not the file itself at {path}; {ADVICE}"
