"""The report's file: what it says of runs, and that no text of theirs can become anything else than text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from helpers import write_jsonl
from llmtrain.cli.main import main
from llmtrain.core.files import write_json
from llmtrain.data.examples import Example
from llmtrain.evaluation.comparison_report import comparison
from llmtrain.evaluation.outcome import joined, stored_outcome
from llmtrain.report import write_report as writing
from llmtrain.report.write_report import write_report
from llmtrain.tasks.evidence import ANSWER, PREDICTION, Mark
from llmtrain.tasks.task import task_named
from reports import STEPS, documents, log_of, write_run, written

EVIL = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=2>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three seeds of one setting: the first is right in a half of its rows, the others in a third and a quarter."""
    root, examples = tmp_path_factory.mktemp("runs"), documents(60)
    return [write_run(root / f"seed{seed}", "summarization", examples, written(examples, right), seed=seed)
            for seed, right in enumerate((2, 3, 4))]


def read(page: Path) -> tuple[str, dict[str, Any]]:
    """The words of the verdict, and the data of the scripts."""
    text = page.read_text(encoding="utf-8")
    verdict = re.sub(r"<[^>]+>", " ", text[text.index('<section id="verdict"'):text.index('<section id="scores"')])
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    return " ".join(unescape(verdict).split()), json.loads(data[1])


