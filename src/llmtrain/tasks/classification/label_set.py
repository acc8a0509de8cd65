"""The set of labels: learnt from the training rows, kept in the model, compared with other rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from llmtrain.config.sections.objective import trains_task
from llmtrain.core.errors import DataError, shown
from llmtrain.data.examples import Example, Splits
from llmtrain.data.label_names import in_order
from llmtrain.tasks.classification.label_rows import LABELS, labels_of

MOST_TOLD = 8  # labels that a line names
RARE = 5  # rows; a label with fewer is hardly learnt


def learn_labels(splits: Splits, config: Any) -> dict[str, Any]:
    """``labels`` in a stable order, ``counts`` (training rows of each), ``rows`` (training rows that have labels or
    say that they have none), ``multi_label``, and ``native`` where the model is published so.

    Raises:
        DataError: Training rows list labels where each may have one, or none where each may have several, or they do
            not have two labels to tell apart.
    """
    several = bool(config.task.multi_label)
    rows = [example for example in splits.train if example.target]
    if not several:
        listing = [(name, example) for name in ("train", "validation", "test") for example in getattr(splits, name)
                   if LABELS in example.fields]
        if listing:
            split, first = listing[0]
            raise DataError(f"the labels of {len(listing)} rows are lists, the first at {split} row {shown(first.id)}; "
                            "set task.multi_label=true, or give each row one label")
    elif rows and not any(LABELS in example.fields for example in rows):
        longest = max(rows, key=lambda example: len(example.target))
        raise DataError("task.multi_label=true and no training row lists its labels: "
                        f"{shown(longest.target, 40)} at train row {shown(longest.id)} is one; write lists, name what "
                        "stands between the labels of a text, data.label_separator=';', or leave task.multi_label out")
    counts = Counter(label for example in rows for label in labels_of(example))
    names = in_order(counts)
    if trains_task(config.objective) and len(names) < (1 if several else 2):
        what = f"have the label {shown(names[0], 40)} alone" if names else "have no label"
        raise DataError(f"all {len(rows)} training rows {what}, and there is nothing to tell apart; check "
                        f"data.label={config.data.label_column}")
    facts = {"labels": names, "counts": [counts[name] for name in names], "rows": len(rows), "multi_label": several}
    return facts | ({"native": True} if config.task.native else {})


def described(facts: dict[str, Any]) -> str:
    """The labels and their training rows, in one line."""
    pairs = list(zip(facts["labels"], facts["counts"], strict=True))
    rare = sum(count < RARE for _, count in pairs)
    told = ", ".join(f"{shown(name, 24)} {count}" for name, count in pairs[:MOST_TOLD])
    if len(pairs) > MOST_TOLD:
        told = f"{told} ..., {min(facts['counts'])} to {max(facts['counts'])} rows each"
    few = f"; {rare} of them in fewer than {RARE} rows, which are hardly learnt" if rare else ""
    return f"{len(pairs)} labels of {facts['rows']} training rows: {told}{few}"


def unseen(labels: Iterable[str], split: str, examples: Sequence[Example]) -> list[str]:
    """A line where rows have labels that no training row has."""
    known = set(labels)
    if not known:  # the base alone is trained
        return []
    found = [(label, example) for example in examples for label in labels_of(example) if label not in known]
    if not found:
        return []
    label, first = found[0]
    rows = len({id(example) for _, example in found})
    others = len({name for name, _ in found}) - 1
    more = f" and {others} more" if others else ""
    meant = {_plain(name): name for name in known}.get(_plain(label))
    near = "" if meant is None else f"; if it is train's {shown(meant, 40)}, write both alike"
    return [f"warning: {rows} of {len(examples)} rows of {split} have labels that no training row has "
            f"({shown(label, 40)}{more}), the first at row {shown(first.id)}; no prediction of theirs can be "
            f"right{near}"]


def _plain(label: str) -> str:
    """A label without what a change of file format may do to it: capitals (True), a point behind a number (1.0)."""
    return label.casefold().removesuffix(".0")
