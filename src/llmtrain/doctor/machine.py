"""What this machine really does in each number format: matrix products of the run's own shapes, then its own step."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from llmtrain.config.choices import OnUnsupported, PrecisionName
from llmtrain.core.errors import NumericsError
from llmtrain.data.batch import Batch
from llmtrain.doctor.check_result import Verdict, judged
from llmtrain.doctor.sample_run import LATE, SampleRun
from llmtrain.models.backbone.families import ffn_width
from llmtrain.nn.linear import linear
from llmtrain.nn.precision import DTYPES, Precision

TOKENS = {"cpu": 512}  # rows of the products' left side: a GPU is timed on more
TURNS = 3  # measurements, taken in turns; the best counts
SLOWER = 1.4  # times fp32's time: a 16-bit format that is asked for is told as a warning
NOTICED = 0.1  # seconds of a step: less is not worth a warning
FASTER = 1.15  # times as fast: another format is recommended
BUSY = 0.7  # of a processor for each thread: less is told
FIRST = 4  # rows of the step that says how long a whole one takes


def look_at_products(run: SampleRun) -> Iterator[Verdict]:
    """Rates of a mix of matrix products: projections, feed-forward, and the output layer over the vocabulary."""
    base, device = run.training.spec.base.config, run.training.accelerator.device
    width, inner, words = base.hidden_size, ffn_width(base), min(base.vocab_size, 8192)
    tokens = TOKENS.get(device.type, 4096)
    shapes = [(width, width)] * 4 + [(inner, width), (width, inner), (words, width)]
    operations = 2.0 * tokens * sum(rows * columns for rows, columns in shapes)
    seconds: dict[str, float] = {}
    clock = time.process_time if _on_cpu(run) else time.perf_counter
    made: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    for name in run.training.precision.speeds.seconds:
        made[name] = [(torch.randn(tokens, columns, device=device).to(DTYPES[name]),
                       torch.randn(rows, columns, device=device).to(DTYPES[name])) for rows, columns in shapes]
    with torch.no_grad():
        for turn in range(TURNS + 1):  # the first sets up kernels
            for name, operands in made.items():
                started = clock()
                for left, right in operands:
                    linear(left, right)
                _finish(device)
                took = max((clock() - started) / _threads(run), 1e-9)
                if turn:
                    seconds[name] = min(seconds.get(name, took), took)
            if run.clock.left < 0 and seconds:
                break
    rates = {name: operations / took / 1e9 for name, took in seconds.items()}
    missing = [name for name in DTYPES if name not in rates]
    told = ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items())
    threads = f"{torch.get_num_threads()} threads" if device.type == "cpu" else torch.cuda.get_device_name(device)
    yield judged("matrix products", f"billion operations a second on {threads}: {told}"
                 + (f"; torch cannot compute {' and '.join(missing)} here" if missing else ""),
                 gflops={name: round(rate, 1) for name, rate in rates.items()})


def look_at_steps(run: SampleRun) -> Iterator[Verdict]:
    """Seconds of the run's own step (forward, backward, update) in each format, the one asked for first.

    Where there is no time for whole steps, two smaller ones tell: an update takes as long for few rows as for many.
    """
    asked, rows = run.training.precision.running, run.training.config.trainer.batch_size
    formats = [asked, *(name for name in run.training.precision.speeds.seconds if name != asked)]
    few = min(FIRST, rows)
    begun = time.perf_counter(), time.process_time()
    _timed(run, asked, few)  # sets up kernels and the optimizer's state
    once = _timed(run, asked, few)
    many = min(rows, max(2 * few, int(few * run.clock.left / ((1 + 2 * len(formats)) * once))))
    seconds: dict[tuple[str, int], float] = {}
    for turn in range(TURNS):
        for name in formats:
            for count in {few, many}:
                known = seconds.get((name, count))
                if run.clock.left > 0 or (known is None and name == asked):
                    took = _timed(run, name, count)
                    seconds[name, count] = took if known is None else min(known, took)
        if run.clock.left <= 0 and turn:
            break
    passed, worked = (now - then for now, then in zip((time.perf_counter(), time.process_time()), begun, strict=True))
    run.begin_again()
    whole = {name: _drawn_out(seconds[name, few], few, seconds[name, many], many, rows) for name in formats
             if (name, few) in seconds and (name, many) in seconds}
    share = min(1.0, worked / passed / _threads(run)) if _on_cpu(run) else 1.0
    run.step_seconds = whole[asked] / share
    yield _told(run, asked, whole, many, share)


def _on_cpu(run: SampleRun) -> bool:
    return run.training.accelerator.device.type == "cpu"


def _threads(run: SampleRun) -> int:
    """Threads that compute at once; a GPU's process needs one of the processor's."""
    return torch.get_num_threads() if _on_cpu(run) else 1


def _drawn_out(low: float, few: int, high: float, many: int, rows: int) -> float:
    """Seconds for all rows, on the line through two measurements."""
    return high if many == few else max(high, high + (high - low) / (many - few) * (rows - many))


def _told(run: SampleRun, asked: str, whole: dict[str, float], count: int, share: float) -> Verdict:
    rows = run.training.config.trainer.batch_size
    told = ", ".join(f"{name} {took:.2g} s" for name, took in whole.items())
    told = f"a step of {rows} rows: {told}" + (f" (drawn out from {count} of them)" if count < rows else "")
    requested, warn = run.training.precision.requested, ""
    if requested != asked:
        told += f"; {requested} is replaced by {asked} here (precision.on_unsupported)"
    fastest = min(whole, key=lambda name: whole[name])
    if fastest != asked and whole[asked] > FASTER * whole[fastest]:
        told += f"; precision={fastest} would be {whole[asked] / whole[fastest]:.1f} times as fast"
    if share < BUSY:
        told += f"; others leave this process {share:.0%} of the processor, so {whole[asked] / share:.2g} s now"
    plain = whole.get("fp32", float("inf"))
    if whole[asked] > SLOWER * plain and whole[asked] - plain > NOTICED:
        warn = f"use precision={fastest}: {asked} takes {whole[asked] / plain:.1f} times the time of fp32 here"
    return judged("a real step", told, warn=warn, rows=rows, measured_rows=count, processor_share=round(share, 2),
                  seconds={name: round(took, 4) for name, took in whole.items()})


def _timed(run: SampleRun, name: str, rows: int) -> float:
    """Seconds of a step of so many rows; on a CPU those that it works, whoever else keeps it busy."""
    batch = run.batch(run.few(rows, 0))
    step = in_format(run, name)
    clock = time.process_time if _on_cpu(run) else time.perf_counter
    started = clock()
    with contextlib.suppress(NumericsError):  # told by who looks for it
        take(run, [batch], step, 0)
    _finish(run.training.accelerator.device)
    return max((clock() - started) / _threads(run), 1e-6)


def take(run: SampleRun, micro: list[Batch], step: Any, update: int) -> Any:
    """One step of the run, as it is when nothing waits any more; ``update`` says at which rate."""
    return step(micro, step.agree(micro, 0.0, 0, False), LATE, update)


def in_format(run: SampleRun, name: str) -> Any:
    """The run's step in another number format."""
    step = run.training.optimization.step
    if name == run.training.precision.running:
        return step
    other = copy.copy(step)
    other.precision = precision_of(run, name)
    return other


