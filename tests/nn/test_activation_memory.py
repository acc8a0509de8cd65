"""16 bit saves memory: activations of the real base at the end of a forward pass, each format in a fresh process."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from helpers import WORDS, write_jsonl
from torture.bench import Bench

SCRIPT = Path(__file__).resolve().parents[1] / "activation_memory.py"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the resident set from Linux's /proc")
def test_16_bit_activations_take_less_memory_than_fp32s(tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = [{"id": str(row), "document": " ".join(draw.choices(WORDS, k=120)) + ".",
             "summary": " ".join(draw.choices(WORDS, k=12))} for row in range(16)]
    train = write_jsonl(tmp_path / "train.jsonl", rows)
    kept = {}
    with Bench(tmp_path / "bench") as bench:
        for precision in ("fp32", "fp16", "bf16"):
            work = tmp_path / precision
            work.mkdir()
            done = bench.cli(precision, str(train), str(work), script=SCRIPT)
            assert done.code == 0, done.err()
            kept[precision] = int(done.out().rsplit("kept", 1)[1].split()[0])
    assert kept["fp16"] < 0.85 * kept["fp32"], kept
    assert kept["bf16"] < 0.85 * kept["fp32"], kept
