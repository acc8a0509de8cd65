"""data=docstrings for question answering: which characters of a docstring describe a named parameter.

Docstrings of the installed libraries tell it themselves, in sections of Google's style (``Args:``) and numpydoc's
(``Parameters`` above a line). The context is a passage of the docstring, the question names a parameter, the answer is
the first paragraph of its description, character by character. Nothing is imported or downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from llmtrain.config.sections.data import DataConfig, DocstringsConfig
from llmtrain.core.files import SURROGATE
from llmtrain.data.examples import SPLIT_PERCENT, Example, Splits, digest, share_out
from llmtrain.data.sources.docstrings import NOISE, Job, cached_rows, docstrings_of

EXTRACTOR = 1  # raise when the rules below change: it names the cache
PASSAGE_WORDS = 150  # of a longer docstring a passage is taken, with the whole description in it
NEAR_CHARACTERS = 60
GOOGLE = re.compile(r"(?:Args|Arguments|Parameters|Keyword Args|Keyword Arguments):\s*$")
NUMPY = re.compile(r"(?:Other )?Parameters\s*$")
RULE = re.compile(r"-{3,}\s*$")
GOOGLE_ENTRY = re.compile(r"(?P<name>\*{0,2}[A-Za-z_]\w*)\s*(?P<kind>\([^:]*(?::[^:\s][^:]*)*\))?\s*:(?:\s+|$)")
NUMPY_ENTRY = re.compile(r"(?P<name>\*{0,2}[A-Za-z_]\w*)(?:\s*:.*)?$")
Row = tuple[str, str, str, int, int]  # (module:line, context, parameter, first character, the one behind the last)


@dataclass(frozen=True, slots=True)
class Described:
    """A parameter and where its description stands: lines, and how much of the first is not part of it."""

    name: str
    first: int
    last: int
    skipped: int


def read_parameters(config: DataConfig) -> Splits:
    """Extract (or read from the cache), filter, leave out near-copies, and split by modules."""
    rows, libraries = cached_rows("parameters", EXTRACTOR, _rows_of_files, config)
    splits = Splits([], [], [], f"parameters in docstrings of {libraries} installed libraries")
    for place, context, name, start, end in _filtered(rows, config.docstrings):
        module = place.rpartition(":")[0]
        split = next((s for s in ("test", "validation") if share_out(module, SPLIT_PERCENT, s)), "train")
        answer = context[start:end]
        getattr(splits, split).append(Example(f"{place}:{name}", context, answer, (answer,), {
            "question": f"What is {name}?", "answers": [[start, end]]}))
    return splits


def _filtered(rows: list[list[str | int]], options: DocstringsConfig) -> Iterator[Row]:
    """The rows within the limits whose description no other begins alike, and one of each name in a passage."""
    seen: set[str] = set()
    for row in rows:
        place, context, name, start, end = row
        assert isinstance(place, str) and isinstance(context, str) and isinstance(name, str)
        assert isinstance(start, int) and isinstance(end, int)
        answer = context[start:end]
        near = {"a" + "".join(re.findall(r"\w+", answer.lower()))[:NEAR_CHARACTERS], f"n{place}:{name}"}
        if (not near & seen and not SURROGATE.search(context)
                and options.min_document_words <= len(context.split()) <= options.max_document_words
                and options.min_summary_words <= len(answer.split()) <= options.max_summary_words):
            seen |= near
            yield place, context, name, start, end


def _rows_of_files(jobs: list[Job]) -> list[list[Row]]:
    return [[row for place, text in docstrings_of(job) for row in rows_of_docstring(place, text)] for job in jobs]


def rows_of_docstring(place: str, docstring: str) -> Iterator[Row]:
    """A row for each parameter that a docstring describes."""
    lines = [line.rstrip() for line in docstring.split("\n")]
    for found in [*_google(lines), *_numpy(lines)]:
        if (made := _passage(lines, found, place)) is not None:
            context, start, end = made
            yield place, context, found.name.lstrip("*"), start, end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _google(lines: list[str]) -> Iterator[Described]:
    """Entries ``name (kind): description``, each deeper than its section's title, the rest of it deeper still."""
    for title, line in enumerate(lines):
        if not GOOGLE.match(line.strip()):
            continue
        at, depth = title + 1, None
        while at < len(lines) and (not lines[at] or _indent(lines[at]) > _indent(line)):
            if lines[at]:
                depth = _indent(lines[at]) if depth is None else depth
                entry = GOOGLE_ENTRY.match(lines[at].strip()) if _indent(lines[at]) == depth else None
                if entry is not None:
                    beside = len(lines[at].strip()) > entry.end()
                    yield from _described(lines, entry["name"], at if beside else at + 1, depth,
                                          entry.end() if beside else 0)
            at += 1


def _numpy(lines: list[str]) -> Iterator[Described]:
    """Entries ``name : kind`` under a title with a rule, each with its description deeper below."""
    for title in range(len(lines) - 2):
        if not (NUMPY.match(lines[title].strip()) and RULE.match(lines[title + 1].strip())):
            continue
        depth = _indent(lines[title])
        for at in range(title + 2, len(lines)):
            if (lines[at] and _indent(lines[at]) < depth) or RULE.match(lines[at].strip()):
                break
            entry = NUMPY_ENTRY.match(lines[at].strip()) if lines[at] and _indent(lines[at]) == depth else None
            if entry is not None and not (at + 1 < len(lines) and RULE.match(lines[at + 1].strip())):
                yield from _described(lines, entry["name"], at + 1, depth, 0)


def _described(lines: list[str], name: str, first: int, depth: int, skipped: int) -> Iterator[Described]:
    """The first paragraph of a description that begins in a line, if it has one."""
    last = first
    while last < len(lines) and lines[last] and not NOISE.match(lines[last]) and (
            (last == first and skipped) or _indent(lines[last]) > depth):
        last += 1
    if last > first:
        yield Described(name, first, last - 1, skipped)


def _passage(lines: list[str], found: Described, place: str) -> tuple[str, int, int] | None:
    """(text, first character of the description, the one behind its last) of the docstring's prose, or of a part of
    it; where in a part the description stands differs from one to the next.

    None where it has no words.
    """
    parts: list[str] = []
    begin = end = -1  # words before the description, and with it
    for number, line in enumerate(lines):
        kept = line.split() if found.first <= number <= found.last or not NOISE.match(line) else []
        if number == found.first:
            begin = len(parts) + len(line.strip()[:found.skipped].split())
        parts += kept
        if number == found.last:
            end = len(parts)
    if not 0 <= begin < end:
        return None
    room = max(0, PASSAGE_WORDS - (end - begin))
    before = int(digest(f"{place} {found.name}")[:8], 16) % (room + 1) if len(parts) > PASSAGE_WORDS else begin
    start = max(0, min(begin - before, len(parts) - PASSAGE_WORDS))
    words = parts[start:start + max(PASSAGE_WORDS, end - start)]
    text = " ".join(words)
    first = len(" ".join(words[:begin - start])) + (begin > start)
    return text, first, first + len(" ".join(parts[begin:end]))
