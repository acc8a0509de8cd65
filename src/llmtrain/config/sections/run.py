"""Keys of the run folder, the seed and resumes."""

from __future__ import annotations

from dataclasses import dataclass

from llmtrain.config.choices import Resume
from llmtrain.config.keys import CONTENT, WHERE, key


@dataclass(kw_only=True, slots=True)
class RunConfig:
    """Keys of the run folder, the seed and what a restart does."""

    root: str = key("runs", "folder that holds the run folders", affects=WHERE)
    name: str | None = key(None, "run folder name; default: the experiment and a hash of the result-changing keys",
                           affects=WHERE)
    seed: int = key(0, "seed of weights, order, masks and dropout", min=0,
                    max=9_000_000_000_000)  # what every generator that is seeded from it takes
    resume: Resume = key(Resume.auto, "auto: go on when a checkpoint exists; never: refuse; must: refuse without one",
                         affects=WHERE)
    extend_from: str | None = key(None, "run or checkpoint whose whole state this run goes on from", affects=CONTENT)
    license: str | None = key(None, "licence of the published model, as the hub writes it (apache-2.0), for its card",
                              affects=WHERE)
    allow_world_size_change: bool = key(False, "resume with another number of processes (not bitwise any more)",
                                        affects=WHERE)
