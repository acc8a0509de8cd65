"""The benchmark scripts load, and what of them can be tried without a long run does what it says."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "benchmarks"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(path.stem for path in SCRIPTS.glob("*.py")))
def test_benchmarks_load(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = script(name)
    assert name == "common" or callable(module.main)


def test_ways_of_waiting_are_interleaved_and_their_weights_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                     ) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    busy_core, asked = script("busy_core"), []

    def pace(root: Path, name: str, overrides: list[str]) -> float:
        own = "GOMP_SPINCOUNT" in os.environ
        assert "OMP_WAIT_POLICY" not in os.environ
        asked.append((own, name.split("-")[1]))
        folder = root / name / "checkpoints/step-1/model"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"same")
        return 2.0 if own else 1.0

    monkeypatch.setattr(busy_core, "pace", pace)
    found, different = busy_core.measured(tmp_path, 2, [], min(os.sched_getaffinity(0)))
    assert asked == [(True, "idle"), (False, "idle"), (True, "busy"), (False, "busy")] * 2
    assert len(different) == 1 and sorted(found.values()) == [1.0, 1.0, 2.0, 2.0]
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
