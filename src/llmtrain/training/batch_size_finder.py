"""``trainer.find_batch_size``: the fewest micro-batches whose memory fits, at the same rows a step.

On the CPU the peak of one pass over the longest rows is measured, from the smallest micro-batch up, and the next size
is tried only where what was measured so far says that it fits: a process that asks for more than its control group
allows is killed, not told. On CUDA the allocator tells, and its refusal is caught.
"""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass

import torch

from llmtrain.core import memory
from llmtrain.core.errors import ConfigError, ResourceError
from llmtrain.core.logging import say
from llmtrain.training.build import Training
from llmtrain.training.state import RandomPart

SHARE = 0.9  # of the room is used: validation, generation and other programs want some too
STATES = 2  # an optimizer holds at most about so many numbers for each trained one
LATE = 1 << 30  # a step by which no term is idle or detached any more


@dataclass(frozen=True, slots=True)
class Measured:
    """The peak of a pass over so many rows, in bytes."""

    rows: int
    peak: int


def settle_accumulate(run: Training) -> None:
    """Measure, and set ``trainer.accumulate`` of the run and of its configuration. Collective.

    Weights, random state and gradients are afterwards what they were. ``trainer.accumulate`` as configured is the
    least that is tried.

    Raises:
        ConfigError: This system does not tell how much memory there is.
        ResourceError: Not even the smallest micro-batch fits.
    """
    random = RandomPart(run.accelerator)
    before = random.save()
    if (room := available(run)) is None:
        raise ConfigError("trainer.find_batch_size=true reads /proc, which this system has not; "
                          "set trainer.accumulate")
    later = STATES * sum(p.numel() * p.element_size() for p in run.model.module.parameters() if p.requires_grad)
    found: list[Measured] = []
    chosen = 0
    for accumulate in candidates(run):
        rows = -(-run.config.trainer.batch_size // (run.accelerator.num_processes * accumulate))
        start = memory.resident()
        if found and expected(found, rows, start) + later > SHARE * room:
            break
        took = peak_of(run, rows)
        if took is None or took + later > SHARE * room:
            break
        found.append(Measured(rows, took))
        chosen = accumulate
    random.load(*before)
    chosen = agreed(run, chosen)
    if not chosen:
        raise ResourceError("not even the smallest micro-batch fits into the memory here; lower data.max_source_tokens "
                            "or trainer.batch_size, or use a smaller base")
    run.data.loader.accumulate = run.config.trainer.accumulate = chosen
    rows = -(-run.config.trainer.batch_size // (run.accelerator.num_processes * chosen))
    say(f"memory: trainer.accumulate={chosen}, {rows} rows a micro-batch; measured peak "
        f"{max((one.peak for one in found if one.rows <= rows), default=0) / 2**20:,.0f} MiB, the optimizer's states "
        f"{later / 2**20:,.0f} MiB more, of {SHARE * room / 2**20:,.0f} MiB that may be used")


def candidates(run: Training) -> list[int]:
    """Numbers of micro-batches a step, the most (so, the smallest ones) first."""
    most = run.config.trainer.batch_size // run.accelerator.num_processes
    found = [run.config.trainer.accumulate]
    while found[-1] * 2 <= most:
        found.append(found[-1] * 2)
    return found[::-1]


def expected(found: list[Measured], rows: int, start: int) -> float:
    """The peak of more rows: on a line through the last two measurements, or through what was there before any."""
    last = found[-1]
    before = found[-2] if len(found) > 1 else Measured(0, min(start, last.peak))
    slope = max(0.0, (last.peak - before.peak) / (last.rows - before.rows))
    return last.peak + slope * (rows - last.rows)


def available(run: Training) -> int | None:
    """Bytes that this process may hold, with its share of what its machine's other processes of the run leave."""
    device = run.accelerator.device
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    room, own = memory.room(), memory.resident()
    return None if room is None else own + (room - own) // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def peak_of(run: Training, rows: int) -> int | None:
    """The peak in bytes of a forward and backward pass over the longest rows; None where they do not fit."""
    device = run.accelerator.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        memory.forget_peak()
    try:
        batch = run.to_device(run.data.loader.longest(rows))
        with run.precision.autocast():
            total = torch.stack(list(run.model.module(batch, LATE).values())).sum()
        total.backward()
        del total, batch
    except (MemoryError, torch.OutOfMemoryError):
        return None
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        return None
    finally:
        run.optimization.optimizer.zero_grad(set_to_none=True)
        gc.collect()
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else memory.peak()


def agreed(run: Training, chosen: int) -> int:
    """The most micro-batches that any process needs; 0 where one of them found none."""
    if run.accelerator.num_processes == 1:
        return chosen
    every = run.accelerator.gather(torch.tensor([chosen], device=run.accelerator.device)).tolist()
    return 0 if 0 in every else int(max(every))
