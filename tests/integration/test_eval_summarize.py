"""eval and summarize on a trained tiny model, as commands."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import environment, pairs, run_cli, warm_cli, write_jsonl


@pytest.fixture(scope="module")
def run(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    train, test = write_jsonl(folder / "train.jsonl", pairs(60)), write_jsonl(folder / "test.jsonl", pairs(6, 9))
    result = warm_cli("train", f"model.path={tiny_base}", "head.layers=1", "data=files", f"data.train={train}",
                      f"data.validation={test}", f"data.test={test}", f"data.cache_dir={folder / 'cache'}",
                      "trainer.max_steps=3", "trainer.batch_size=8", "trainer.eval_rows=4", "run.name=run",
                      "data.max_source_tokens=32", "generation.max_new_tokens=6", "eval.bootstrap_samples=20",
                      cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "runs/run"


def test_eval_scores_pointer_step_model_and_run_alike(run: Path, tmp_path: Path) -> None:
    found = []
    for path in (run, run / "checkpoints/best", run / "checkpoints/step-3", run / "checkpoints/step-3/model"):
        result = warm_cli("eval", f"checkpoint={path}", f"eval.output={tmp_path / 'out'}", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        found.append(json.loads((tmp_path / "out/results.json").read_text())["metrics"]["test"])
    assert all(one == found[0] for one in found)
    assert found[0] == json.loads((run / "results.json").read_text())["metrics"]["test"]
    row = json.loads((tmp_path / "out/predictions.jsonl").read_text().splitlines()[0])
    assert {"id", "references", "prediction", "rouge1", "rougeLsum"} <= row.keys()


def test_eval_takes_other_data_precision_and_decoding_and_refuses_the_model(run: Path, tmp_path: Path) -> None:
    other = write_jsonl(tmp_path / "other.jsonl", pairs(5, 77))
    result = warm_cli("eval", f"checkpoint={run}", "data=files", f"data.test={other}", "precision=bf16",
                      "generation.num_beams=2", "eval.output=out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["rows"]["test"] == 5
    assert results["precision"]["effective"] == "bfloat16"
    assert "beam 2" in results["signature"]
    for override in ("model=bert_base", "head.layers=2", "objective.lam=1"):
        refused = warm_cli("eval", f"checkpoint={run}", override, cwd=tmp_path)
        assert refused.returncode == 2
        assert override.partition("=")[0] in refused.stderr


def test_somebody_elses_predictions_need_no_model(tmp_path: Path) -> None:
    rows = pairs(6)
    test = write_jsonl(tmp_path / "test.jsonl", rows)
    (tmp_path / "lines.txt").write_text("\n".join(r["summary"] for r in rows) + "\n")
    write_jsonl(tmp_path / "rows.jsonl", [{"id": r["id"], "prediction": r["summary"]} for r in reversed(rows)])
    for name in ("lines.txt", "rows.jsonl"):
        result = run_cli("eval", f"predictions={name}", "data=files", f"data.test={test}", "eval.output=out",
                         cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        results = json.loads((tmp_path / "out/results.json").read_text())
        assert results["metrics"]["test"]["rouge1"]["value"] == pytest.approx(100)
        assert results["steps"] is None
        assert results["precision"]["effective"] is None
    (tmp_path / "lines.txt").write_text("one\ntwo\n")
    result = warm_cli("eval", "predictions=lines.txt", "data=files", f"data.test={test}", cwd=tmp_path)
    assert result.returncode == 2
    assert "2 predictions" in result.stderr
    assert "6 documents" in result.stderr


def test_eval_needs_one_of_two(tmp_path: Path) -> None:
    assert warm_cli("eval", cwd=tmp_path).returncode == 2
    assert warm_cli("eval", "checkpoint=none", cwd=tmp_path).returncode == 2


def test_summarize_keeps_order_and_survives_odd_lines(run: Path, tmp_path: Path) -> None:
    documents = ["list of words", "", "graph " * 300, "emoji \U0001f600 only", "tree and file \x00 nul"]
    result = run_cli("summarize", f"checkpoint={run}", cwd=tmp_path, stdin="\n".join(documents) + "\n")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.split("\n")
    assert len(lines) == len(documents) + 1
    assert lines[1] == ""
    assert "1 documents are longer" in result.stderr
    alone = run_cli("summarize", f"checkpoint={run}", cwd=tmp_path, stdin=documents[3])
    assert alone.stdout == lines[3] + "\n"


def test_summarize_streams(run: Path, tmp_path: Path) -> None:
    """A summary comes before the next document is given."""
    process = subprocess.Popen([sys.executable, "-m", "llmtrain", "summarize", f"checkpoint={run}"], cwd=tmp_path,
                               env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    assert process.stdin is not None
    assert process.stdout is not None
    started = time.monotonic()
    for _ in range(2):
        process.stdin.write("list of words and trees\n")
        process.stdin.flush()
        assert process.stdout.readline().endswith("\n")
    assert time.monotonic() - started < 60
    process.stdin.close()
    assert process.wait(30) == 0


def test_summarize_writes_jsonl_with_copies_and_reads_files(run: Path, tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "in (1).jsonl", pairs(3, 4))
    result = warm_cli("summarize", f"checkpoint={run}", f"input={rows}", "summarize.format=jsonl", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    made = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(made) == 3
    assert all({"summary", "score", "copied"} <= row.keys() for row in made)
    assert all(row["score"] < 0 for row in made)
    text = tmp_path / "one.txt"
    text.write_text("list of\nwords\n")
    assert warm_cli("summarize", f"checkpoint={run}", f"input={text}", cwd=tmp_path).stdout.count("\n") == 1


def test_the_python_door(run: Path, tmp_path: Path) -> None:
    from llmtrain import Summarizer

    texts = ["list of words", "", "tree and graph"]
    made = Summarizer(run)(texts)
    assert len(made) == 3
    assert made[1] == ""
    lines = run_cli("summarize", f"checkpoint={run}", cwd=tmp_path, stdin="\n".join(texts)).stdout.split("\n")
    assert made == lines[:3]
