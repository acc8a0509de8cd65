"""Keys of what ``llmtrain predict`` reads and writes."""

from __future__ import annotations

from dataclasses import dataclass

from llmtrain.config.choices import OutputFormat
from llmtrain.config.keys import SPEED, WHERE, key


@dataclass(kw_only=True, slots=True)
class PredictConfig:
    """Keys of how ``llmtrain predict`` reads and writes."""

    format: OutputFormat = key(OutputFormat.text, "text: one prediction a line; jsonl: an object a row, with all that "
                                                  "the task can tell of it (score, probabilities, places)",
                                affects=WHERE)
    batch: int = key(32, "rows read ahead and predicted together", "rows", affects=SPEED, min=1)