def test_without_texts_a_page_has_what_was_found_and_nothing_of_the_rows(runs: list[Path], tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (runs[1] / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert main(["report", *map(str, runs), "--no-texts", "--output", str(tmp_path / "page.html")]) == 0
    said, data = read(tmp_path / "page.html")
    assert "copied from the source in stretches" in said and "Show the rows" not in said
    assert data["parts"][0]["rows"] == [] and data["charts"]
    text = unescape((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert 'id="predictions' not in text
    for row in rows:
        assert row["document"] not in text and row["prediction"] not in text


def test_one_run_is_told_beside_the_baselines_and_where_it_copies_wrongly(runs: list[Path]) -> None:
    page = write_report([runs[1]])
    assert page == runs[1] / "report.html"
    said, data = read(page)
    assert re.search(r"ROUGE-1 33\.33 \[\d+\.\d\d, \d+\.\d\d\] on 60 test rows", said)
    assert "worse than the lead baseline (100.00 [100.00, 100.00]), and the intervals do not overlap" in said
    assert "100 % are copied from the source in stretches, 67 % in stretches that are not in a reference" in said
    assert "25 % of the test sources were cut to 64 tokens" in said
    assert "the last checkpoint is the best one" in said.lower()
    (part,) = data["parts"]
    assert len(part["rows"]) == 60 and part["rows"][1]["o"][0]["h"] == [0, 100, 0]
    text = page.read_text(encoding="utf-8")
    assert "llmtrain train run.seed=1 &#39;data.train=a b.jsonl&#39;" in text  # the command, quoted for a shell
    for fact in ("bfloat16", "length ratio", "repeated trigrams", "25.0% to 64 tokens", "2.13.0", "abc"):
        assert fact in text


def test_of_runs_of_one_setting_the_mean_is_told_and_the_best_one_is_luck(runs: list[Path]) -> None:
    said, data = read(write_report(runs))
    assert re.search(r"ROUGE-1 36\.11 \[.*\] on 60 test rows: the mean of 3 runs that differ in run.seed alone, with a "
                     r"standard deviation of 12\.73", said)
    assert "seed0 is best with 50.00" in said and "that is the luck of its seed" in said
    assert "more than the luck" not in said and "The mean is 63.89 worse than the lead baseline" in said
    assert data["parts"][0]["best"] == 0 and [len(row["o"]) for row in data["parts"][0]["rows"]] == [3] * 60


def test_runs_of_several_settings_and_seeds_are_compared_by_setting(tmp_path: Path) -> None:
    examples = documents(40)
    folders = [write_run(tmp_path / f"lam{lam}-{seed}", "summarization", examples, written(examples, right), seed=seed,
                         config={"objective": {"lam": lam}}, baselines=False)
               for lam, right in ((0.5, 2), (1.0, 10)) for seed in (0, 1)]
    said, _ = read(write_report(folders))
    assert "objective.lam=0.5 is best: ROUGE-1 50.00" in said
    assert "up to 2 seeds, and its lead is more than the luck of rows and seeds." in said
    assert "objective.lam=0.5 is ahead of objective.lam=1.0 by 40.00" in said
    said, _ = read(write_report(folders[:3]))
    assert "more than the luck of these rows, and of the seeds where there are several" in said
    assert "There is one run of objective.lam=1.0: the chance of its seed is in no test." in said


def test_of_single_runs_a_lead_is_never_said_to_be_more_than_the_luck_of_the_rows(tmp_path: Path) -> None:
    """Of three, and beside a run of another task, which makes other keys differ."""
    examples = documents(40)
    folders = [write_run(tmp_path / f"lam{lam}", "summarization", examples, written(examples, right), baselines=False,
                         config={"objective": {"lam": lam}}) for lam, right in ((0.5, 2), (1.0, 10), (2.0, 9))]
    said, _ = read(write_report(folders))
    assert "and its lead is more than the luck of these rows." in said and "one run of each setting" in said
    assert "(for the best of 3)" in write_report(folders).read_text(encoding="utf-8")
    seeds = [write_run(tmp_path / f"seed{seed}", "summarization", examples, written(examples, 2), seed=seed)
             for seed in (0, 1)]
    other = write_run(tmp_path / "other", "translation", examples[:9], written(examples[:9], 2), baselines=False)
    said, _ = read(write_report([*seeds, other]))
    assert "the mean of 2 runs that differ in run.seed alone" in said


def test_runs_on_other_rows_are_not_tested_and_the_page_says_why(runs: list[Path], tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", "summarization", documents(50), written(documents(50), 2), baselines=False)
    said, data = read(write_report([runs[0], other], tmp_path / "both.html"))
    assert "No test between these runs is possible" in said and "60" in said
    assert sum(None in row["o"] for row in data["parts"][0]["rows"]) == 10
    (other / "predictions.jsonl").unlink()
    said, _ = read(write_report([runs[0], other], tmp_path / "both.html"))
    assert "has the best value" in said and "other: no predictions lie beside the results" in said


def test_runs_that_give_the_same_have_no_lead(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / f"lam{lam}", "summarization", documents(20), written(documents(20), 2),
                         baselines=False, config={"objective": {"lam": lam}}) for lam in (0.5, 1.0)]
    said, _ = read(write_report(folders))
    assert "lam0.5 and lam1.0 have the same ROUGE-1." in said and "-0.00" not in said


def test_no_text_can_leave_its_place(tmp_path: Path) -> None:
    """The only script is ours, by the digest that the page's own rule allows; every text is data or escaped."""
    examples = [Example(EVIL, f"{EVIL}\0\u2028 a", EVIL, (EVIL,)), *documents(3)]
    run = write_run(tmp_path / "<b>run", "summarization", examples, [EVIL, *written(examples[1:], 2)],
                    config={"note": {EVIL: EVIL}}, baselines=False)
    (run / "environment.json").write_text(json.dumps({EVIL: EVIL}))
    rows = (run / "predictions.jsonl").read_text(encoding="utf-8").replace("window", "\\ud83d window")
    (run / "predictions.jsonl").write_text(rows, encoding="utf-8")  # half a character
    page = write_report([run])
    text = page.read_text(encoding="utf-8")
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == text.count("<script") == 2 and "<img" not in text and "<b>" not in text
    allowed = re.search(r"script-src '(sha256-[^']+)'", text)
    assert allowed is not None
    assert allowed[1] == "sha256-" + base64.b64encode(hashlib.sha256(scripts[1].encode()).digest()).decode()
    assert "default-src 'none'" in text and not re.search(r"(?:src|href)=[\"']?https?:", text)
    row = json.loads(scripts[0])["parts"][0]["rows"][0]
    assert row["i"] == EVIL.replace("window", "\ufffd window")[:80]
    assert row["x"][0][1].endswith("␀\u2028 a") and row["o"][0]["t"].startswith("</script><script>\ufffd window")


def test_many_long_rows_fit_and_the_cut_is_told(runs: list[Path], tmp_path: Path) -> None:
    """2,600 rows of 4,000 characters and more, and one of ten million."""
    run = tmp_path / "long"
    run.mkdir()
    (run / "results.json").write_bytes((runs[0] / "results.json").read_bytes())
    rows = [{"id": f"{n}", "document": f"{n} " * 1000, "references": ["x"], "prediction": f"{n} {n}",
             "rouge1": float(n % 100)} for n in range(2600)]
    rows[7]["document"] = "word " * 2_000_000
    write_jsonl(run / "predictions.jsonl", rows)
    page = write_report([run])
    assert page.stat().st_size < 5_000_000
    _, data = read(page)
    shown = data["parts"][0]["rows"]
    assert len(shown) == 2000 and {"0", "99", "7"} <= {row["i"] for row in shown}
    text = page.read_text(encoding="utf-8")
    assert "2,000 of 2,600 rows are on this page" in text
    assert "characters are cut here (the longest has 10,000,000)" in text


def test_a_run_that_is_not_finished_has_curves(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    write_jsonl(tmp_path / "run" / "metrics.jsonl", log_of({"rouge1": 30.0}))
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 13, "spl')  # it is being written
    text = write_report([tmp_path / "run"]).read_text(encoding="utf-8")
    assert f"Not finished; the log ends at step {STEPS}" in text
    data = json.loads(re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)[0])
    assert data["curves"][0]["train"]["loss.total"][0] > data["curves"][0]["train"]["loss.total"][-1]
    assert {(chart["group"], chart["title"]) for chart in data["charts"]} >= {
        ("Loss", "term summary"), ("ROUGE-1", "on held-out rows"), ("Learning rate", "by group of weights"),
        ("Gradients", "cosine between two terms"), ("Precision", "loss scale; steps that were skipped are marked")}
    assert data["curves"][0]["validation"]["rouge1.low"][0] == pytest.approx(9.0)
    assert data["curves"][0]["train"]["minutes"][-1] == pytest.approx(STEPS * 0.5 / 60, rel=1e-4)


def test_a_scoring_in_several_precisions_is_on_the_card(runs: list[Path], tmp_path: Path) -> None:
    found = comparison([stored_outcome("fp32", runs[0]), stored_outcome("bf16", runs[1])], samples=100)
    decoded = {"fp32": {"effective": "float32", "seconds": 1.0, "rows_per_second": 60.0},
               "bf16": {"effective": "bfloat16", "seconds": 0.5, "rows_per_second": 120.0, "changed": 7,
                        "first_change": {"id": "row-1", "character": 3}}}
    run = write_run(tmp_path / "eval", "summarization", documents(6), written(documents(6), 2))
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    write_json(run / "results.json", {**results, "precisions": {"decoded": decoded, "comparison": found}})
    text = write_report([run]).read_text(encoding="utf-8")
    card = text[text.index("Decoded in several precisions"):]
    assert "row row-1, character 4" in card and "bfloat16" in card and "-16.67" in card


def test_a_long_log_becomes_means_of_neighbours(tmp_path: Path) -> None:
    from llmtrain.report.curves import MOST_POINTS, Line, columns_of

    log = [{"step": step, "split": "train", "loss.total": float(step), "scaler.skipped": step // 1000}
           for step in range(1, 4 * MOST_POINTS)]
    made = columns_of(log, [Line("loss.total", "train", "train")])["train"]
    assert len(made["step"]) == MOST_POINTS and made["step"][-1] == log[-1]["step"]
    assert made["loss.total"][0] == 2.5 and made["step"][0] == 4 and made["scaler.skipped"][-1] == 2


def test_a_comparison_is_reported_with_its_runs_or_its_own_rows(runs: list[Path], tmp_path: Path) -> None:
    sides = [stored_outcome("a", runs[2]), joined("b", [stored_outcome("b", run) for run in runs[:2]])]
    found = comparison(sides, samples=200)
    write_json(tmp_path / "found.json", found)
    said, data = read(write_report([tmp_path / "found.json"]))
    assert "b is in front, and no winner is shown" in said and data["runs"] == ["a", "b (seed 0)", "b (seed 1)"]
    assert "against a" in (tmp_path / "report.html").read_text(encoding="utf-8")
    for side in found["sides"]:
        side["paths"] = ["gone.txt"]
    write_json(tmp_path / "found.json", found)
    _, data = read(write_report([tmp_path / "found.json"]))
    assert data["runs"] == ["a", "b"] and 0 < len(data["parts"][0]["rows"]) <= 20


def test_a_study_is_reported_with_its_cells(runs: list[Path], tmp_path: Path) -> None:
    def cell(name: str, lam: float | None, score: float) -> dict[str, Any]:
        test = {"value": 1.0, "low": 0.5, "high": 1.5, "p": 0.01, "p_holm": 0.02, "equivalence": None}
        return {"name": name, "base": lam is None, "axes": {"lam": lam, "precision": "fp32"}, "state": "done",
                "problem": None, "steps": 12, "runs": [{"state": "done", "folder": str(runs[0])}], "lam": None,
                "metrics": {"rouge1": {"mean": score, "spread": 0.5, "low": score - 1, "high": score + 1}},
                "against_base": None if lam is None else {"rouge1": test}, "against_fp32": None,
                "skipped_steps": 0, "effective": ["float32"], "steps_to_target": None, "time.seconds": 90.0,
                "time.tokens_per_second": 10.0, "memory.peak_bytes": 2.0**30}

    measured = {**cell("lam=auto", 1.0, 20.5), "axes": {"lam": "auto", "precision": "fp32"}, "lam": 0.75}
    failed = {**cell("lam=2", 2.0, 0.0), "state": "failed", "problem": "loss is not finite", "metrics": {}}
    study = {"kind": "study", "name": "lambdas", "task": "summarization", "metric": "rouge1", "more_is_better": True,
             "digits": 2, "split": "test", "rows": 60, "seeds": [0], "axes": {"lam": [0.5, "auto", 2],
                                                                             "precision": ["fp32"]},
             "base": "alone", "cells": [cell("alone", None, 20.0), cell("lam=0.5", 0.5, 21.0), measured, failed],
             "left_out": [], "verdicts": ["Joint training helps.", "lam=2: loss is not finite"], "time.verdicts": [],
             "time.pareto": ["lam=0.5"], "memory.pareto": []}
    write_json(tmp_path / "study.json", study)
    text = write_report([tmp_path]).read_text(encoding="utf-8")
    assert "Joint training helps." in text and text.count("<bdi>lam=2: loss is not finite</bdi>") == 1
    assert "+1.00 [+0.50, +1.50], p = 0.020" in text and "21.00 [20.00, 22.00]" in text
    data = json.loads(re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)[0])
    assert data["study"]["numeric"] == ["lam"]
    assert [one["axes"]["lam"] for one in data["study"]["cells"]] == [None, 0.5, 0.75]  # where auto was measured
    assert data["runs"][0] == "alone" and len(data["runs"]) == 3


def test_every_task_says_what_is_highlighted() -> None:
    label = task_named("classification").evidence({"id": "1", "text": "good", "text_pair": "b", "label": ["x", "y"],
                                                   "prediction": "x", "probabilities": {"x": 0.75, "y": 0.25}})
    assert (dict(label.inputs), label.references, dict(label.chances)) == (
        {"text": "good", "text_pair": "b"}, ('["x", "y"]',), {"x": 0.75, "y": 0.25})
    answer = task_named("question_answering").evidence({
        "id": "1", "context": "it is red", "question": "which?", "references": ["red", ""], "prediction": "red",
        "start": 6, "end": 9, "probability": 0.5, "score": 1.0})
    assert answer.marks == (Mark("context", 6, 9, ANSWER, None, 0.5),) and answer.references[1] == "(no answer)"
    assert dict(answer.chances) == {"red": 0.5}
    cited = task_named("summarization").evidence({
        "id": "1", "document": "One. Two.", "references": ["x"], "prediction": "Two.",
        "citations": [{"text": "Two.", "start": 0, "end": 4,
                       "sources": [{"index": 1, "start": 5, "end": 9, "weight": 0.9}]}]})
    assert cited.marks == (Mark(PREDICTION, 0, 4, "cited", 1), Mark("document", 5, 9, "cited", 1, 0.9))
    copied = task_named("translation").evidence({
        "id": "1", "source": "Rom a", "references": ["x"], "prediction": "Rom",
        "copied": [{"text": "Rom", "start": 0, "end": 3, "probability": 0.8}]})
    assert copied.marks == (Mark("source", 0, 3, "copied", None, 0.8),)


def test_calibration_is_drawn_of_confidences() -> None:
    rows = [{"confidence": 0.9, "accuracy": 100.0}, {"confidence": 0.92, "accuracy": 0.0},
            {"confidence": 0.4, "accuracy": 0.0}]
    (picture,) = task_named("classification").pictures(rows)
    assert picture.diagonal and picture.points == ((0.4, 0.0, 1), (pytest.approx(0.91), 0.5, 2))
    assert task_named("classification").pictures([{"accuracy": 1.0}]) == []


def test_what_is_no_run_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                               monkeypatch: pytest.MonkeyPatch, runs: list[Path]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "metrics.jsonl").write_text('{"step": 1}\nno\n')
    for words, told in ((["report"], "report takes the folders of runs"), (["report", "none"], "nothing at none; name"),
                        (["report", "empty"], "no run at empty"),
                        (["report", "broken"], "no JSON object at broken/metrics.jsonl:2"),
                        (["report", str(runs[0]), "--output", "empty"], "a folder at empty; name a file")):
        assert main(words) == 2
        problem = capsys.readouterr().err
        assert problem.count("\n") == 1 and told in problem, problem
    assert not list(tmp_path.rglob("report.html"))


def test_a_checkpoint_or_a_file_of_a_run_stands_for_the_run(runs: list[Path], capsys: pytest.CaptureFixture[str],
                                                            tmp_path: Path) -> None:
    pointer = runs[0] / "checkpoints" / "best"
    pointer.parent.mkdir(exist_ok=True)
    pointer.write_text("{}")
    for place in (pointer, runs[0] / "metrics.jsonl"):
        assert main(["report", str(place), "--output", str(tmp_path / "one.html")]) == 0
        assert re.match(r"written: \S+one\.html \(\d+ kB\); open it in a browser\n", capsys.readouterr().out)
    assert "uPlot 1.6.32" in (tmp_path / "one.html").read_text(encoding="utf-8") and writing.chart_version() == "1.6.32"


def test_the_chart_library_is_what_its_note_says() -> None:
    folder = writing.ASSETS / "uplot"
    note = (folder / "VERSION.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| (\S+) \| ([\d,]+) \| (\w{64}) \|$", note, re.MULTILINE)
    assert [(name, f"{(folder / name).stat().st_size:,}", hashlib.sha256((folder / name).read_bytes()).hexdigest())
            for name, _, _ in told] == told and len(told) == 2
    assert f"uPlot {writing.chart_version()}," in note and "MIT License" in (folder / "LICENSE").read_text()
