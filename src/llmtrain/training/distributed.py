"""Other ranks that a run needs and that do not come, or are lost in its middle.

A collective call fails with the address of a socket, which becomes one line here that names the rank.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from torch.distributed import DistError

from llmtrain.core.errors import LlmtrainError, ResourceError, shorten

if TYPE_CHECKING:
    from accelerate import Accelerator

COLLECTIVE = ("gloo", "nccl", "processgroup", "connection", "timed out", "process group")
LOOK_SECONDS = 3.0  # a rank that fails closes its sockets some time before it has ended

Peer = tuple[str, int]


@contextmanager
def others_told(accelerator: Accelerator) -> Iterator[None]:
    """Tell of a lost rank by its number.

    Raises:
        ResourceError: A rank was lost, and what was not saved with it.
    """
    peers: list[Peer] = []
    try:
        peers = peers_of(accelerator)
        yield
    except LlmtrainError:
        raise
    except RuntimeError as error:  # torch's distributed errors are such
        if accelerator.num_processes > 1 and any(word in str(error).lower() for word in COLLECTIVE):
            told = (lost_rank(peers, accelerator.process_index) if peers else
                    f"another rank of {accelerator.num_processes} does not answer")
            raise ResourceError(f"{told}; this one ends too and saves nothing "
                                "more; the same command goes on from the last checkpoint") from error
        raise


@contextmanager
def others_met() -> Iterator[None]:
    """Tell of ranks that do not find each other at the start: one was refused, or is somewhere else.

    Raises:
        ResourceError: They did not within ``trainer.timeout_seconds``.
    """
    try:
        yield
    except DistError as error:
        reason = shorten(str(error).partition("\n")[0], 150)
        raise ResourceError(f"the {os.environ.get('WORLD_SIZE', '')} ranks did not all meet ({reason}); look at what "
                            "the others say, end those that are left and start all of them again") from error


def peers_of(accelerator: Accelerator) -> list[Peer]:
    """Host and process of every rank; nothing for a run of one process. Collective."""
    if accelerator.num_processes == 1:
        return []
    from accelerate.utils import gather_object

    found: list[Peer] = gather_object([(socket.gethostname(), os.getpid())])
    return found


def lost_rank(peers: list[Peer], own: int) -> str:
    """Which rank is gone or stands still; where none of this machine does, those of the others are all it can be."""
    here = {rank: pid for rank, (host, pid) in enumerate(peers) if rank != own and host == peers[own][0]}
    until = time.monotonic() + LOOK_SECONDS
    while True:
        states = {rank: state_of(pid) for rank, pid in here.items()}
        for rank, state in states.items():
            if state:
                return f"rank {rank} of {len(peers)} (process {here[rank]}) {state}"
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    rest = [rank for rank in range(len(peers)) if rank != own and rank not in here] or list(here)
    return f"rank {' or '.join(map(str, rest))} of {len(peers)} does not answer"


def state_of(pid: int) -> str:
    """What is wrong with a process of this machine, as far as can be seen; empty when nothing is."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return "has ended"
    except OSError:  # another user's, or no /proc here
        return ""
    return {"Z": "has ended", "X": "has ended", "T": "is stopped", "t": "is stopped"}.get(state, "")
