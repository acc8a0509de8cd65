"""Does it fit: memory, measured on few rows and drawn out to a micro-batch; time; disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from llmtrain.doctor.check_result import Verdict, judged
from llmtrain.doctor.sample_run import SampleRun
from llmtrain.training.batch_size_finder import SHARE, STATES, Measured, available, candidates, expected, peak_of
from llmtrain.training.save import model_bytes

PART = 4  # a micro-batch's rows are measured up to this part of them
LONG = 24 * 3600  # seconds: a run that takes longer is told as a warning
WRITTEN = 2  # a checkpoint that is being written, and the best one, beside trainer.keep_last
QUARTERS = 4  # validations of a run that says nothing of them


def look_at_memory(run: SampleRun) -> Iterator[Verdict]:
    """The peak of a micro-batch of the longest rows, drawn out from smaller ones, and what the optimizer keeps."""
    training = run.training
    room = available(training)
    if room is None:
        return
    rows = -(-training.config.trainer.batch_size // (training.accelerator.num_processes
                                                     * training.config.trainer.accumulate))
    later = STATES * sum(p.numel() * p.element_size() for p in training.model.module.parameters() if p.requires_grad)
    found: list[Measured] = []
    for count in sorted({max(1, rows // (2 * PART)), max(1, rows // PART)}):
        if found and expected(found, count, found[-1].peak) + later > SHARE * room:
            break
        peak = peak_of(training, count)
        if peak is None:
            break
        found.append(Measured(count, peak))
    usable = SHARE * room
    if not found:
        yield judged("memory", f"not even {max(1, rows // (2 * PART))} rows fit into {_size(usable)}",
                     fail="lower data.max_source_tokens, or use a smaller base")
        return
    whole = expected(found, rows, found[0].peak) + later
    fits = [one for one in candidates(training)[::-1]
            if expected(found, -(-training.config.trainer.batch_size // one), found[0].peak) + later <= usable]
    told = (f"about {_size(whole)} for {rows} of the longest rows and the optimizer (measured on "
            f"{found[-1].rows}), {_size(usable)} may be used")
    remedy = (f"set trainer.accumulate={fits[0]}" if fits else
              "lower data.max_source_tokens, or use a smaller base") + ", or trainer.find_batch_size=true"
    yield judged("memory", told, fail=remedy if whole > usable else "", bytes=int(whole), room=int(usable), rows=rows)


def look_at_time(run: SampleRun) -> Iterator[Verdict]:
    """Minutes of training, from the measured step; of predicting, from the rows that were predicted."""
    trainer, steps = run.training.config.trainer, run.steps
    training = trainer.max_minutes * 60 if steps is None and trainer.max_minutes else (steps or 0) * run.step_seconds
    times = QUARTERS if trainer.eval_every is None or steps is None else -(-steps // trainer.eval_every)
    scored = 0.0
    told = []
    for name, splits in run.whole.items():
        seconds = run.row_seconds.get(name)
        if seconds is None:
            continue
        while_training = times * min(trainer.eval_rows, len(splits.validation))
        scored += seconds * (while_training + len(splits.validation) + len(splits.test))
        told.append(f"{seconds:.2g} s a row{f' of {name}' if name else ''}")
    length = f"{steps:,} steps of {run.step_seconds:.2g} s" if steps is not None else "trainer.max_minutes"
    predicted = f", {_time(scored)} predicting ({', '.join(told)})" if told else ""
    yield judged("time", f"about {_time(training)} of training ({length}){predicted}",
                 warn="plan for it: checkpoints are saved and the same command goes on; or lower trainer.max_steps, "
                      "trainer.eval_rows" if training + scored > LONG else "",
                 training_seconds=round(training, 1), predicting_seconds=round(scored, 1))


def look_at_disk(run: SampleRun) -> Iterator[Verdict]:
    """What the checkpoints of the run take, beside what is free where they will lie."""
    training = run.training
    trained = sum(p.numel() * p.element_size() for p in training.model.module.parameters() if p.requires_grad)
    one = model_bytes(training) + (STATES + (training.optimization.average is not None)) * trained
    needed = one * (training.config.trainer.keep_last + WRITTEN)
    place = Path(training.config.run.root).expanduser().absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    yield judged("disk", f"about {_size(needed)} for {training.config.trainer.keep_last + WRITTEN} checkpoints of "
                 f"{_size(one)}, {_size(free)} free at run.root",
                 fail="lower trainer.keep_last, or name another run.root" if needed > free else "",
                 warn="free some space, or name another run.root" if needed > 0.8 * free else "",
                 bytes=int(needed), free=free)


def _size(amount: float) -> str:
    return f"{amount / 2**30:.1f} GiB" if amount >= 2**30 else f"{amount / 2**20:,.0f} MiB"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
