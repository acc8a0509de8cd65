"""What a task is: the one place that knows how its rows are read, learnt, predicted, scored and shown.

The loop, the step, checkpoints, evaluation and the commands ask a task and name none. A task is registered with its
torch-free facts (``registry.register("task", NAME, OPTIONS, CLASS, ABOUT, ...)``) and gives the rest by its class:

    term      the name of its loss, the task term of the joint loss
    head      the head that a run of it has where none is chosen
    data      a DataConfig with the task's columns and its longest target
    eval      an EvalConfig with the task's own keys of scoring
    metrics   names of its metrics; the first picks the best checkpoint where ``trainer.best_metric`` is auto

and, where they differ from a task whose targets are texts that the head writes:

    objective       the yaml of ``configs/objective`` that a run of it has where none is chosen
    generation      that of ``configs/generation``
    architectures   those of the heads that serve it; default: any but those of other tasks alone (see registry)
    text_targets    False: its targets are no texts, and no term of the loss may read them as such
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from llmtrain import registry
from llmtrain.config.sections.data import DataConfig
from llmtrain.config.sections.eval import EvalConfig
from llmtrain.core.errors import ConfigError
from llmtrain.data.examples import Example, Splits
from llmtrain.data.features import Features
from llmtrain.data.learnt import Learnt
from llmtrain.data.row_encoder import RowEncoder, TextPairs
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.tasks.evidence import Evidence, Picture, texts_of
from llmtrain.tasks.metric import Metric, RowScores

if TYPE_CHECKING:
    from llmtrain.models.backbone.base_facts import Base
    from llmtrain.models.task_model import TaskModel

NO_DETAIL: Mapping[str, Any] = MappingProxyType({})
Share = Callable[[Callable[[], Any]], Any]  # calls what a process does alone, before all exchange what they have

# asks a function for this process's share of some rows and gives the answers for all of them, in their order
Gathered = Callable[[Callable[[Sequence[int]], list[Any]]], list[Any]]


def at_once(work: Callable[[], Any]) -> Any:
    return work()


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model gives for one example: a text, and what predictions.jsonl says besides.

    Attributes:
        made: What the task made the text of, for its own :meth:`Task.answer`; nothing else looks at it.
    """

    text: str
    detail: dict[str, Any] = field(default_factory=dict)
    made: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a trivial method gives, one prediction an example.

    Attributes:
        name: Its key under ``baselines`` in results.json.
        predictions: In the examples' order.
        note: What the signature says of it.
    """

    name: str
    predictions: list[str]
    note: str = ""


class Scorer(ABC):
    """Scores one prediction after the other, under rules settled once for a set of examples."""

    @property
    @abstractmethod
    def signature(self) -> str:
        """Tools, versions and rules that decide a score, in a few words."""

    @abstractmethod
    def score(self, prediction: str, example: Example, detail: Mapping[str, Any] = NO_DETAIL) -> RowScores:
        """What one prediction gives: the value of each metric that is a mean over rows, statistics of the others.

        Args:
            detail: What predictions.jsonl says of it besides; nothing where it is a text alone.
        """

    def extras(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """What else results.json tells of all predictions, under ``extras``."""
        return {}

    def tables(self, scored: Sequence[RowScores], examples: Sequence[Example],
               predictions: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Tables of all predictions for results.json and the report, by name: a mapping of columns for each row.

        Args:
            scored: What :meth:`score` gave.
        """
        return {}


