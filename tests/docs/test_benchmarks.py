"""The benchmark scripts load, and the one that chooses recipes really compares runs on validation."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from helpers import environment, pairs, write_jsonl
from warm.libraries import python

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "benchmarks"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(path.stem for path in SCRIPTS.glob("*.py")))
def test_benchmarks_load(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = script(name)
    assert name == "common" or callable(module.main)


def test_paces_are_medians_of_interleaved_rounds_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    recipes, asked = script("recipes"), []

    def pace(root: Path, name: str, overrides: list[str]) -> float:
        asked.append(overrides[0])
        return {"a": 1.0, "b": 2.0}[overrides[0]] + (5 if len(asked) < 3 else 0)  # the first round is disturbed

    monkeypatch.setattr(recipes, "pace", pace)
    assert recipes.measured(tmp_path, {"one": ["a"], "two": ["b"]}, 3) == {"one": 1.0, "two": 2.0}
    assert asked == ["a", "b"] * 3
    assert recipes.measured(tmp_path, {"one": ["a"], "two": ["b"]}, 3) == {"one": 1.0, "two": 2.0}
    assert len(asked) == 6


def test_recipes_are_compared_on_validation_and_leave_the_test_split_alone(tiny_base: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number, (name, rows) in enumerate({"train": 24, "validation": 6, "test": 4}.items()):
        write_jsonl(data / f"{name}.jsonl", pairs(rows, number))
    done = subprocess.run(
        [python(), str(SCRIPTS / "recipes.py"), "--root", str(tmp_path / "runs"), "--data", str(data),
         "--steps", "2", "--variant", "alone", "objective=summary_only",
         "--variant", "both", "objective.lam=2",
         "--", f"model.path={tiny_base}", "head.layers=1", "trainer.batch_size=4", f"data.cache_dir={tmp_path / 'c'}"],
        env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in table] == ["| recipe", "| alone", "| both"]
    results = json.loads((tmp_path / "runs/1-0/results.json").read_text())
    assert results["metrics"]["test"] is None
    assert results["rows"]["test"] == 0 or results["rows"]["test"] is None
    scored = (tmp_path / "runs/1-0/predictions.jsonl").read_text().splitlines()
    assert len(scored) == 6
    assert results["config"]["objective"]["lam"] == 2


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
