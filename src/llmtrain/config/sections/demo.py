"""Keys of what ``llmtrain demo`` serves, and of the limits it keeps."""

from __future__ import annotations

from dataclasses import dataclass

from llmtrain.config.keys import SPEED, WHERE, key


@dataclass(kw_only=True, slots=True)
class DemoConfig:
    """Keys of the server of ``llmtrain demo``: where it listens, and how much it takes on at once."""

    port: int = key(8000, "port of this machine that the page is served at (0: one that is free)", affects=WHERE, min=0,
                    max=65535)
    examples: int = key(20, "test rows of the run that are offered as examples", "rows", affects=WHERE, min=0, max=1000)
    batch: int = key(16, "rows decoded together (1: each request by itself)", "rows", affects=SPEED, min=1, max=1000)
    wait_ms: float = key(5.0, "a request waits so long for others to be decoded with", "milliseconds", affects=SPEED,
                         min=0, max=1000)
    queue: int = key(64, "rows that may wait; more are refused with 429", "rows", affects=WHERE, min=1, max=100000)
    timeout_seconds: float = key(60.0, "a request that took longer is given up with 504", "seconds", affects=WHERE,
                                 above=0, max=3600)
    max_characters: int = key(100_000, "longest request, all its texts together; a longer one is refused with 413",
                              "characters", affects=WHERE, min=1, max=10_000_000)
    max_beams: int = key(16, "most beams and outputs that a request may ask for", "beams", affects=WHERE, min=1,
                         max=1000)
    max_new_tokens: int = key(512, "longest output that a request may ask for", "tokens", affects=WHERE, min=1)
