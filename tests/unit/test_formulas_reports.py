"""What is told and written of scores, against a count by hand."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from llmtrain.config.schema import EvalConfig
from llmtrain.data.examples import Example
from llmtrain.evaluation.evaluate import score_split
from llmtrain.evaluation.report import build_results, print_report, stored_rows, write_outputs


def example(document: str, *references: str) -> Example:
    return Example("0", document, references[0], references)


def scored(prediction: str, reference: str, samples: int = 5) -> Any:
    return score_split([example("a b c d e f", reference)], [prediction], EvalConfig(bootstrap_samples=samples),
                       decoding=prediction)


def test_results_tell_the_test_rows_facts_or_else_validations() -> None:
    one, two = scored("a b", "a b c"), scored("c", "c")
    for validation, test, main in ((one, two, two), (one, None, one), (None, two, two)):
        made = build_results(validation=validation, test=test, whole={"test": 9}, steps=4)
        assert made["schema_version"] == 1
        assert made["metrics"]["test"] == (None if test is None else {
            name: {"value": value.value, "low": value.low, "high": value.high} for name, value in test.metrics.items()})
        assert made["rows"] == {"validation": int(validation is not None), "test": int(test is not None),
                                "whole": {"test": 9}}
        assert made["baselines"]["oracle"]["rouge1"]["value"] == main.baselines["oracle"]["rouge1"].value
        assert made["extras"] == main.extras and made["signature"] == main.signature
        assert made["precision"] == {"requested": None, "effective": None}
    none = build_results(validation=None, test=None, precision={"requested": "fp16", "effective": "float16"})
    assert (none["baselines"], none["extras"], none["signature"]) == ({}, {}, None)
    assert none["precision"] == {"requested": "fp16", "effective": "float16"}


def test_outputs_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [{"id": "1", "prediction": "Größe\nüber"}, {"id": "2", "prediction": ""}]
    write_outputs(tmp_path / "new" / "run", {"steps": 1}, rows)
    assert stored_rows(tmp_path / "new" / "run" / "predictions.jsonl") == rows
    assert (tmp_path / "new" / "run" / "results.json").is_file()
    assert stored_rows(tmp_path / "none.jsonl") == []


def report(results: dict[str, Any], rows: list[dict[str, Any]] | None = None) -> str:
    from rich.console import Console

    console = Console(width=400, record=True, file=io.StringIO())
    print_report(console, results, rows or [])
    return console.export_text()


def test_the_report_tells_what_was_measured() -> None:
    results = build_results(validation=None, test=scored("a b", "a b c"), precision={
        "requested": "fp16", "effective": "float16"}, steps=40, skipped_steps=2, seconds=7.6, tokens_per_second=1234.5,
        peak_memory_bytes=3 * 2 ** 20)
    results["losses"] = {"test": {"loss.mlm": 2.0, "loss.select": 1.5, "loss.total": 9.0, "loss.mlm.other": 4.0,
                                  "loss.clm": 60.0}}
    shown = report(results)
    assert "training: 40 steps, 2 skipped, 8 s, 1,234 tokens/s, peak memory 3 MiB" in shown
    assert "precision: fp16 requested, float16 effective" in shown and "weights are kept" not in shown
    assert "test loss: mlm 2.000 (perplexity 7.4), select 1.500, clm 60.000 (perplexity 5,184," in shown
    assert "loss.total" not in shown and "total 9" not in shown and "4.000" not in shown
    assert "lead baseline" in shown and "extractive oracle" in shown and "signature: " in shown
    results |= {"steps": None, "kept_in": {"weights": "bf16", "optimizer": "fp32"}}
    shown = report(results)
    assert "decoding: 7.6 s, peak memory 3 MiB" in shown and "training:" not in shown
    assert "weights are kept in bf16, optimizer state in fp32" in shown
    results["kept_in"]["optimizer"] = None
    assert "weights are kept in bf16\n" in report(results)
    bare = report(build_results(validation=None, test=None))
    assert bare.strip() == ""
