"""Two plain-text files as one split: a source a line in the first, its target on the line of that number in the second.

What a list of two files is, is told by what they can be alone. A kind of rows (.jsonl, .csv, .parquet ...) is read by
itself. A ``.txt`` may hold both columns, parted by a tab in every line; two without any tab are a pair, and so are two
whose names end otherwise (train.en, train.de). A list of files of rows and a pair are never taken for each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from llmtrain.core.errors import DataError
from llmtrain.data.sources.cells import Reading
from llmtrain.data.sources.compression import kind_of, read_bytes
from llmtrain.data.sources.encodings import NOT_UTF8, as_utf8, check_kind

Row = tuple[str, dict[str, str] | str]
PAIRED = ".txt"  # a kind that may be both


def is_parallel(paths: Sequence[Path], kinds_of_rows: Sequence[str]) -> bool:
    """Whether files are the two columns of one split.

    Args:
        kinds_of_rows: Endings of names that tell files of rows.

    Raises:
        DataError: A pair holds a tab in some lines, so that it could be either.
    """
    kinds = [kind_of(path)[0] for path in paths]
    if len(paths) != 2 or any(kind in kinds_of_rows and kind != PAIRED for kind in kinds):
        return False
    if kinds != [PAIRED, PAIRED]:
        return True
    with_tab = [[b"\t" in line for line in read_bytes(path).splitlines() if line.strip()] for path in paths]
    if not any(map(any, with_tab)):
        return True
    if all(map(all, with_tab)):
        return False
    raise DataError(f"{paths[0]} and {paths[1]} hold a tab in some lines and none in others, so that they are neither "
                    "source and target beside a tab nor two parallel files; take the tabs out, or name parallel files "
                    "by their language, train.en and train.de")


def read_parallel(paths: Sequence[Path], how: Reading) -> Iterator[Row]:
    """Every pair of lines with its place; one that is empty or no UTF-8 comes as its problem.

    Raises:
        DataError: A file is missing, damaged or no text, both are one, or they have not as many lines.
    """
    if paths[0] == paths[1]:
        raise DataError(f"both sources and targets are to be read from {paths[0]}; name the file of the targets second")
    first, second = (_lines(path) for path in paths)
    if len(first) != len(second):
        raise DataError(f"{len(first)} lines at {paths[0]} and {len(second)} at {paths[1]}, whose lines belong "
                        "together by their number; give two files of one length, the source's first")
    how.notes.append(f"parallel text: {how.pair[0]} from {paths[0].name}, {how.pair[1]} from {paths[1].name}, "
                     f"{len(first)} lines")
    for number, pair in enumerate(zip(first, second, strict=True), start=1):
        place, problem = f"{paths[0]}:{number}", ""
        for path, line in zip(paths, pair, strict=True):
            if line is None or not line.strip():
                place, problem = f"{path}:{number}", NOT_UTF8 if line is None else "empty line"
                break
        source, target = pair
        yield place, problem or {how.pair[0]: source or "", how.pair[1]: target or ""}


def _lines(path: Path) -> list[str | None]:
    """Every line, blank ones too, but for what follows the last line break; None for one that is no UTF-8."""
    content = read_bytes(path)
    check_kind(path, content, "")
    found: list[str | None] = []
    for raw in as_utf8(path, content).removesuffix(b"\n").split(b"\n"):
        try:
            found.append(raw.decode().rstrip("\r"))
        except UnicodeDecodeError:
            found.append(None)
    return found


def swapped(pairs: Mapping[str, Sequence[Path]]) -> str | None:
    """A line where one split's files are named as another's are, the other way round (train.en and train.de, test.de
    and test.en).

    Args:
        pairs: The two files of each split that is parallel text.
    """
    endings = {split: tuple(_language(path) for path in paths) for split, paths in pairs.items()}
    (one, known), *others = endings.items() if endings else [("", ("", ""))]
    for split, ending in others:
        if known[0] != known[1] and ending == known[::-1]:
            return (f"data.{split} names {pairs[split][0].name} first and data.{one} {pairs[one][0].name}: one of them "
                    "is the other way round; name the source's file first in both")
    return None


def _language(path: Path) -> str:
    """What tells two files of a split apart, ``.de`` of ``test.de.gz`` and of ``test.de.txt``."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = kind_of(path)[1]
    suffixes = [suffix for suffix in suffixes if suffix not in (packed, PAIRED)]
    return suffixes[-1] if suffixes else path.name
