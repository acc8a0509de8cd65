"""A user's row as a text, perhaps a second one, and its label or labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmtrain.config.sections.data import RowTexts
from llmtrain.core.errors import shown
from llmtrain.data.examples import Example
from llmtrain.data.label_names import NoLabel, as_text, label_name, label_names, listed_in
from llmtrain.data.sources.cells import Unusable
from llmtrain.data.sources.own_files import text_of

LABELS, PAIR = "labels", "text_pair"  # of an example's fields


class LabelledRows:
    """Reads the rows of one split, whose labels must be of one kind: a 1 beside a "positive" is a mistake somewhere.

    Args:
        text: Column of the text, and so of the others.
        pair: Of the second text, where rows have one.
        label: Of the label.
        separator: Between the labels of a text that lists them.
    """

    def __init__(self, text: str, pair: str | None, label: str, separator: str | None) -> None:
        self._text, self._pair, self._label, self._separator = text, pair, label, separator
        self._kind = ""  # of the first label

    def __call__(self, row: Mapping[str, Any], labelled: bool) -> RowTexts | str:
        plain = dict(row)
        source, problem = text_of(plain, self._text)
        if problem:
            return problem
        fields: dict[str, Any] = {}
        if self._pair is not None:
            fields[PAIR], problem = text_of(plain, self._pair)
            if problem:
                return problem
        value = plain.get(self._label)
        if not labelled and value is None:
            return RowTexts(source, fields=fields)
        if self._label not in plain:
            return text_of(plain, self._label)[1]
        try:
            target = self._labels(value, fields)
        except NoLabel as error:
            return f"column {shown(self._label)} {error}"
        return RowTexts(source, target, (target,), fields)

    def _labels(self, value: Any, fields: dict[str, Any]) -> str:
        """The label's name; or several as one text, and as a list among the fields."""
        if isinstance(value, Unusable):
            raise NoLabel(value.why)
        if listed_in(value, self._separator) is None:
            name, kind = label_name(value)
        else:
            names, kind = label_names(value, self._separator)
            fields[LABELS], name = names, as_text(names)
        if self._kind and kind and kind != self._kind:
            raise NoLabel(f"holds {kind} here and {self._kind} in the rows before, labels of two types")
        self._kind = self._kind or kind
        return name


def labels_of(example: Example) -> list[str]:
    """The labels that stand in a row; none for a row without a label."""
    listed: list[str] | None = example.fields.get(LABELS)
    return [example.target] if listed is None and example.target else list(listed or [])


def pair_of(example: Example) -> str | None:
    """The second text of a row, where rows have one."""
    found: str | None = example.fields.get(PAIR)
    return found