class Task(ABC):
    """One task. See the module's own text for what is registered beside the class."""

    name: ClassVar[str]
    title: ClassVar[str]  # above the report's table: what its columns are
    metrics: ClassVar[tuple[Metric, ...]]
    baseline_labels: ClassVar[dict[str, str]] = {}  # of the report's rows, by a baseline's name
    pipeline_tag: ClassVar[str | None] = None  # the hub's name of what its models do; None: it has none for it
    intended_use: ClassVar[str] = "To do what it was trained for, on rows like those it was trained on."
    limits: ClassVar[str] = "What it gives can be wrong: look at it before you rely on it."
    example: ClassVar[Mapping[str, Any]] = {}  # a row of the card, by the keys of its columns (tokens for data.tokens),
    # where it is more than a text alone
    prediction_word: ClassVar[str] = "text"  # what a prediction is, for messages
    writes: ClassVar[bool] = False  # outputs are texts in words of their own: the report tells which are copied
    encoder: Callable[..., RowEncoder] = TextPairs

    @abstractmethod
    def scorer(self, config: EvalConfig, examples: Sequence[Example]) -> Scorer:
        """What scores predictions for these examples.

        Raises:
            ConfigError: What it needs is not installed.
        """

    def problems_with(self, config: Any, base: Base) -> Iterable[str]:
        """A line for each thing that does not go with the base; told before a weight is read. By default nothing."""
        return ()

    def learn(self, splits: Splits, tokenizer: Tokenizer, config: Any) -> Learnt:
        """What it takes from the training rows before they are tokenised; by default nothing.

        The same on every process and at every start: of the rows and the configuration alone.

        Raises:
            DataError: The rows do not have it.
        """
        return Learnt()

    def notes_of(self, learnt: Learnt, split: str, examples: Sequence[Example]) -> list[str]:
        """Lines about rows of a split beside what was learnt of the training rows."""
        return []

    def try_scoring(self, config: EvalConfig, examples: Sequence[Example]) -> None:
        """Load what scoring needs before the work whose result is scored. Raises ConfigError where it cannot be."""
        self.scorer(config, examples[:1])

    def told_before_scoring(self, config: EvalConfig, examples: Sequence[Example]) -> str | None:
        """What a user may have expected of these rows and will not get, in one line."""
        return None

    def baselines(self, config: EvalConfig, scorer: Scorer, examples: Sequence[Example],
                  validation: Sequence[Example] | None) -> list[Baseline]:
        """Trivial methods to compare with. ``validation``: rows to choose their settings on; None: none are there."""
        return []

    def predictions_without_model(self, config: EvalConfig, examples: Sequence[Example]) -> list[str] | None:
        """What ``llmtrain eval`` scores where neither a checkpoint nor predictions are named; None where the
        configuration asks for nothing."""
        return None

    @abstractmethod
    def predict(self, model: TaskModel, tokenizer: Tokenizer, examples: Sequence[Example], features: Features,
                rows: Sequence[int], config: Any, precision: Any, *, progress: Callable[[int], None],
                share: Share = at_once, evidence: bool = True) -> list[Prediction]:
        """Predictions for some rows of a split, in their order.

        Args:
            tokenizer: That of targets: the base's own, unless :meth:`learn` gave another.
            examples: Of the whole split.
            features: Of the whole split, in the same order.
            rows: Indices of the wanted ones.
            config: Holds ``data``, ``generation``, ``eval`` and ``run``.
            progress: Called with the number of rows just finished.
            share: See :data:`Share`.
            evidence: Also say where each prediction comes from, where the head can.
        """

    def predict_in_full(self, model: TaskModel, tokenizer: Tokenizer, examples: Sequence[Example], features: Features,
                        config: Any, precision: Any, documents: Sequence[str], reads: Tokenizer) -> list[Prediction]:
        """Predictions for examples that nobody scores, with all that :meth:`answer` can tell of each; by default as
        :meth:`predict` makes them.

        Args:
            features: Of these examples.
            documents: Their sources as the model reads them, before ``data.preprocess``: a selector may have shortened
                them.
            reads: The tokenizer of sources, where ``tokenizer``, that of outputs, is another.
        """
        return self.predict(model, tokenizer, examples, features, range(len(examples)), config, precision,
                            progress=lambda rows: None)

    def nothing(self, model: TaskModel, config: Any) -> Prediction:
        """What stands in the place of a prediction where there is nothing to read."""
        return Prediction("")

    def answer(self, prediction: Prediction, example: Example) -> dict[str, Any]:
        """A prediction as ``llmtrain predict`` writes it in jsonl: plain JSON, ``prediction`` first."""
        return {"prediction": prediction.text, **prediction.detail}

    def lines(self, prediction: Prediction) -> list[str]:
        """A prediction as ``llmtrain predict`` writes it as text; several where several were asked for."""
        return [prediction.text]

    def describe_decoding(self, model: TaskModel, tokenizer: Tokenizer, config: Any) -> str:
        """How :meth:`predict` decides, for the signature."""
        return str(model.describe_decoding(config.generation))

    def tune(self, model: TaskModel, tokenizer: Tokenizer, examples: Sequence[Example], features: Features, config: Any,
             precision: Any, gathered: Gathered) -> None:
        """Settle on validation rows what a head leaves open, the same on every process; by default nothing is open.

        Args:
            gathered: See :data:`Gathered`.
        """
        return

    def prediction_of(self, value: Any, data: DataConfig | None) -> str | None:
        """A cell of somebody's file of predictions as one; None where it is none. By default a text as it stands.

        Args:
            data: How the rows are read that it is scored beside; None: as the keys stand by default.
        """
        return value if isinstance(value, str) else None

    def detail_of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What a row of such a file says of its prediction besides, as :meth:`predict` would say it."""
        return {}

    def columns_of(self, example: Example) -> dict[str, Any]:
        """An example's part of its line in predictions.jsonl."""
        return {"source": example.source, "references": list(example.references)}

    def shown(self, row: dict[str, Any]) -> dict[str, str]:
        """A line of predictions.jsonl as the report shows it, texts by label."""
        return {"source": row["source"], "reference": row["references"][0], "prediction": row["prediction"]}

    def evidence(self, row: Mapping[str, Any]) -> Evidence:
        """A line of predictions.jsonl as pages show it, with what is highlighted; by default its texts alone."""
        return Evidence(texts_of(row), tuple(row.get("references") or ()), row["prediction"])

    def pictures(self, rows: Sequence[Mapping[str, Any]]) -> list[Picture]:
        """What the report draws of all lines of a predictions.jsonl; by default nothing."""
        return []

    def describe_scores(self, scores: Mapping[str, float]) -> str:
        """The metrics' values in few words, for the line that tells of a validation."""
        return ", ".join(f"{metric.heading} {scores[metric.name]:.{metric.digits}f}" for metric in self.metrics
                         if metric.name in scores)

    def describe_extras(self, extras: dict[str, float]) -> str:
        """The report's line about :meth:`Scorer.extras`."""
        return ", ".join(f"{name} {value:.2f}" for name, value in extras.items())


def task_named(name: str) -> Task:
    """The task of a registered name.

    Raises:
        ConfigError: It is unknown, its class lacks something, or has other metrics than it is registered with.
    """
    part, make = registry.get("task", name), registry.resolve("task", name)
    which = f"task {name!r}{f' of {part.origin}' if part.origin else ''}"
    try:
        task: Task = make()
    except TypeError as error:  # an abstract method is missing
        raise ConfigError(f"{which} cannot be made ({error}); mend its class {part.target}") from error
    registered, own = tuple(part.requires["metrics"]), tuple(metric.name for metric in task.metrics)
    if registered != own:
        raise ConfigError(f"{which} is registered with the metrics {', '.join(registered)} and its class has "
                          f"{', '.join(own)}; give both the same names in the same order")
    return task
