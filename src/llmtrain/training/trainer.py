"""The training loop, in one fixed order: exchange, step, log, evaluate, save, stop."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, NoReturn

import torch

from llmtrain.core.allocator import FreedMemory
from llmtrain.core.errors import Stopped
from llmtrain.core.logging import Progress, say, warn
from llmtrain.core.signals import StopInterrupt, StopSignals
from llmtrain.data.batch import Batch
from llmtrain.data.workers import losses_told
from llmtrain.training.build import Training
from llmtrain.training.diagnostics.gradient_probe import probe
from llmtrain.training.save import check_finite, note_best, note_validated, save
from llmtrain.training.step import Agreement, StepResult
from llmtrain.training.validate import describe, validate

Observer = Callable[[Training, list[Batch]], int]


def train(run: Training, observe: Observer | None = None) -> None:
    """Train to the end of the run, from wherever it stands.

    Args:
        observe: Called before each step with its micro-batches; a signal's number asks to stop.

    Raises:
        Stopped: A signal asked to stop; everything is saved.
        NumericsError: A loss or gradient is not finite and ``trainer.on_nonfinite`` says stop.
        ResourceError: A data worker was lost.
    """
    run.model.module.train()
    with StopSignals() as signals, Progress(run.state.progress.total, run.state.progress.step) as bar:
        take_steps(run, signals, bar, observe)
    if number := run.optimization.step.agree_stop(signals.requested or 0):  # came too late for a step to see it
        raise Stopped(f"stopped after the last step, which is saved in {run.folder.path}; the same command scores it",
                      number)


def take_steps(run: Training, signals: StopSignals, bar: Progress, observe: Observer | None) -> None:
    """Step by step to the end of the run."""
    progress = run.state.progress
    if progress.owed is not None:
        before = [buffer.clone() for buffer in run.model.task_model.buffers()]
        if evaluate(run, signals):  # where it chose a threshold, the step that is saved has another
            save(run, again=not all(map(torch.equal, before, run.model.task_model.buffers())))
    if ended(run):
        return
    freed = FreedMemory()
    with losses_told(lambda: progress.step), closing(run.data.loader.iterate(progress.step)) as batches:
        for batch in batches:
            started = time.perf_counter()
            micro = [run.to_device(part) for part in batch.micro]
            asked = signals.requested or (observe(run, micro) if observe else 0)
            agreed = run.optimization.step.agree(micro, progress.seconds, asked, signals.take_save_request())
            if agreed.stop_signal:
                stop(run, agreed.stop_signal)
            if (line := run.optimization.limit.settle(progress, agreed.seconds)) is not None:
                say(line)
            started += due_probe(run) and probe_step(run, micro, agreed, batch.epoch)  # its time is no training time
            result = run.optimization.step(micro, agreed, progress.step, progress.updates)
            freed.after_step()
            advance(run, agreed, result, time.perf_counter() - started)
            bar.step(progress.step, progress.total)
            if run.precision.weights is None and not result.skipped:  # before the first update there is no state
                run.precision.observe(run.model.module.parameters(), run.optimization.optimizer)
                say(run.precision.describe_observed())
            if progress.step % run.config.trainer.log_every == 0 or finished(run):
                bar.line(log_window(run, result, batch.epoch))
            if due_evaluation(run, agreed.seconds):
                progress.owed = batch.epoch
            evaluated = progress.owed is not None and evaluate(run, signals)
            if evaluated or agreed.save_signal or due_save(run) or finished(run):
                save(run)
            if ended(run):
                break


def paused_after(steps: int) -> Observer:
    """What asks a run to stop once so many steps are done; it goes on from there as after any stop."""
    return lambda run, _micro: signal.SIGTERM if run.state.progress.step >= steps else 0


def ended(run: Training) -> bool:
    """Whether there is nothing left but scoring; told by saved state alone, so a run killed while scoring knows it."""
    return run.state.progress.owed is None and (finished(run) or out_of_patience(run))


def finished(run: Training) -> bool:
    progress = run.state.progress
    return progress.total is not None and progress.step >= progress.total


def out_of_patience(run: Training) -> bool:
    patience = run.config.trainer.patience
    return patience is not None and run.state.progress.evaluations_without_gain >= patience


def stop(run: Training, signal_number: int) -> NoReturn:
    """Save and leave. Before the first step there is nothing to save."""
    if run.state.progress.step == 0:
        raise Stopped("stopped before the first step; nothing to save", signal_number)
    save(run)
    raise Stopped(f"stopped and saved at step {run.state.progress.step} in {run.folder.path}; the same command goes on",
                  signal_number)


def advance(run: Training, agreed: Agreement, result: StepResult, seconds: float) -> None:
    """Book one step: counters, and the window that the next log line averages."""
    progress = run.state.progress
    progress.step += 1
    progress.skipped += result.skipped
    progress.seconds += seconds
    progress.tokens += agreed.tokens
    window = progress.window
    values = {"steps": 1.0, "tokens": float(agreed.tokens), "time": seconds}
    if not result.skipped:
        values |= {"updates": 1.0, "total": result.total, "norm": result.grad_norm}
        values |= {f"loss.{name}": value for name, value in result.losses.items()}
        values |= {f"updates.{name}": 1.0 for name in result.losses}
    for name, value in values.items():
        window[name] = window.get(name, 0.0) + value
    if result.reason:
        warn(f"step {progress.step} skipped: {result.reason}")


def log_window(run: Training, result: StepResult, epoch: int) -> str:
    """Write the window's means to metrics.jsonl, start a new window, return the line for the terminal."""
    progress, window = run.state.progress, run.state.progress.window
    updates = max(1.0, window.get("updates", 0.0))
    # a term that one stage of a run leaves out has fewer updates behind it
    losses = {name: window[f"loss.{name}"] / window.get(f"updates.{name}", updates) for name in run.model.module.terms
              if f"loss.{name}" in window}
    row: dict[str, Any] = {"step": progress.step, "epoch": epoch, "split": "train"}
    if losses:
        row["loss.total"] = window["total"] / updates
        row["grad_norm"] = window["norm"] / updates
    for name, value in losses.items():
        row[f"loss.{name}"] = value
        if name in result.weights:
            row[f"loss.{name}.weighted"] = result.weights[name] * value
            if run.model.weighting.moves:
                row[f"weight.{name}"] = result.weights[name]
    row |= {f"lr.{group}": rate for group, rate in result.rates.items()}
    row |= {"scaler.scale": run.precision.scaler.get_scale(), "scaler.skipped": progress.skipped,
            "tokens": progress.tokens}
    pace = window["tokens"] / max(window["time"], 1e-9)
    row |= {"time.step": window["time"] / window["steps"], "time.tokens_per_second": pace}
    write_row(run, row)
    progress.window = {}
    shown = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
    return f"step {progress.step}/{progress.total or '?'}  {shown}  {pace:,.0f} tokens/s"


