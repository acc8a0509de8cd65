"""Keys of what ``llmtrain summarize`` reads and writes."""

from __future__ import annotations

from dataclasses import dataclass

from llmtrain.config.choices import OutputFormat
from llmtrain.config.keys import SPEED, WHERE, key


@dataclass(kw_only=True, slots=True)
class SummarizeConfig:
    """Keys of how ``llmtrain summarize`` reads and writes."""

    format: OutputFormat = key(OutputFormat.text, "text: one summary a line; jsonl: with scores and copied words",
                                affects=WHERE)
    cite: bool = key(False, "text: number the document's sentences behind each sentence of the summary that comes from "
                            "them (head=ext_abs, extractive)", affects=WHERE)
    batch: int = key(32, "documents read ahead and decoded together", "documents", affects=SPEED, min=1)
