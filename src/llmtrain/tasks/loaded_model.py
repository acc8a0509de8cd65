"""The public Python of every task: ``llmtrain.load("folder")(["text"])``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from llmtrain.checkpoint import check_plugins, locate_model, read_model_config
from llmtrain.config.choices import Device, PrecisionName
from llmtrain.config.convert import from_dict
from llmtrain.config.decode_checks import idle_settings
from llmtrain.config.from_checkpoint import Stored, of_task
from llmtrain.config.plain import plain
from llmtrain.config.python_arguments import Arguments, arguments
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.precision import PrecisionConfig
from llmtrain.core.errors import CheckpointError, ConfigError, DataError
from llmtrain.core.logging import warn
from llmtrain.data.examples import Example
from llmtrain.data.python_texts import SHOWN_PROBLEMS, given_rows
from llmtrain.data.sources.rows_to_predict import BadRow, RowReader
from llmtrain.inference.published import Published, check_predicts, load_published
from llmtrain.plugins import load as load_plugin
from llmtrain.tasks.predictor import Predictor
from llmtrain.tasks.task import Prediction


@lru_cache(maxsize=1)
def _kept(folder: Path, precision: PrecisionName, device: Device, task: str) -> Published:
    """The last model that a copy loaded: a pool of processes unpickles one for every piece of work."""
    return load_published(folder, PrecisionConfig(name=precision), device, task)


class LoadedModel:
    """A trained model, ready to predict what its task asks for.

    It can be pickled and copied: a copy holds the folder and the settings, and loads the weights anew. Several threads
    may call one; their calls wait for each other.

    Args:
        folder: A run folder (its best checkpoint), a pointer, a step folder or a lone model folder.
        precision: fp32, fp16 or bf16.
        device: auto, cpu or cuda.
        plugins: Python files that register what the model was trained with (its task, its head); they are run.
        task: Of a model that has learnt several tasks, the name of the one that is meant.
        generation: Decode settings under transformers' names (``num_beams=4``); default: the run's own.

    Raises:
        CheckpointError: The folder is damaged or is no llmtrain model.
        ConfigError: An unknown argument, a value of a wrong type or out of its range, or a plugin that is missing or
            cannot be run; one line for each.
    """

    verb: ClassVar[str] = "predict"  # what is done to texts, for messages

    def __init__(self, folder: str | Path, precision: str = "fp32", device: str = "auto",
                 plugins: str | Path | Sequence[str | Path] = (), task: str | None = None, **generation: Any) -> None:
        self._open(arguments(folder, precision, device, plugins, generation, task), load_published)
        for line in idle_settings(self.generation, writes=not self.published.chooses):
            if (told := line.replace("generation.", "")).partition("=")[0] in generation:
                warn(told)
        if beyond := self.published.model.beyond_positions({"max_new_tokens": self.generation.max_new_tokens}):
            warn(beyond)

    def _open(self, given: Arguments, load: Callable[[Path, PrecisionConfig, Device, str], Published]) -> None:
        for file in given.plugins:
            load_plugin(file)
        self.folder = locate_model(given.folder).resolve()
        stored = read_model_config(self.folder)
        check_plugins(stored, self.folder)
        check_predicts(stored, self.folder)
        kept, task = of_task(Stored(stored["config"], str(self.folder / "llmtrain.json")), given.task, self.folder)
        self.config: TrainConfig = from_dict(kept.content, kept.at, CheckpointError, scoring=True)
        if given.task is not None and given.task not in (task, self.config.task.name):
            raise ConfigError(f"the model at {self.folder} has learnt task={self.config.task.name} alone, not "
                              f"{given.task!r}; leave task out")
        self.check_task(self.config.task.name)
        self.generation = self.config.generation = given.over(self.config.generation)
        self.published = load(self.folder, PrecisionConfig(name=given.precision), given.device, task)
        self.predictor = Predictor(self.published, self.config)
        self._given = replace(given, folder=self.folder, plugins=tuple(file.resolve() for file in given.plugins))

    def check_task(self, name: str) -> None:
        """Raise ConfigError for a model of a task that this class does not serve; this one serves all."""

    def __call__(self, rows: Any) -> Any:
        """What the task gives for one row, or a list for several, in their order: a text each; nothing to read gives
        an empty one.

        With ``num_return_sequences`` above 1 each row of a task whose head writes has a list of them.

        Args:
            rows: A str, or a mapping of the columns that the task reads; or anything that gives such: a list, a
                generator, an array, a column of a table or dataset.

        Raises:
            DataError: Something that is no such row, with its place.
        """
        found = [self._texts(one) for one in self._predict(self._examples(rows), False)]
        return found[0] if isinstance(rows, str | Mapping) else found

    def answers(self, rows: Any) -> Any:
        """The same with all that the task can tell of each (scores, probabilities, places), as
        ``llmtrain predict predict.format=jsonl`` writes it: a dict, or a list of them."""
        examples = self._examples(rows)
        found = [self.predictor.task.answer(one, example)
                 for one, example in zip(self._predict(examples, True), examples, strict=True)]
        return found[0] if isinstance(rows, str | Mapping) else found

    def _texts(self, prediction: Prediction) -> str | list[str]:
        lines = self.predictor.task.lines(prediction)
        return lines[0] if len(lines) == 1 else lines

    def _predict(self, examples: list[Example], in_full: bool) -> list[Prediction]:
        return self.predictor(examples, in_full).predictions

    def _examples(self, rows: Any) -> list[Example]:
        """The rows as the task reads them. Raises DataError with a line for each of the first that it cannot."""
        reader, found, problems = RowReader(self.config.data, self.config.task.name), [], []
        for number, row in enumerate(given_rows(rows, self.verb)):
            made = reader.text(row, f"row {number}") if isinstance(row, str) else reader.row(row, f"row {number}")
            if isinstance(made, BadRow):
                problems.append(made.at(f"row {number}"))
            else:
                found.append(made.example)
        if problems:
            raise DataError(problems[:SHOWN_PROBLEMS] + (
                [f"... and {hidden} more rows like these"] if (hidden := len(problems) - SHOWN_PROBLEMS) > 0 else []))
        return found

    def __getstate__(self) -> dict[str, Any]:
        given = self._given
        return {"folder": str(given.folder), "precision": given.precision.value, "device": given.device.value,
                "plugins": [str(file) for file in given.plugins], "generation": plain(self.generation),
                "task": given.task}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._open(arguments(**state), lambda folder, precision, device, task: _kept(
            folder, precision.name, device, task))


def load(folder: str | Path, precision: str = "fp32", device: str = "auto",
         plugins: str | Path | Sequence[str | Path] = (), task: str | None = None, **generation: Any) -> LoadedModel:
    """A trained model of any task, ready to be called on rows: arguments and errors as of :class:`LoadedModel`."""
    return LoadedModel(folder, precision, device, plugins, task, **generation)
