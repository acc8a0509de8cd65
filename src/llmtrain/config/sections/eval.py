"""Keys of scoring, whatever the task; a task adds its own in a class of its own."""

from __future__ import annotations

from dataclasses import dataclass

from llmtrain.config.choices import PrecisionName, SplitName
from llmtrain.config.keys import WHERE, key


@dataclass(kw_only=True, slots=True)
class EvalConfig:
    """Keys of scoring that every task has; the class of a task's section derives from it."""

    split: SplitName = key(SplitName.test, "split to score")
    output: str | None = key(None, "folder for results.json and predictions.jsonl; default: inside the run",
                             affects=WHERE)
    prediction: str = key("prediction", "column of predictions=FILE that holds them", late=True)
    bootstrap_samples: int = key(1000, "resamples behind the 95 % intervals", "samples", min=0, max=1_000_000)
    baselines: bool = key(True, "also score the task's trivial baselines")
    precisions: list[PrecisionName] | None = key(
        None, "decode the checkpoint in each of these and compare with the first: [fp32, bf16, fp16]", late=True)
