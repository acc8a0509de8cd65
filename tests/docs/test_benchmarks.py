"""The benchmark scripts load, and the one that chooses recipes really compares runs on validation."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import environment, pairs, write_jsonl

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "benchmarks"


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_load(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert path.stem == "common" or callable(module.main)


def test_recipes_are_compared_on_validation_and_leave_the_test_split_alone(tiny_base: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number, (name, rows) in enumerate({"train": 24, "validation": 6, "test": 4}.items()):
        write_jsonl(data / f"{name}.jsonl", pairs(rows, number))
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "recipes.py"), "--root", str(tmp_path / "runs"), "--data", str(data),
         "--minutes", "0.005", "--rounds", "1", "--variant", "alone", "objective=summary_only",
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
