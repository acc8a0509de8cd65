"""What is told and written of scores, against a count by hand."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import Any

from llmtrain.data.examples import Example
from llmtrain.evaluation import report as told
from llmtrain.evaluation.evaluate import score_split
from llmtrain.evaluation.report import build_results, print_report, stored_rows, typical_rows, write_outputs
from llmtrain.tasks.summarization.options import SummarizationEval
from llmtrain.tasks.summarization.task import Summarization


def example(document: str, *references: str) -> Example:
    return Example("0", document, references[0], references)


def scored(prediction: str, reference: str, samples: int = 5) -> Any:
    config = SummarizationEval(bootstrap_samples=samples)
    return score_split(Summarization(), [example("a b c d e f", reference)], [prediction], config,
                       decoding=prediction)


def test_results_tell_the_test_rows_facts_or_else_validations() -> None:
    one, two = scored("a b", "a b c"), scored("c", "c")
    for validation, test, main in ((one, two, two), (one, None, one), (None, two, two)):
        made = build_results(Summarization(), validation=validation, test=test, whole={"test": 9}, steps=4)
        assert made["schema_version"] == 1
        assert made["metrics"]["test"] == (None if test is None else {
            name: {"value": value.value, "low": value.low, "high": value.high} for name, value in test.metrics.items()})
        assert made["rows"] == {"validation": int(validation is not None), "test": int(test is not None),
                                "whole": {"test": 9}}
        assert made["baselines"]["oracle"]["rouge1"]["value"] == main.baselines["oracle"]["rouge1"].value
        assert made["extras"] == main.extras and made["signature"] == main.signature
        assert made["precision"] == {"requested": None, "effective": None}
    none = build_results(Summarization(), validation=None, test=None,
                         precision={"requested": "fp16", "effective": "float16"})
    assert (none["baselines"], none["extras"], none["signature"]) == ({}, {}, None)
    assert none["precision"] == {"requested": "fp16", "effective": "float16"}


def test_outputs_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [{"id": "1", "prediction": "Größe\nüber"}, {"id": "2", "prediction": ""}]
    write_outputs(tmp_path / "new" / "run", {"steps": 1}, rows)
    assert stored_rows(tmp_path / "new" / "run" / "predictions.jsonl") == rows
    assert "Größe" in (tmp_path / "new" / "run" / "predictions.jsonl").read_text(encoding="utf-8")
    assert (tmp_path / "new" / "run" / "results.json").is_file()
    assert stored_rows(tmp_path / "none.jsonl") == []


def report(results: dict[str, Any], rows: list[dict[str, Any]] | None = None, width: int = 400) -> str:
    """As a terminal with colours gets it."""
    from rich.console import Console

    shown = io.StringIO()
    console = Console(width=width, file=shown, force_terminal=True, color_system="truecolor")
    print_report(console, results, rows or [])
    return shown.getvalue()


def row(score: float, document: str = "d", *references: str) -> dict[str, Any]:
    return {"id": "1", "document": document, "references": references or ["r"], "prediction": "p", "rouge1": score}


def test_the_report_tells_what_was_measured() -> None:
    results = build_results(Summarization(), validation=None, test=scored("a b", "a b c"), precision={
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
    assert "(observed in the trunk); weights are kept in bf16, optimizer state in fp32\n" in shown
    assert "output: length ratio 0.67, repeated trigrams 0.0%, novel words 0.0%, novel bigrams 0.0%, empty 0\n" in shown
    results["kept_in"]["optimizer"] = None
    assert "weights are kept in bf16\n" in report(results)
    bare = report(build_results(Summarization(), validation=None, test=None))
    assert bare.strip() == ""


def test_what_models_and_data_wrote_is_shown_as_it_stands() -> None:
    results = build_results(Summarization(), validation=None, test=scored("a [b]b[/b] 'c' 1.5", "a b c"))
    given = [row(12.5, "one [red]two[/red]\n3.5  'four' " + "x" * 400, "the [b]first[/b]", "the second")]
    shown = report(results, given)
    assert "signature: " in shown and "; a [b]b[/b] 'c' 1.5; " in shown.split("signature: ")[1].split("\n")[0]
    start = shown.index("\n\nROUGE-1:    12.50, the 25th and 50th and 75th percentile of these 1 rows\n")
    lines = shown[start:].strip().split("\n")
    assert "\x1b" not in shown[shown.index("signature: "):]
    assert lines[1] == ("document:   one [red]two[/red] 3.5 'four' " + "x" * 400)[:12 + 300]
    assert (told.SHOWN_CHARACTERS, told.PLAIN_WIDTH) == (300, 126)  # a table of four scores and their intervals fits
    assert lines[2:] == ["reference:  the [b]first[/b]", "prediction: p"]


def test_each_score_stands_under_its_name_and_a_rows_name_on_one_line() -> None:
    results = build_results(Summarization(), validation=None, test=scored("E d. A b x.", "A b c. D e f."))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", report(results)).split("\n")
    heading = next(line for line in plain if "ROUGE-Lsum" in line)
    assert [cell.strip() for cell in heading.split("┃")[2:6]] == ["ROUGE-1", "ROUGE-2", "ROUGE-L", "ROUGE-Lsum"]
    first = next(line for line in plain if "test (1 rows)" in line)
    metrics = results["metrics"]["test"]
    values = [round(metrics[name]["value"], 2) for name in ("rouge1", "rouge2", "rougeL", "rougeLsum")]
    assert len(set(values)) == 4
    assert [float(cell.split()[0]) for cell in first.split("│")[2:6]] == values
    assert all(line.split("│")[2][-2:] == "] " for line in plain if "│" in line)  # to the right
    assert "extractive oracle" in report(results, width=70)


def test_percentiles_of_many_rows_and_of_those_with_a_score() -> None:
    found = [one["rouge1"] for _, one in typical_rows([row(float(n)) for n in range(1, 1001)], "rouge1")]
    assert found == [math.ceil(1000 * share) for share in (0.25, 0.5, 0.75)]
    assert typical_rows([{"id": "1", "document": "d"}], "rouge1") == []