def precision_of(run: SampleRun, name: str) -> Precision:
    """A number format on the run's device, without another measurement."""
    now = run.training.precision
    asked = replace(run.training.config.precision, name=PrecisionName(name), on_unsupported=OnUnsupported.run)
    return Precision(asked, now.device, name, now.speeds)


def look_at_range(run: SampleRun) -> Iterator[Verdict]:
    """Whether losses and gradients of the untrained model are finite in the format asked for.

    Where they are not, the checks behind this one go on in a format in which they are.
    """
    precision = run.training.precision
    asked = precision.running
    batch = run.batch(run.few(8, 0))
    bad = _overflow(run, batch, precision)
    if not bad:
        run.usable = True
        scale = f", a loss scale of {precision.scaler.get_scale():g} at most" if asked == "fp16" else ""
        yield judged("number range", f"losses and gradients are finite in {asked}{scale}", precision=asked)
        return
    good = [name for name in ("bf16", "fp32") if name != asked and name in precision.speeds.seconds
            and not _overflow(run, batch, precision_of(run, name))]
    if not good:
        yield judged("number range", f"{bad} in {asked}, and in every other format",
                     fail="look at the base's weights and at the rows: another base (model=), or verify it: llmtrain "
                          f"verify {run.training.spec.base.path}", precision=asked)
        return
    found, run.usable = good[0], True
    remedy = f"use precision={found}"
    if asked == "fp16" and run.training.config.precision.init_scale > 2.0 ** 20:
        remedy = "leave out precision.init_scale (65536 is the default), or " + remedy
    yield judged("number range", f"{bad} in {asked}; in {found} all is finite", fail=remedy, precision=asked)
    other = precision_of(run, found)
    precision.running, precision.dtype, precision.scaler = other.running, other.dtype, other.scaler


HALVINGS = 12  # of fp16's loss scale at the start: so many steps are skipped for nothing


def _overflow(run: SampleRun, batch: Batch, precision: Precision) -> str:
    """What is not finite in a step of the untrained model; nothing where all is. No weight moves."""
    module = run.module
    scale = precision.scaler.get_scale() if precision.scaler.is_enabled() else 1.0
    try:
        for _ in range(HALVINGS):
            counts = module.counts(batch)
            with precision.autocast():
                sums = module(batch, LATE)
            terms = {name: sums[name] / counts[name].clamp_min(1) for name in sums}
            if wrong := [name for name, value in terms.items() if not bool(value.isfinite())]:
                return f"the loss {' and '.join(wrong)} is not finite"
            module.zero_grad(set_to_none=True)
            (torch.stack(list(terms.values())).sum() * scale).backward()
            grads = [p.grad for p in module.parameters() if p.grad is not None]
            if all(bool(grad.isfinite().all()) for grad in grads):
                return ""
            if not precision.scaler.is_enabled():
                return "a gradient is not finite"
            scale /= 2
        return f"gradients overflow in the first {HALVINGS} steps, under loss scales down to {scale:g}"
    finally:
        module.zero_grad(set_to_none=True)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
