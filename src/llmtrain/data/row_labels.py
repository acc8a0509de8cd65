"""A label beside a row's target, for a term of the loss that predicts it while the task learns another thing.

A row without one is a row without one: it gives that term nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmtrain.config.sections.data import DataConfig
from llmtrain.core.errors import DataError, shown
from llmtrain.data.examples import Example
from llmtrain.data.label_names import NoLabel, in_order, label_name
from llmtrain.data.sources.cells import Unusable

if TYPE_CHECKING:
    from llmtrain.data.features import Features

LABEL = "label"  # the term that predicts it
FIELD = "row_label"  # of an example
ROW_LABEL = "row_label"  # of features and batches: 1 and up, 0 for a row without one


class LabelBeside:
    """Puts a row's label among its example's fields, where ``data.label`` names a column that the task leaves alone."""

    def __init__(self, config: DataConfig) -> None:
        read_by_task = config.columns().target_key == "data.label"
        self._column = None if read_by_task else config.label
        self._kind = ""  # of the first label

    def __call__(self, row: Mapping[str, Any], made: Example | str) -> Example | str:
        """The example with its label, or what is wrong with that."""
        if self._column is None or isinstance(made, str) or row.get(self._column) in (None, ""):
            return made
        try:
            value = row[self._column]
            if isinstance(value, Unusable):
                raise NoLabel(value.why)
            name, kind = label_name(value)
            if self._kind and kind != self._kind:
                raise NoLabel(f"holds {kind} here and {self._kind} in the rows before, labels of two types")
        except NoLabel as error:
            return f"column {shown(self._column)} {error}"
        self._kind = kind
        return replace(made, fields=made.fields | {FIELD: name})


def labels_beside(examples: Sequence[Example], least: int, column: str | None) -> tuple[tuple[str, ...], str]:
    """The labels that stand beside at least so many training rows, in a stable order, and a line about them.

    Raises:
        DataError: There are no two of them.
    """
    counts = Counter(example.fields[FIELD] for example in examples if FIELD in example.fields)
    names = tuple(in_order(name for name, count in counts.items() if count >= least))
    rows = sum(counts[name] for name in names)
    if not counts:
        raise DataError(f"no training row has a label in the column {shown(str(column))}; check data.label")
    if len(names) < 2:
        raise DataError(f"{len(names)} of the {len(counts)} labels of the training rows stand in {least} rows or more, "
                        f"and the objective label tells two apart at least; check data.label={column}, or lower "
                        "objective.label.min_rows")
    rare = f"; {len(counts) - len(names)} others in fewer than {least} rows count for nothing" if (
        len(names) < len(counts)) else ""
    return names, f"objective label: {len(names)} labels in {rows} of {len(examples)} training rows{rare}"


def with_labels(features: Features, examples: Sequence[Example], names: Sequence[str]) -> Features:
    """The features with the number of each row's label."""
    if not names:
        return features
    import numpy as np  # which whoever only reads rows needs not

    from llmtrain.data.features import Ragged

    numbers = {name: number for number, name in enumerate(names, start=1)}
    of_example = np.array([numbers.get(example.fields.get(FIELD, ""), 0) for example in examples], dtype=np.int64)
    flat = of_example if features.owner is None else of_example[features.owner]
    return replace(features, extra=features.extra | {ROW_LABEL: Ragged(flat, np.arange(len(flat) + 1))})
