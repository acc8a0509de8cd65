"""A run that ends names the command that shows it, or writes the report by itself."""

from __future__ import annotations

import json
from pathlib import Path

from labelled import arguments, coloured, place_rows, train


def test_a_run_ends_with_its_report(tmp_path: Path, tiny_base: Path) -> None:
    place_rows(tmp_path, coloured(24), coloured(8, 1))
    done = train(tmp_path, tiny_base, "trainer.report=true", run="a run")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "runs/a run/report.html").read_text(encoding="utf-8")
    assert done.stdout.splitlines()[-1] == ("report: runs/a run/report.html (again: llmtrain report 'runs/a run')")
    results = json.loads((tmp_path / "runs/a run/results.json").read_text(encoding="utf-8"))
    typed = arguments(tiny_base, "trainer.report=true", run="a run")
    assert results["config"]["command"] == typed
    assert "llmtrain train task=classification" in page and "&#39;run.name=a run&#39;" in page
    truncation = results["truncation"]["test"]
    assert truncation["max_source_tokens"] == 32 and 0 <= truncation["sources"] <= 1 and "targets" not in truncation
    held = [json.loads(line) for line in (tmp_path / "runs/a run/metrics.jsonl").read_text().splitlines()]
    (first, last) = (row for row in held if row["split"] == "validation")
    assert first["accuracy.low"] <= first["accuracy"] <= first["accuracy.high"] and last["step"] == 4
    again = train(tmp_path, tiny_base, run="a run")
    assert again.stdout.splitlines()[-1] == "to see its curves and predictions: llmtrain report 'runs/a run'"
    refused = train(tmp_path, tiny_base, "command=[x]", run="b")
    assert refused.returncode == 2 and "command is what train itself notes of how it was started" in refused.stderr
