"""eval and summarize on a trained tiny model, as commands."""

from __future__ import annotations

import gzip
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
import zstandard

from helpers import environment, pairs, warm_cli, write_jsonl
from warm.libraries import python


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


def test_a_runs_own_results_are_not_written_over(run: Path, tmp_path: Path) -> None:
    before = (run / "results.json").read_bytes()
    given = tmp_path / "p.txt"
    given.write_text("a\n" * 6)
    for folder, held in ((run, "config.yaml"), (run / "checkpoints/step-3", "manifest.json")):
        for scored in ([f"checkpoint={run}"], [f"predictions={given}", "data=files", f"data.test={given}"]):
            refused = warm_cli("eval", *scored, f"eval.output={folder}", cwd=tmp_path)
            assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
            assert f"it holds {held}); name another folder" in refused.stderr
    assert (run / "results.json").read_bytes() == before


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
        result = warm_cli("eval", f"predictions={name}", "data=files", f"data.test={test}", "eval.output=out",
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
    result = warm_cli("summarize", f"checkpoint={run}", cwd=tmp_path, stdin="\n".join(documents) + "\n")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.split("\n")
    assert len(lines) == len(documents) + 1
    assert lines[1] == ""
    assert "1 documents are longer than data.max_source_tokens=32 and are cut: line 3" in result.stderr
    alone = warm_cli("summarize", f"checkpoint={run}", cwd=tmp_path, stdin=documents[3])
    assert alone.stdout == lines[3] + "\n"


def test_summarize_streams(run: Path, tmp_path: Path) -> None:
    """A summary comes before the next document is given."""
    process = subprocess.Popen([python(), "-m", "llmtrain", "summarize", f"checkpoint={run}"], cwd=tmp_path,
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
    copied = [(document["document"], word) for document, row in zip(pairs(3, 4), made, strict=True)
              for word in row["copied"]]
    assert copied
    for document, word in copied:
        assert document[word["start"]:word["end"]] == word["text"]
        assert word["text"] in document.replace(".", " .").split()
        assert 0.5 < word["probability"] <= 1


def test_summarize_reads_what_the_readers_read(run: Path, tmp_path: Path) -> None:
    content = "".join(json.dumps(row) + "\n" for row in pairs(3, 4)).encode()
    text = b"list of\nwords and trees\n"
    files = {"a.jsonl": content, "a.NDJSON": content, "a.jsonl.gz": gzip.compress(content), "b.txt": text,
             "b.txt.gz": gzip.compress(text), "b.md.zst": zstandard.compress(text)}
    found = {}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        result = warm_cli("summarize", f"checkpoint={run}", f"input={tmp_path / name}", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        found.setdefault(name[0], []).append(result.stdout)
    assert found["a"][0].count("\n") == 3
    assert found["b"][0].count("\n") == 1
    assert all(one == outputs[0] for outputs in found.values() for one in outputs)
    (tmp_path / "c.bin").write_bytes(bytes(range(256)))
    refused = warm_cli("summarize", f"checkpoint={run}", f"input={tmp_path / 'c.bin'}", cwd=tmp_path)
    assert refused.returncode == 2
    assert "not UTF-8 text" in refused.stderr


def test_more_tokens_than_the_base_has_positions(run: Path, tmp_path: Path) -> None:
    long = "data.max_source_tokens=1000"
    result = warm_cli("summarize", f"checkpoint={run}", long, cwd=tmp_path, stdin="list\n" + "graph " * 300 + "\n")
    assert result.returncode == 0, result.stderr
    assert "1 documents are longer than the 128 positions of the base and are cut: line 2" in result.stderr
    test = write_jsonl(tmp_path / "long.jsonl", [{"document": "graph " * 300, "summary": "graph"}])
    scored = warm_cli("eval", f"checkpoint={run}", long, f"data.test={test}", "eval.output=out", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    assert "data.max_source_tokens=1000 is more than the 128 positions" in scored.stderr


def test_the_configuration_of_a_checkpoint_is_shown(run: Path, tmp_path: Path) -> None:
    result = warm_cli("eval", f"checkpoint={run}", "generation.num_beams=2", "--cfg=job", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    shown = yaml.safe_load(result.stdout)
    assert shown["data"]["max_source_tokens"] == 32
    assert shown["generation"]["num_beams"] == 2
    missing = warm_cli("eval", "checkpoint=none", "--cfg", "job", cwd=tmp_path)
    assert missing.returncode == 2
    assert "no checkpoint at none" in missing.stderr
    assert warm_cli("summarize", "--cfg", "job", cwd=tmp_path).returncode == 0


def test_hidden_test_rows_and_bad_ranges_are_told(run: Path, tmp_path: Path) -> None:
    for override, told in (("data.max_test_rows=0", "set data.max_test_rows=null"),
                           ("generation.num_beams=0", "more than 0"), ("data.max_test_rows=-5", "0 or more")):
        result = warm_cli("eval", f"checkpoint={run}", override, cwd=tmp_path)
        assert result.returncode == 2
        assert told in result.stderr


def test_sampling_is_seeded_and_results_tell_time_memory_and_cut_rows(run: Path, tmp_path: Path) -> None:
    def sample(seed: int) -> tuple[list[str], dict[str, Any]]:
        result = warm_cli("eval", f"checkpoint={run}", "generation.do_sample=true", f"run.seed={seed}",
                          "eval.output=out", "data.max_test_rows=4", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert "test (4 of 6 rows)" in result.stdout
        rows = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
        return [row["prediction"] for row in rows], json.loads((tmp_path / "out/results.json").read_text())

    (first, results), (again, _), (other, _) = sample(1), sample(1), sample(2)
    assert first == again != other
    assert "seed 1" in results["signature"]
    assert results["seconds"] > 0
    assert results["peak_memory_bytes"] > 1 << 20
    assert results["rows"]["whole"]["test"] == 6


def test_the_lead_is_chosen_on_the_rows_the_run_validated_on(tiny_base: Path, tmp_path: Path) -> None:
    """A run with data.train alone takes its splits from it, and eval takes the same ones."""
    train = write_jsonl(tmp_path / "train.jsonl", pairs(24))
    result = warm_cli("train", f"model.path={tiny_base}", "head.layers=1", "data=files", f"data.train={train}",
                      f"data.cache_dir={tmp_path / 'cache'}", "trainer.max_steps=1", "trainer.batch_size=4",
                      "run.name=run", "generation.max_new_tokens=4", "eval.bootstrap_samples=5",
                      "data.max_source_tokens=32", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    stored = json.loads((tmp_path / "runs/run/results.json").read_text())
    assert stored["rows"]["validation"] >= 1
    result = warm_cli("eval", "checkpoint=runs/run", "eval.output=out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    again = json.loads((tmp_path / "out/results.json").read_text())
    assert again["baselines"] == stored["baselines"]
    assert again["signature"] == stored["signature"]
    assert "chosen on validation" in again["signature"]


def test_several_references_are_found_and_scored_by_hand(tmp_path: Path) -> None:
    rows = [{"document": "d", "summary": "x", "references": ["a b", "a c", "a b c d"]}] * 2
    test = write_jsonl(tmp_path / "test.jsonl", rows)
    validation = write_jsonl(tmp_path / "validation.jsonl", pairs(3))
    (tmp_path / "p.txt").write_text("a b\na b\n")

    def score(rule: str, file: Path, *more: str) -> tuple[dict[str, Any], str]:
        result = warm_cli("eval", "predictions=p.txt", "data=files", f"data.test={file}", f"eval.references={rule}",
                          "eval.output=out", f"data.validation={validation}", *more, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        return json.loads((tmp_path / "out/results.json").read_text()), result.stderr

    for rule, value in (("first", 0.0), ("mean", (100 + 50 + 200 / 3) / 3), ("max", 100.0), ("best_rouge1", 100.0)):
        results, told = score(rule, test)
        assert results["metrics"]["test"]["rouge1"]["value"] == pytest.approx(value)
        assert f"references={rule} ({1 if rule == 'first' else 3} a row)" in results["signature"]
        assert "chosen on validation" in results["signature"]
        assert "asked for but" not in told
    one = write_jsonl(tmp_path / "one.jsonl", pairs(2))
    results, told = score("max", one)
    assert told.count("eval.references=max was asked for but no row has several references") == 1
    assert "references=first (1 a row)" in results["signature"]


def test_scores_that_are_not_kept_are_said_not_to_be(tmp_path: Path) -> None:
    test = write_jsonl(tmp_path / "test.jsonl", pairs(2))
    (tmp_path / "p.txt").write_text("a\nb\n")
    result = warm_cli("eval", "predictions=p.txt", "data=files", f"data.test={test}", "eval.output=", cwd=tmp_path)
    assert result.returncode == 0
    assert "eval.output=DIR stores them" in result.stderr
    assert not (tmp_path / "results.json").exists()


def test_the_python_door(run: Path, tmp_path: Path) -> None:
    from llmtrain import Summarizer

    texts = ["list of words", "", "tree and graph"]
    made = Summarizer(run)(texts)
    assert len(made) == 3
    assert made[1] == ""
    lines = warm_cli("summarize", f"checkpoint={run}", cwd=tmp_path, stdin="\n".join(texts)).stdout.split("\n")
    assert made == lines[:3]
