"""Keys of the gradient probe."""

from __future__ import annotations

from dataclasses import dataclass

from llmtrain.config.keys import WHERE, key


@dataclass(kw_only=True, slots=True)
class ProbeConfig:
    """Keys of the gradient probe."""

    every: int | None = key(None, "steps between probes of each term's gradient on the base; a probe changes nothing",
                            "steps", affects=WHERE, min=1)
