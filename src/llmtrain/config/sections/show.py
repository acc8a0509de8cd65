"""Keys of ``llmtrain data show``, beside train's own."""

from __future__ import annotations

from dataclasses import dataclass

from llmtrain.config.choices import DataSplit
from llmtrain.config.keys import WHERE, key


@dataclass(kw_only=True, slots=True)
class ShowConfig:
    """What ``llmtrain data show`` takes beside train's own keys."""

    split: DataSplit = key(DataSplit.train, "split whose lengths are drawn and rows are shown", affects=WHERE)
    rows: int = key(3, "rows shown, chosen by a hash of the document", "rows", affects=WHERE, min=1)
    sample: int = key(5000, "rows of each split that lengths are measured on", "rows", affects=WHERE, min=1)
    near: bool = key(True, "look for documents of validation and test in train", affects=WHERE)
