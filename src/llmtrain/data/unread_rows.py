"""Rows that the task's own pass over the documents need not read, since no term takes anything from it.

A document without a target gives l2 nothing, and a base term with a pass of its own has made its copy by then.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from llmtrain.data.batch import IGNORED, L1, MULTIPLE, PARTS, Batch, Context
from llmtrain.data.row_labels import ROW_LABEL
from llmtrain.data.sentence_features import END, LABELS, START

UNREAD = "unread_id"
COLUMNS = ("example_id", "input_ids", "attention_mask", "labels", START, END, LABELS, ROW_LABEL)


@dataclass(frozen=True, slots=True)
class LeaveUnread:
    """Takes rows that no term reads out of the shared pass; which ones they were stays under unread_id (B',).

    It stands behind the transforms of the terms that read in a pass of their own. One row is left in any case, of no
    weight where none has a target: every process must run the model.

    Attributes:
        targets: Rows with a target are read, since a term needs targets; else none is.
    """

    targets: bool

    def __call__(self, batch: Batch, context: Context) -> None:
        length_B = batch["attention_mask"].sum(1)
        read_B = (batch["labels"] != IGNORED).any(1) & self.targets
        if not read_B.any():
            read_B[int(length_B.argmin())] = True
            batch["labels"] = torch.full_like(batch["labels"], IGNORED)
        batch[UNREAD] = batch["example_id"][~read_B]
        for name in COLUMNS:
            if name in batch:
                batch[name] = batch[name][read_B]
        width = -(-int(length_B[read_B].max()) // MULTIPLE) * MULTIPLE
        for name in ("input_ids", "attention_mask"):
            batch[name] = batch[name][:, :width]
        for name in ("input_ids", "attention_mask"):
            batch.pop(L1 + name, None)


def rows_of(batch: Batch) -> list[int]:
    """Every row that a batch was made of, read by the shared pass or not."""
    if PARTS in batch:
        return [part["first"] + row for part in batch[PARTS].values() if not part["dummy"] for row in rows_of(part)]
    read: list[int] = batch["example_id"].tolist()
    return read + batch[UNREAD].tolist() if UNREAD in batch else read
