"""A model behind the server: what it may be asked, and its answers, those of ``llmtrain predict``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from llmtrain.config.plain import plain
from llmtrain.config.python_arguments import decode_settings
from llmtrain.config.schema import DemoCommandConfig
from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.core.errors import ConfigError, DataError
from llmtrain.core.files import SURROGATE
from llmtrain.data.sources.rows_to_predict import AskedRow, BadRow, RowReader
from llmtrain.inference.published import Published
from llmtrain.tasks.evidence import Evidence
from llmtrain.tasks.predictor import Predictor
from llmtrain.tasks.task import Prediction

NOT_ASKED = ("batch_tokens",)  # of decoding: how fast, not what


@dataclass(frozen=True, slots=True)
class Field:
    """A text that the task reads.

    Attributes:
        name: As the key of its column is called.
        column: As the run's data call it.
    """

    name: str
    column: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model gives for one row.

    Attributes:
        answer: As ``llmtrain predict predict.format=jsonl`` writes it.
        cut: The model did not read all of the row.
        evidence: What a page highlights; None of a row without text.
    """

    answer: dict[str, Any]
    cut: bool
    evidence: Evidence | None


class ServedModel:
    """One task of one checkpoint.

    Args:
        name: What it is called on the page, and in requests.
        config: The command's configuration over the checkpoint's own.
        published: The model.
        task: The task's name in its run, where that has several.
        folder: The model's.
        step: The checkpoint's.
    """

    def __init__(self, name: str, config: DemoCommandConfig, published: Published, task: str, folder: Path, step: int,
                 ) -> None:
        self.name, self.config, self.published = name, config, published
        self.folder, self.step = folder, step
        self.predictor = Predictor(published, config)
        self.task_name = task or config.task.name
        self.fields = fields_of(config)

    @property
    def writes(self) -> bool:
        """Whether decode settings decide its answers."""
        return not self.published.chooses

    @property
    def form(self) -> tuple[str, tuple[str, ...]]:
        """What models have in common that can be asked the same: the task, and the texts that it reads."""
        return self.config.task.name, tuple(field.name for field in self.fields)

    def rows(self, given: Sequence[str | Mapping[str, Any]]) -> list[AskedRow]:
        """The rows as the task reads them, of texts or of columns by their names.

        Raises:
            DataError: With a line for each that it cannot read.
        """
        reader, found, problems = RowReader(self.config.data, self.config.task.name), [], []
        for number, row in enumerate(given):
            place = f"row {number}"
            made = BadRow("half a character (a lone surrogate, as in \\ud83d)") if _has_half(row) else (
                reader.text(row, place) if isinstance(row, str) else reader.row(self._by_column(row), place))
            if isinstance(made, BadRow):
                problems.append(made.at(place))
            else:
                found.append(made)
        if problems:
            raise DataError(problems)
        return found

    def _by_column(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with its texts under the names of the run's columns."""
        found = dict(row)
        for field in self.fields:
            if field.column not in found and field.name in found:
                found[field.column] = found.pop(field.name)
        return found

    def settings(self, given: Mapping[str, Any]) -> GenerationConfig:
        """The run's own decoding with the settings that a request gives.

        Raises:
            ConfigError: With a line for each that is unknown, out of range or more than the server allows.
        """
        own, limits = self.config.generation, self.config.demo
        if refused := [name for name in NOT_ASKED if name in given]:
            raise ConfigError(f"{refused[0]} is a setting of the server; leave it out")
        asked = decode_settings(own, given)
        problems = [f"{name}={value} is more than {most}, the most that this server decodes ({key}); lower it"
                    for name, most, key in (("num_beams", limits.max_beams, "demo.max_beams"),
                                            ("num_return_sequences", limits.max_beams, "demo.max_beams"),
                                            ("max_new_tokens", limits.max_new_tokens, "demo.max_new_tokens"))
                    if (value := getattr(asked, name)) > max(most, getattr(own, name))]
        if asked.max_new_tokens > own.max_new_tokens and (
                beyond := self.published.model.beyond_positions({"max_new_tokens": asked.max_new_tokens})):
            problems.append(beyond)
        if problems:
            raise ConfigError(problems)
        return asked

    def answer(self, rows: Sequence[AskedRow], generation: GenerationConfig, check: Callable[[], None],
               ) -> list[Answered]:
        """The answers, in the rows' order.

        Args:
            check: Called before each pass of the model; what it raises ends the work.
        """
        # beams multiply what is held at once; what is decoded together decides no answer
        together = max(1, generation.batch_tokens // generation.num_beams)
        predictor = Predictor(self.published, replace(self.config, generation=replace(
            generation, batch_tokens=together)))
        if generation.do_sample:
            torch.manual_seed(self.config.run.seed)  # as `llmtrain predict` does when it starts
        with _checked(self.published.model, check):
            made = predictor([row.example for row in rows], in_full=True)
        return [self._answered(row, one, number in made.cut)
                for number, (row, one) in enumerate(zip(rows, made.predictions, strict=True))]

    def _answered(self, row: AskedRow, made: Prediction, cut: bool) -> Answered:
        task, example = self.predictor.task, row.example
        answer = task.answer(made, example)
        shown = task.evidence({**task.columns_of(example), **answer}) if example.source else None
        return Answered(({} if row.id is None else {"id": row.id}) | answer, cut, shown)

    def described(self) -> dict[str, Any]:
        """What the page and programs are told of it, as JSON."""
        own = plain(self.config.generation)
        return {"name": self.name, "task": self.task_name, "step": self.step, "writes": self.writes,
                "precision": self.published.precision.running,
                "reads": None if self.published.selector is not None or (limit := self.predictor.limit) == sys.maxsize
                else limit,
                "fields": [field.name for field in self.fields],
                "columns": {field.name: field.column for field in self.fields},
                "generation": {name: value for name, value in own.items() if name not in NOT_ASKED} if (
                    self.writes) else {}}


def fields_of(config: Any) -> tuple[Field, ...]:
    """The texts that a task reads, from the columns that it declares: the source first."""
    named = config.data.columns()
    columns = {named.source_key: named.source, **named.others}
    return tuple(Field(key.rpartition(".")[2], column) for key, column in columns.items())


def _has_half(row: str | Mapping[str, Any]) -> bool:
    return SURROGATE.search(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) is not None


@contextmanager
def _checked(model: Any, check: Callable[[], None]) -> Iterator[None]:
    """Inside, ``check`` is called before each pass of the model and of its trunk: a text is written by many of the
    one, and a head that writes nothing asks the other alone."""
    def before(module: Any, arguments: Any) -> None:
        check()

    handles = [part.register_forward_pre_hook(before) for part in (model, model.trunk)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
