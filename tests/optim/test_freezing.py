"""Gradual unfreezing: what moves from which step on, and what is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from llmtrain.config.sections.model import ModelConfig
from llmtrain.optim.freezing import plan, unfreezing
from running import Runs, copies, take


@pytest.fixture
def make(tiny_base: Path, tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(tiny_base, tmp_path)
    yield runs
    runs.close()


PARTS = ("model.trunk.embeddings.", "model.trunk.encoder.layer.0.", "model.trunk.encoder.layer.1.", "model.head.")


def moving(run: Any, steps: int) -> set[str]:
    """The parts that any of the next steps moves."""
    before = copies(run)
    take(run, steps)
    return {part for part in PARTS for name, value in copies(run).items()
            if name.startswith(part) and not torch.equal(before[name], value)}


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "adafactor"])
def test_layers_join_from_the_top(optimizer: str, make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = make("model.unfreeze_every=2", f"optim={optimizer}", "trainer.max_steps=20", "optim.weight_decay=0.1")
    assert "one more layer from the top is trained every 2 steps, the embeddings from step 6" in capsys.readouterr().out
    embeddings, lower, upper, head = PARTS
    assert moving(run, 2) == {head}
    assert all(p.requires_grad for p in run.model.module.parameters())  # DDP's reducer waits for them
    assert moving(run, 2) == {head, upper}
    assert moving(run, 2) == {head, upper, lower}
    assert moving(run, 1) == {head, upper, lower, embeddings}


def test_frozen_layers_stay_frozen_and_a_bare_base_starts_at_its_top(make: Any) -> None:
    run = make("model.unfreeze_every=1", "model.freeze=1", "trainer.max_steps=20")
    assert moving(run, 4) == {PARTS[2], PARTS[3]}
    trunk = run.model.task_model.trunk
    assert [end for end, _ in unfreezing(trunk, 5, True).until] == [5, 10, 15]
    assert [end for end, _ in unfreezing(trunk, 5, False).until] == [5, 10]


def test_a_run_that_ends_too_early_is_told(make: Any) -> None:
    trunk = make().model.task_model.trunk
    _, lines = plan(ModelConfig(unfreeze_every=4), trunk, [], True, 8)
    assert len(lines) == 2 and "ends at step 8, before 2 of its 3 levels are ever trained" in lines[1]
    assert len(plan(ModelConfig(unfreeze_every=2), trunk, [], True, 8)[1]) == 1


def test_a_warm_up_longer_than_the_run_is_told(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    make("optim=presumm", "schedule.warmup_steps=10000")
    assert "the warm-up of 20000 steps is longer than this run of 8" in capsys.readouterr().out
    make("schedule=noam", "schedule.warmup_steps=3")
    assert "warm-up of" not in capsys.readouterr().out
