"""Memory that a forward pass leaves for the backward pass, measured in a process of its own.

    python activation_memory.py PRECISION TRAIN_FILE WORK_FOLDER     prints the bytes that the activations take
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path


def resident() -> int:
    """Bytes of this process in memory now."""
    return os.sysconf("SC_PAGE_SIZE") * int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])


def main(precision: str, train: str, work: str) -> None:
    import torch

    from llmtrain.config.load import load_config
    from llmtrain.core import allocator
    from llmtrain.training.accelerator import start_accelerator
    from llmtrain.training.build import build
    from llmtrain.training.resolve import resolve
    from llmtrain.training.run_folder.claim import RunFolder

    torch.set_num_threads(1)
    os.chdir(work)
    config = load_config("train", [
        "head.layers=1", "data=files", f"data.train={train}", "trainer.max_steps=1", "trainer.batch_size=16",
        f"precision={precision}", f"data.cache_dir={work}/cache"])
    folder = RunFolder.claim(config)
    run = build(resolve(config), folder, start_accelerator(config, None))
    run.model.module.train()
    (batch,) = next(iter(run.data.loader.iterate(0))).micro
    assert batch["input_ids"].numel() > 16 * 100, "the batch is too small for its activations to be seen"
    ctypes.CDLL(None).mallopt(allocator.M_MMAP_THRESHOLD, 1 << 20)  # what is freed leaves at once
    with run.precision.autocast():
        run.model.module(batch, 0)  # compiles kernels
        before = resident()
        sums = run.model.module(batch, 0)
    print("kept", resident() - before, "by", len(sums), "terms")
    folder.abandon()
    folder.release()


if __name__ == "__main__":
    main(*sys.argv[1:])
