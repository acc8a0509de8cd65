"""``llmtrain predict``: rows in, what the model's task gives for each out, in order and as they come."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from llmtrain.cli.commands.answering import Answering
from llmtrain.cli.commands.checkpoint_config import open_stored, show_configuration
from llmtrain.cli.options import CFG, Given
from llmtrain.config.choices import OutputFormat
from llmtrain.config.schema import PredictCommandConfig
from llmtrain.core.logging import warn
from llmtrain.core.stdio import write_data

if TYPE_CHECKING:
    from llmtrain.data.sources.rows_to_predict import AskedRow


def run(overrides: list[str], given: Given) -> int:
    """Predict stdin, one row a line, or the rows of ``input=PATH``.

    A line is a text; of a task that reads several columns it is a JSON object of them.
    """
    if CFG in given:
        return show_configuration(overrides, "predict")
    opened = open_stored(overrides, "predict")
    config = cast(PredictCommandConfig, opened.config)
    batches = _input(config)  # a missing file is told before any weight is read
    model = Answering(opened)
    task, as_json, any_character = model.predictor.task, config.predict.format is OutputFormat.jsonl, write_data()
    for batch in model.answered(batches, overrides, as_json):
        for row, made in batch:
            if as_json:
                named = {} if row.id is None else {"id": row.id}
                lines = [json.dumps(named | task.answer(made, row.example), ensure_ascii=not any_character)]
            else:
                lines = [" ".join(line.split("\n")) for line in task.lines(made)]
            sys.stdout.writelines(f"{line}\n" for line in lines)
        sys.stdout.flush()
    return 0


def _input(config: PredictCommandConfig) -> Iterator[list[AskedRow]]:
    from llmtrain.data.sources.rows_to_predict import RowReader, batches_from_stdin, check_input, rows_of_file

    size, reader = config.predict.batch, RowReader(config.data, config.task.name)
    if config.input is None:
        return batches_from_stdin(reader, size)
    path = Path(config.input)
    check_input(path)
    rows = rows_of_file(reader, path)
    for note in reader.notes:
        warn(note)
    return (rows[i:i + size] for i in range(0, len(rows), size))
