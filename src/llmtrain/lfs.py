"""Whether a file is only a Git LFS pointer: what stands in a clone made without Git LFS."""

from __future__ import annotations

POINTER = b"version https://git-lfs.github.com/spec/v1"


def is_pointer(content: bytes) -> bool:
    """Whether a file's first bytes are a Git LFS pointer's."""
    return content.startswith(POINTER)
