"""``llmtrain summarize``: documents in, summaries out, in order and as they come."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from llmtrain.cli.commands.checkpoint_config import idle_told, open_stored, show_configuration
from llmtrain.cli.options import CFG, Given
from llmtrain.config.choices import OutputFormat
from llmtrain.config.schema import SummarizeCommandConfig
from llmtrain.core.errors import ConfigError, DataError
from llmtrain.core.logging import quiet_libraries, warn
from llmtrain.core.stdio import write_data

if TYPE_CHECKING:
    from llmtrain.config.sections.data import DataConfig
    from llmtrain.tasks.summarization.summarizer import Summarized

READ_BYTES = 1 << 16
LONGEST_MARK = 4  # bytes of a byte order mark
SHOWN_CUTS = 5
Batch = list[tuple[str, str]]  # (place, document)


def run(overrides: list[str], given: Given) -> int:
    """Summarize stdin, one document a line, or ``input=PATH``: a text file as one document, or a data file's rows."""
    if CFG in given:
        return show_configuration(overrides, "summarize")
    folder, _, stored = open_stored(overrides, "summarize")
    config = cast(SummarizeCommandConfig, stored)

    from llmtrain.tasks.summarization.summarizer import check_summarizes, summarize

    check_summarizes(config.task.name, folder)
    batches = _input(config)  # a missing file is told before any weight is read

    import torch

    from llmtrain.inference.published import load_published

    quiet_libraries()
    loaded = load_published(folder, config.precision, config.trainer.device)
    if config.generation.do_sample:
        torch.manual_seed(config.run.seed)
    if beyond := loaded.model.beyond_positions({"generation.max_new_tokens": config.generation.max_new_tokens}):
        warn(beyond)
    limit = f"data.max_source_tokens={config.data.max_source_tokens}"
    if config.data.max_source_tokens > (readable := loaded.source_limit(config.generation)):
        limit = f"the {readable} positions of the base"
        warn(f"data.max_source_tokens={config.data.max_source_tokens} is more than {limit}; longer documents are cut "
             "there")
    if config.summarize.cite and not (loaded.cites or loaded.chooses):
        raise ConfigError(f"summarize.cite=true but the model at {folder} has a head that cites nothing; leave it out, "
                          "or train head=ext_abs or extractive")
    for line in idle_told(config, overrides, writes=not loaded.chooses):
        warn(line)
    as_json = config.summarize.format is OutputFormat.jsonl
    done = "cut" if loaded.selector is None else "read by the sentences that the selector chooses"
    any_character = write_data()
    cut = told = 0
    for batch in batches:
        made = summarize(loaded, [text for _, text in batch], config.data, config.generation, evidence=as_json)
        if made.cut and not cut:
            told = len(made.cut)
            warn(f"{told} documents are longer than {limit} and are {done}: {_places(batch, made)}")
        cut += len(made.cut)
        _write(made, as_json, config.summarize.cite, any_character)
    if cut > told:
        warn(f"{cut} documents in all were longer than {limit} and were {done}")
    return 0


def _places(batch: Batch, made: Summarized) -> str:
    shown = [batch[i][0] for i in made.cut[:SHOWN_CUTS]]
    return ", ".join(shown) + (" ..." if len(made.cut) > SHOWN_CUTS else "")


def _write(made: Summarized, as_json: bool, cite: bool, any_character: bool) -> None:
    from llmtrain.tasks.summarization.citations import numbered
    from llmtrain.tasks.summarization.options import EVERY

    for one, copied, read in zip(made.summaries, made.copied, made.read, strict=True):
        row: dict[str, Any] = {"summary": one.text, "score": one.score}
        row |= {"scores": [each.score for each in one.every]} if one.others else {}
        if copied is not None:
            row["copied"] = [asdict(word) | {"probability": round(word.probability, 4)} for word in copied]
            row |= {} if read is None else {"read": read}  # the text that start and end are places in
        row |= one.detail(EVERY)
        lines = [each.text if not cite else numbered(
            (cited.text, [source.index for source in cited.sources]) for cited in each.citations or [])
            for each in one.every]
        for line in [json.dumps(row, ensure_ascii=not any_character)] if as_json else lines:
            sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _input(config: SummarizeCommandConfig) -> Iterator[Batch]:
    from llmtrain.data.sources.readers import SUFFIXES, kind_of, read_text

    size = config.summarize.batch
    if config.input is None:
        return _numbered(_batches_of_stdin(size))
    path = Path(config.input)
    if not path.is_file():
        raise DataError(f"no input file at {path}; check input=")
    kind = kind_of(path)[0]
    if kind in SUFFIXES and kind != ".txt":
        documents = _documents(path, config.data)
        return (documents[i:i + size] for i in range(0, len(documents), size))
    return iter([[(str(path), read_text(path))]])


