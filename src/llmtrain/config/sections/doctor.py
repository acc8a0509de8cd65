"""Keys of ``llmtrain doctor``, beside train's own."""

from __future__ import annotations

from dataclasses import dataclass

from llmtrain.config.keys import WHERE, key


@dataclass(kw_only=True, slots=True)
class DoctorConfig:
    """What ``llmtrain doctor`` takes beside train's own keys."""

    seconds: float = key(50.0, "time that the checks share, the processor's where others keep it busy; what there is "
                               "none left for is told as SKIP", "seconds", affects=WHERE, above=0, max=100_000)
    rows: int = key(256, "training rows that are tokenised and tried, chosen by a hash of the document", "rows",
                    affects=WHERE, min=16)
