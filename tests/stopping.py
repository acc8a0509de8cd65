"""Stopping and killing runs in the middle, in this process, and what must be alike afterwards."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llmtrain.training import trainer


class Killed(BaseException):
    """Ends a run as kill -9 would: nothing catches it."""


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, number: int = signal.SIGTERM) -> None:
    """The next run gets a signal once it has taken so many steps; those after it do not."""
    advance = trainer.advance

    def advancing(run: Any, *rest: Any) -> None:
        advance(run, *rest)
        if run.state.progress.step == step:
            monkeypatch.setattr(trainer, "advance", advance)
            os.kill(os.getpid(), number)

    monkeypatch.setattr(trainer, "advance", advancing)


# of a state's numbers: what took so long, and how long that made the log
CLOCKS = {"seconds", "time", "log_size", "recent"}


def numbers(path: Path) -> Any:
    """A part's JSON without what clocks tell."""
    return json.loads(path.read_text(encoding="utf-8"),
                      object_pairs_hook=lambda pairs: {name: value for name, value in pairs if name not in CLOCKS})


def same(first: Path, second: Path) -> None:
    """Every tensor and every number of the state of two step folders is bitwise the same."""
    states = sorted(path.name for path in (first / "state").glob("*.json"))
    assert len(states) > 3
    assert states == sorted(path.name for path in (second / "state").glob("*.json"))
    for state in states:
        one, two = numbers(first / "state" / state), numbers(second / "state" / state)
        assert one == two, f"{state}: {one} and {two}"
    same_tensors(first, second)


def same_tensors(first: Path, second: Path) -> None:
    """Every tensor of two step folders is bitwise the same."""
    names = sorted(path.relative_to(first) for path in first.rglob("*.safetensors"))
    assert len(names) > 1
    assert names == sorted(path.relative_to(second) for path in second.rglob("*.safetensors"))
    for name in names:
        one, two = load_file(first / name), load_file(second / name)
        assert one.keys() == two.keys(), name
        for key in one:
            assert torch.equal(one[key], two[key]), f"{name}: {key}"
