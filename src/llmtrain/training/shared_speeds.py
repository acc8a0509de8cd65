"""How fast each number format computes here, alike on every process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtrain.nn.precision import Speeds, measure_speeds

if TYPE_CHECKING:
    from accelerate import Accelerator


def shared_speeds(accelerator: Accelerator) -> Speeds:
    """Rank 0's measurement on every process: each by its own clock might settle on another format."""
    found = [measure_speeds(accelerator.device) if accelerator.is_main_process else None]
    if accelerator.num_processes > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(found)
    assert found[0] is not None
    return found[0]