def _numbered(batches: Iterator[list[str]]) -> Iterator[Batch]:
    done = 0
    for lines in batches:
        yield [(f"line {number}", line) for number, line in enumerate(lines, start=done + 1)]
        done += len(lines)


def _documents(path: Path, config: DataConfig) -> Batch:
    """Every row's document, in the words and with the columns that training has for them."""
    from llmtrain.data.sources.cells import Reading
    from llmtrain.data.sources.columns import Columns
    from llmtrain.data.sources.encodings import NOT_UTF8, SAVE_AS
    from llmtrain.data.sources.own_files import text_of
    from llmtrain.data.sources.readers import read_rows

    how = Reading.of(config, [])
    named = config.columns()
    columns = Columns({named.source_key: named.source}, how.notes)
    found = []
    for place, row in read_rows(path, how):
        if isinstance(row, str):
            raise DataError(f"bad row: {row} at {place}; {SAVE_AS if row == NOT_UTF8 else 'mend it'}")
        row = columns.join(columns.find(row), named.source_key)
        text, problem = text_of(row, named.source)
        if isinstance(row.get(named.source), str) and not row[named.source].strip():
            text, problem = "", ""  # an empty document has an empty summary, in its place
        if problem:
            raise DataError(f"bad row: {problem} at {place}; mend it, or name the column by {named.source_key}")
        found.append((place, text))
    for note in how.notes:
        warn(note)
    return found


def _batches_of_stdin(size: int) -> Iterator[list[str]]:
    try:
        descriptor = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):  # a text in memory, as a program that calls main() may put there
        lines = [line.rstrip("\r\n") for line in sys.stdin]
        return (lines[first:first + size] for first in range(0, len(lines), size))
    return batches_of_lines(descriptor, size)


def batches_of_lines(descriptor: int, size: int) -> Iterator[list[str]]:
    """Lines of a stream in batches: up to ``size``, fewer when nothing more is waiting, so that a pipe never stalls."""
    chunk: bytes | None = _opening(descriptor)
    decoder = _decoder(chunk or b"")
    held, ended = b"", False
    lines: list[str] = []
    while not ended or lines:
        if not ended and (not lines or (len(lines) < size and _waiting(descriptor))):
            chunk = os.read(descriptor, READ_BYTES) if chunk is None else chunk
            ended = not chunk
            *whole, held = (held + decoder(chunk, ended)).split(b"\n")
            chunk = None
            if ended and held:
                whole.append(held)
            lines += [line.decode("utf-8", "replace").rstrip("\r") for line in whole]
            continue
        yield lines[:size]
        lines = lines[size:]


def _opening(descriptor: int) -> bytes:
    """The first bytes of a stream, a whole line or as many as a byte order mark may have."""
    opening = b""
    while len(opening) < LONGEST_MARK and b"\n" not in opening and (more := os.read(descriptor, READ_BYTES)):
        opening += more
    return opening


def _decoder(opening: bytes) -> Callable[[bytes, bool], bytes]:
    """What makes a stream's bytes UTF-8, by its byte order mark. Raises DataError for UTF-16 without one."""
    import codecs

    from llmtrain.data.sources.encodings import as_utf8, mark_of

    name = mark_of(opening)
    if name is None:
        as_utf8(Path("/dev/stdin"), opening)
        name = "utf-8-sig"
    decoder = codecs.getincrementaldecoder(name)("replace")
    return lambda chunk, ended: decoder.decode(chunk, ended).encode("utf-8", "replace")


def _waiting(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])
