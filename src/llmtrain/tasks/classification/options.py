"""Classification's own keys and its registration (no torch here)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmtrain.config.choices import LongMode
from llmtrain.config.keys import key
from llmtrain.config.sections.data import DataConfig, RowColumns
from llmtrain.config.sections.eval import EvalConfig
from llmtrain.registry import register

ONE_LABEL, SEVERAL_LABELS = ("mcc", "ece"), ("micro_f1",)  # scores of one label a row, of several
EMBEDDED = "llmtrain.tasks.classification.docstring_libraries:read_libraries"


@dataclass(kw_only=True, slots=True)
class ClassificationConfig:
    """Keys of the section ``task``."""

    name: str = key("classification", "registered name of the task")
    multi_label: bool = key(False, "a row may have several labels, or none: lists in data.label")
    threshold: float | None = key(None, "multi_label: a label of this probability or more is given; default: what "
                                        "has the highest F1 on the validation rows", "probability", min=0, max=1)
    native: bool = key(False, "publish a plain model of the base's own kind (BertForSequenceClassification ...), which "
                              "loads without llmtrain; the head must be that class's")

    def problems_in(self, config: Any) -> Iterator[str]:
        """One line for each thing that does not go with the rest of the configuration."""
        if self.threshold is not None and not self.multi_label:
            yield (f"task.threshold={self.threshold:g} is of task.multi_label=true: of one label a row the likeliest "
                   "is given; leave it out")
        lacking = ONE_LABEL if self.multi_label else SEVERAL_LABELS
        if (name := getattr(config.trainer, "best_metric", None)) in lacking:
            scored = "one label" if self.multi_label else "several labels"
            yield (f"trainer.best_metric={name} is a score of {scored} a row and task.multi_label is "
                   f"{str(self.multi_label).lower()}; use accuracy or macro_f1")
        if not self.native:
            return
        if config.data.long in (LongMode.sliding, LongMode.interpolate):
            yield (f"task.native=true publishes a model that reads a text in one piece at the base's own positions and "
                   f"data.long is {config.data.long.value}; use data.long=truncate or head_tail")
        if self.multi_label and self.threshold is None:
            yield ("task.native=true publishes a model that has no place for a threshold of its own; set "
                   "task.threshold=0.5")


@dataclass(kw_only=True, slots=True)
class ClassificationData(DataConfig):
    """Keys of ``data``: the columns of a text and of a second one beside it."""

    text: str = key("text", "column that holds the text")
    text_pair: str | None = key(None, "column of a second text, read with the first as a pair")

    @property
    def label_column(self) -> str:
        """The column of ``data.label``."""
        return self.label or "label"

    def columns(self) -> RowColumns:
        from llmtrain.tasks.classification.label_rows import LabelledRows

        pair = {} if self.text_pair is None else {"data.text_pair": self.text_pair}
        read = LabelledRows(self.text, self.text_pair, self.label_column, self.label_separator)
        return RowColumns(self.text, self.label_column, None, "data.text", "data.label", targets="labels", others=pair,
                          read=read, embedded=None if self.text_pair else EMBEDDED)

    def problems(self) -> Iterator[str]:
        """One line for each key that is wrong by itself or beside another."""
        if self.label_separator == "":
            yield "data.label_separator is empty and cuts nothing; give a character, or leave it out"
        columns = [name for name in (self.text, self.text_pair, self.label_column) if name is not None]
        if twice := sorted({name for name in columns if columns.count(name) > 1}):
            yield (f"the column {twice[0]} is named by two of data.text, data.text_pair and data.label; name one for "
                   "each")
        if self.text_pair is not None and self.long is not LongMode.truncate:
            yield (f"data.text_pair is read with data.text in one piece, the longer of both cut, and data.long is "
                   f"{self.long.value}; use data.long=truncate")
        if self.text_pair is not None and self.name == "docstrings":
            yield "data.text_pair names a second text and data=docstrings has one; use data=files or data=hub"


register("task", "classification", ClassificationConfig, "llmtrain.tasks.classification.task:Classification",
         "a text's label, or labels; scored by accuracy, F1, MCC and calibration", term="label", head="classifier",
         data=ClassificationData, eval=EvalConfig, architectures=("sequence_classification",), text_targets=False,
         metrics=("accuracy", "macro_f1", "micro_f1", "mcc", "ece"))