def due_evaluation(run: Training, seconds: float) -> bool:
    """Every ``trainer.eval_every`` steps, or by default at each quarter of the run; always at its end."""
    progress, every = run.state.progress, run.config.trainer.eval_every
    if finished(run):
        return True
    if every is not None:
        return progress.step % every == 0
    if run.optimization.limit.seconds is None:
        return progress.step in quarters(progress.total or 4)
    quarter, progress.quarter = progress.quarter, run.optimization.limit.quarter(seconds)
    return progress.quarter > quarter


def quarters(total: int) -> set[int]:
    """The steps that end the four quarters of a run, halves rounded up."""
    return {(2 * quarter * total + 4) // 8 for quarter in (1, 2, 3, 4)}


def due_probe(run: Training) -> bool:
    every = run.config.probe.every
    return every is not None and run.state.progress.step % every == 0


def probe_step(run: Training, micro: list[Batch], agreed: Agreement, epoch: int) -> float:
    """Look at the terms' gradients of the step that comes; returns the seconds it took. Collective."""
    started = time.perf_counter()
    found = probe(run.optimization.step.work(micro, agreed, run.state.progress.step), run.model.weighting.lams)
    if found is not None:
        say(found.line)
        write_row(run, {"step": run.state.progress.step, "epoch": epoch, "split": "probe", **found.values})
    return time.perf_counter() - started


def due_save(run: Training) -> bool:
    every = run.config.trainer.save_every
    return every is not None and run.state.progress.step % every == 0


def evaluate(run: Training, signals: StopSignals) -> bool:
    """The validation that is owed: validate, log, and remember the best; returns True.

    A stop leaves it and saves the step with the validation still owed; the next start begins with it. Of several
    processes one that is stopped alone waits for the others to have done their shares.

    Raises:
        Stopped: A signal asked to stop.
        NumericsError: A weight is not finite.
    """
    check_finite(run, {})  # nothing could be said of such weights, and drawing from them fails
    started, epoch = time.perf_counter(), run.state.progress.owed
    try:
        scores = validate(run, signals)
    except StopInterrupt:
        stop(run, run.optimization.step.agree_stop(signals.requested or 0))
    run.state.progress.owed = None
    best = note_best(run, scores)
    note_validated(run)
    row = {"step": run.state.progress.step, "epoch": epoch, "split": "validation", **scores}
    write_row(run, row | {"time.evaluation": time.perf_counter() - started})
    losses = "  ".join(f"{name} {scores[f'loss.{name}']:.3f}" for name in run.model.module.terms
                       if f"loss.{name}" in scores)
    scored = f"  {describe(run.spec, scores)}" if run.spec.terms.trains_task else ""
    say(f"validation at step {run.state.progress.step}: {losses}{scored}{'  (best so far)' if best else ''}")
    if out_of_patience(run):
        say(f"stopping early: {run.state.progress.evaluations_without_gain} validations without a better "
            f"{run.config.trainer.best_metric}")
    return True


def write_row(run: Training, row: dict[str, Any]) -> None:
    """One line of metrics.jsonl, and of the trackers. Values that are not finite are left out: JSON has none."""
    row = {key: value for key, value in row.items() if not isinstance(value, float) or abs(value) < float("inf")}
    run.state.metrics.write(row)
    run.trackers.log(row)
