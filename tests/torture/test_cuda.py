"""Whole runs on CUDA: stopped and gone on with, out of the device's memory, fitted to it, and proved to repeat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import run_cli
from torture.bench import Bench
from torture.observe import alike, finished, steps

pytestmark = pytest.mark.gpu

PRECISIONS = ("fp32", "bf16", "fp16")
LITTLE = 192 << 20  # bytes of the device: the whole batch of LARGE does not fit, an eighth of it does
LARGE = ("trainer.device=cuda", "data.max_source_tokens=128", "trainer.batch_size=384", "objective=summary_only",
         "trainer.best_metric=loss.summary", "trainer.max_steps=4")

RESTLESS = """
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from llmtrain.config.keys import key
from llmtrain.objectives.base import Objective
from llmtrain.registry import register


@dataclass(kw_only=True, slots=True)
class RestlessConfig:
    points: int = key(128, "points a side")


class Restless(Objective):
    name = "restless"

    def count(self, batch):
        return batch["attention_mask"].sum()

    def forward(self, model, states, batch, step):
        rows = states.hidden_BSD.shape[0]
        places = torch.rand(rows, 128, 128, 2, generator=torch.Generator().manual_seed(step)).to(batch["labels"].device)
        read = F.grid_sample(states.hidden_BSD.float().unsqueeze(1), places * 0.01, align_corners=False)
        return (read * (places[..., 0].unsqueeze(1) - 0.2)).square().mean() * self.count(batch)


register("objective", "restless", RestlessConfig, Restless, "reads the states at places that lie close together")
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("bench")) as made:
        yield made


@pytest.fixture(scope="module")
def long_rows(bench: Bench) -> str:
    path = bench.folder / "long.jsonl"
    path.write_text("".join(json.dumps({"document": f"red systems number {i} " * 60, "summary": f"red {i}"}) + "\n"
                            for i in range(384)))
    return f"data.train={path}"


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("head", ["transformer", "gru", "ext_abs"])
def test_a_stopped_run_goes_on_bitwise(bench: Bench, precision: str, head: str) -> None:
    name = f"{head}-{precision}"
    args = (f"precision={precision}", f"head={head}", "trainer.device=cuda", "trainer.accumulate=2",
            "optim.ema_decay=0.9", "precision.init_scale=1024", "objective.base=mlm")
    stopped_is_straight(bench, name, *args)


@pytest.mark.parametrize("weighting", ["gradnorm", "pcgrad", "famo"])
def test_weightings_with_gradients_of_their_own_go_on_bitwise(bench: Bench, weighting: str) -> None:
    stopped_is_straight(bench, weighting, "precision=bf16", "trainer.device=cuda", "objective.base=mlm",
                        f"objective.weighting={weighting}", "trainer.best_metric=loss.summary")


def stopped_is_straight(bench: Bench, name: str, *args: str) -> None:
    """A run stopped after 3 steps and gone on with ends as one that was not."""
    finished(bench, *bench.train_args(f"straight-{name}", *args))
    stopped = bench.cli(*bench.train_args(f"stopped-{name}", *args), hook=("torture.hooks:signal_at_step", [3]))
    assert stopped.code == 143, stopped.err()
    finished(bench, *bench.train_args(f"stopped-{name}", *args))
    alike(bench.run_folder(f"straight-{name}"), bench.run_folder(f"stopped-{name}"), 6)


def test_the_devices_memory_ends_a_run_with_5_and_what_to_lower(bench: Bench, long_rows: str) -> None:
    run = bench.cli(*bench.train_args("full", *LARGE, long_rows), hook=("torture.hooks:limit_device_memory", [LITTLE]))
    assert run.code == 5, run.err()
    line = run.err().splitlines()[-1]
    assert "out of memory" in line and len(line) < 400
    for key in ("trainer.batch_size", "data.max_source_tokens", "trainer.accumulate"):
        assert key in line
    assert steps(bench.run_folder("full")) == []


def test_the_largest_micro_batch_that_the_device_takes_is_found_and_kept(bench: Bench, long_rows: str) -> None:
    args = (*LARGE, long_rows, "trainer.find_batch_size=true")
    free = finished(bench, *bench.train_args("free", *args))
    assert "trainer.accumulate=1, 384 rows" in free.out()
    first = bench.cli(*bench.train_args("tight", *args), hook=("torture.hooks:limit_device_memory", [LITTLE, 2]))
    assert first.code == 143, first.err()
    found = int(first.out().split("trainer.accumulate=")[1].split(",")[0])
    assert found > 1
    second = finished(bench, *bench.train_args("tight", *args))  # there is room now, and what was found stays
    assert "rows a micro-batch" not in second.out()
    results = json.loads((bench.run_folder("tight") / "results.json").read_text())
    assert results["config"]["trainer"]["accumulate"] == found
    finished(bench, *bench.train_args("asked", *LARGE, long_rows, f"trainer.accumulate={found}"))
    alike(bench.run_folder("asked"), bench.run_folder("tight"), 4)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_verify_resume_proves_it_on_cuda(bench: Bench, precision: str, tmp_path: Path) -> None:
    _, *args = bench.train_args("proved", f"precision={precision}", "trainer.device=cuda")
    done = run_cli("verify-resume", *args, "--steps", "4", "--stop=2", cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "alike bit by bit before each of 4 steps and at the end" in done.stdout


def test_verify_resume_names_what_the_device_does_not_repeat(bench: Bench, tmp_path: Path) -> None:
    """A head of one's own that asks for an operation torch knows to differ from run to run on CUDA."""
    plugin = tmp_path / "restless.py"
    plugin.write_text(RESTLESS)
    _, *args = bench.train_args("restless", "trainer.device=cuda", "trainer.deterministic=false",
                                "objective.base=restless", "trainer.batch_size=48")
    done = run_cli("verify-resume", "--plugin", str(plugin), *args, "--steps", "6", "--stop=3", cwd=tmp_path,
                   timeout=300)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "two straight runs differ too; torch names what is not deterministic" in done.stderr
    assert "does not have a deterministic implementation" in done.stderr
