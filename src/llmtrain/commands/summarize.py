"""``llmtrain summarize``: documents in, summaries out, in order and as they come."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from llmtrain.config.load import path_value
from llmtrain.config.over import compose_over
from llmtrain.config.schema import SummarizeCommandConfig, SummaryFormat
from llmtrain.errors import ConfigError, DataError

READ_BYTES = 1 << 16
COPY_LIKELY = 0.5  # a token counts as copied when copying it was likelier than writing it


def run(overrides: list[str]) -> int:
    """Summarize stdin, one document a line, or ``input=PATH``: a whole text file, or each row of a .jsonl."""
    checkpoint = path_value(overrides, "checkpoint")
    if checkpoint is None:
        raise ConfigError("summarize needs checkpoint=PATH; name a run folder, a pointer, a step or a model folder")

    from llmtrain.checkpoint import locate_model, read_model_config

    folder = locate_model(Path(checkpoint))
    stored = read_model_config(folder)
    config = cast(SummarizeCommandConfig,
                  compose_over(stored["config"], overrides, "summarize", at=str(folder / "llmtrain.json")))
    batches = _input(config)  # a missing file is told before any weight is read

    from llmtrain.log import quiet_libraries
    from llmtrain.summarizer import load_published

    quiet_libraries()
    loaded = load_published(folder, config.precision, config.trainer.device)
    as_json = config.summarize.format is SummaryFormat.jsonl
    cut = 0
    for texts in batches:
        made, longer = loaded.summarize(texts, config.data, config.generation, with_copies=as_json)
        cut += longer
        for one in made:
            sys.stdout.write((json.dumps(_row(one), ensure_ascii=False) if as_json else one.text) + "\n")
        sys.stdout.flush()
    if cut:
        print(f"llmtrain: {cut} documents are longer than data.max_source_tokens={config.data.max_source_tokens} and "
              "were cut", file=sys.stderr)
    return 0


def _row(one: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"summary": one.text, "score": one.score}
    if one.copied is not None:
        row["copied"] = [{"token": token, "probability": round(gate, 4), "source": place}
                         for token, gate, place in one.copied if gate > COPY_LIKELY]
    return row


def _input(config: SummarizeCommandConfig) -> Iterator[list[str]]:
    size = config.summarize.batch
    if config.input is None:
        return batches_of_lines(sys.stdin.fileno(), size)
    path = Path(config.input)
    if not path.is_file():
        raise DataError(f"no input file at {path}; check input=")
    if ".jsonl" in path.suffixes:
        texts = _documents(path, config.data.document)
        return (texts[i:i + size] for i in range(0, len(texts), size))
    return iter([[" ".join(path.read_text(encoding="utf-8", errors="replace").split())]])


def _documents(path: Path, column: str) -> list[str]:
    from llmtrain.data.readers import read_rows

    texts = []
    for place, row in read_rows(path):
        if isinstance(row, str):
            raise DataError(f"bad row: {row} at {place}; mend it")
        if not isinstance(row.get(column), str):
            raise DataError(f"no text in column {column!r} at {place}; set data.document")
        texts.append(row[column])
    return texts


def batches_of_lines(descriptor: int, size: int) -> Iterator[list[str]]:
    """Lines of a stream in batches: up to ``size``, fewer when nothing more is waiting, so that a pipe never stalls."""
    held, ended = b"", False
    lines: list[str] = []
    while not ended or lines:
        if not ended and (not lines or (len(lines) < size and _waiting(descriptor))):
            chunk = os.read(descriptor, READ_BYTES)
            ended = not chunk
            *whole, held = (held + chunk).split(b"\n")
            if ended and held:
                whole.append(held)
            lines += [line.decode("utf-8", "replace").rstrip("\r") for line in whole]
            continue
        yield lines[:size]
        lines = lines[size:]


def _waiting(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])
