"""``llmtrain summarize``: documents in, summaries out, in order and as they come."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from llmtrain.cli.commands.answering import Answering
from llmtrain.cli.commands.checkpoint_config import open_stored, show_configuration
from llmtrain.cli.options import CFG, Given
from llmtrain.config.choices import OutputFormat
from llmtrain.config.schema import SummarizeCommandConfig
from llmtrain.core.errors import ConfigError
from llmtrain.core.logging import warn
from llmtrain.core.stdio import write_data

if TYPE_CHECKING:
    from llmtrain.data.sources.rows_to_predict import AskedRow
    from llmtrain.inference.generated import Generated


def run(overrides: list[str], given: Given) -> int:
    """Summarize stdin, one document a line, or ``input=PATH``: a text file as one document, or a data file's rows."""
    if CFG in given:
        return show_configuration(overrides, "summarize")
    opened = open_stored(overrides, "summarize")
    config = cast(SummarizeCommandConfig, opened.config)

    from llmtrain.tasks.summarization.summarizer import check_summarizes

    check_summarizes(config.task.name, opened.folder)
    batches = _input(config)  # a missing file is told before any weight is read
    model = Answering(opened)
    task, published = model.predictor.task, model.published
    if config.summarize.cite and not (published.cites or published.chooses):
        raise ConfigError(f"summarize.cite=true but the model at {opened.folder} has a head that cites nothing; leave "
                          "it out, or train head=ext_abs or extractive")
    as_json, any_character = config.summarize.format is OutputFormat.jsonl, write_data()
    for batch in model.answered(batches, overrides, as_json):
        for row, made in batch:
            if as_json:
                answer: dict[str, Any] = task.answer(made, row.example)
                answer = {"summary": answer.pop("prediction"), **answer}
                lines = [json.dumps(answer, ensure_ascii=not any_character)]
            else:
                lines = _cited(made.made) if config.summarize.cite else task.lines(made)
            sys.stdout.writelines(f"{line}\n" for line in lines)
        sys.stdout.flush()
    return 0


def _cited(made: Generated) -> list[str]:
    from llmtrain.tasks.summarization.citations import numbered

    return [numbered((cited.text, [source.index for source in cited.sources]) for cited in each.citations or [])
            for each in made.every]


def _input(config: SummarizeCommandConfig) -> Iterator[list[AskedRow]]:
    from llmtrain.data.sources.rows_to_predict import (
        RowReader,
        batches_from_stdin,
        check_input,
        is_one_text,
        one_text,
        rows_of_file,
    )

    size, reader = config.summarize.batch, RowReader(config.data, config.task.name)
    if config.input is None:
        return batches_from_stdin(reader, size)
    path = Path(config.input)
    check_input(path)
    if is_one_text(path):
        return iter([one_text(path)])
    rows = rows_of_file(reader, path)
    for note in reader.notes:
        warn(note)
    return (rows[i:i + size] for i in range(0, len(rows), size))
