"""Keys of lengths, batches and saving."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmtrain.config.choices import BestMode, Device, OnNonFinite, Tracker
from llmtrain.config.keys import SPEED, WHERE, key
from llmtrain.core.errors import shorten


@dataclass(kw_only=True, slots=True)
class TrainerConfig:
    """Keys of the training loop: its length, its batches, when it validates, logs and saves."""

    max_steps: int | None = key(None, "optimizer steps to train", "steps", min=1)
    max_epochs: float | None = key(None, "passes over the training rows", "epochs", above=0)
    max_minutes: float | None = key(None, "minutes spent in training steps, resumes included", "minutes", above=0)
    batch_size: int = key(32, "rows per optimizer step, over all processes", "rows", min=1)
    accumulate: int = key(1, "micro-batches per process and step (changes no gradient, but which dropout is drawn)",
                          "micro-batches", affects=SPEED, min=1)
    find_batch_size: bool = key(False, "measure at the start how few micro-batches fit into the memory, and set "
                                       "accumulate to that; batch_size stays, and a resume keeps it", affects=SPEED)
    bucket: int = key(16, "batches are cut from length-sorted pools of this many batches (1: no pools)", "batches",
                      min=1)
    device: Device = key(Device.auto, "where to train", affects=SPEED)
    processes: int | None = key(None, "refuse to start unless this many processes run", affects=WHERE, min=1)
    save_every: int | None = key(None, "steps between checkpoints; default: every evaluation", "steps", affects=WHERE,
                                 min=1)
    eval_every: int | None = key(None, "steps between validations; default: at each quarter of the run", "steps", min=1)
    eval_rows: int = key(200, "fixed validation rows scored during training", "rows", min=1)
    eval_num_beams: int | None = key(None, "beams of those scores (1: greedy), where the published model has more; "
                                           "default: generation.num_beams", "beams", late=True, min=1, max=1000)
    log_every: int = key(10, "steps between log lines", "steps", affects=WHERE, min=1)
    keep_last: int = key(2, "checkpoints kept besides the best", affects=WHERE, min=1)
    best_metric: str = key("auto", "what picks the best checkpoint: a metric of the task, loss.total, "
                                   "loss.TERM[.weighted]; auto: the task's first metric, or loss.total where the base "
                                   "alone is trained")
    best_mode: BestMode | None = key(None, "which best_metric is best; default: min of a loss, of a metric what "
                                              "the task says (max of a ROUGE)")
    patience: int | None = key(None, "stop after this many validations without a better best_metric", "validations",
                               min=1)
    on_nonfinite: OnNonFinite = key(OnNonFinite.stop, "non-finite loss: stop (exit 4) or skip the step")
    timeout_seconds: float = key(600.0, "longest wait for another process", "seconds", affects=WHERE,
                                 above=0, max=2_000_000)  # the system's waits take no longer one
    tracker: Any = key(Tracker.none.value, "also log to this tracker, or to each of a list", affects=WHERE)
    report: bool = key(False, "write report.html into the run's folder when the run ends, as `llmtrain report` does",
                       affects=WHERE)
    threads: int | None = key(None, "CPU threads for torch; default: torch's own", "threads", min=1, max=4096)
    deterministic: bool = key(True, "deterministic algorithms; off is faster on CUDA and not bitwise repeatable")

    @property
    def trackers(self) -> list[Tracker]:
        """Those of :attr:`tracker`, each once."""
        return [Tracker(name) for name in dict.fromkeys(self._named) if name != Tracker.none.value]

    def problems_of_tracker(self) -> Iterator[str]:
        """A line for each thing in :attr:`tracker` that is none."""
        known = [one.value for one in Tracker]
        for name in self._named:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
                yield (f"trainer.tracker={shorten(str(name), 60)} is not one of {', '.join(known)}; "
                       f"{f'did you mean {near[0]}?' if near else 'choose one of them, or a list of them'}")

    @property
    def _named(self) -> list[Any]:
        named = self.tracker if isinstance(self.tracker, list) else [self.tracker]
        return [Tracker.none.value if name is None else name.value if isinstance(name, Tracker) else name
                for name in named]
