"""Keys of how ``llmtrain compare`` compares."""

from __future__ import annotations

from dataclasses import dataclass

from llmtrain.config.keys import WHERE, key


@dataclass(kw_only=True, slots=True)
class CompareConfig:
    """Keys of how models are compared and what of it is shown."""

    metrics: list[str] | None = key(None, "metrics to compare; null: all that the task has", affects=WHERE)
    margin: float | None = key(None, "a smaller difference does not matter: that of the equivalence test, in a "
                                     "metric's own units; null: each metric's own (0.5 of 100, ECE 0.005); 0: no test",
                               affects=WHERE, min=0)
    samples: int = key(10_000, "resamples behind intervals and p-values", "samples", affects=WHERE, min=100,
                       max=1_000_000)
    rows: int = key(5, "rows to show of those that changed most, for each side", "rows", affects=WHERE, min=0)
