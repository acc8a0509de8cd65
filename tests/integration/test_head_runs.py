"""Writing heads beside the default one, through the commands: trained, stopped and resumed, scored, summarizing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers import pairs, warm_cli, write_jsonl
from stopping import same, stop_at

CASES = [("gru", "bf16", ("head.dropout=0.1", "head.layers=2")), ("lstm", "fp16", ("head.layers=2",)),
         ("lstm", "fp32", ("head.width=48", "objective=summary_only")), ("gru", "fp16", ("head.input_feeding=true",)),
         ("lstm", "bf16", ("head.attention=additive", "trainer.accumulate=2")),
         ("prefix_lm", "bf16", ("objective.base=mlm", "trainer.accumulate=2")),
         ("prefix_lm", "fp16", ("head.copy_gate=true", "model.dropout=0.1")),
         ("prefix_lm", "fp32", ("head.prompt=of it",))]


@pytest.mark.parametrize(("head", "precision", "options"), CASES, ids=str)
def test_runs_resume_bitwise_score_and_write(head: str, precision: str, options: tuple[str, ...], tiny_base: Path,
                                             tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, held = write_jsonl(tmp_path / "train.jsonl", pairs(40)), write_jsonl(tmp_path / "held.jsonl", pairs(6, 1))
    command = ["train", f"model.path={tiny_base}", f"head={head}", f"precision={precision}", *options, "data=files",
               f"data.train={train}", f"data.validation={held}", f"data.test={held}",
               f"data.cache_dir={tmp_path / 'cache'}", "data.max_source_tokens=32", "data.max_summary_tokens=8",
               "trainer.batch_size=8", "trainer.max_steps=4", "schedule.warmup_steps=1", "eval.baselines=false",
               "generation.max_new_tokens=6", "eval.bootstrap_samples=5"]
    straight = warm_cli(*command, "run.name=straight", cwd=tmp_path)
    assert straight.returncode == 0, straight.stderr
    stop_at(monkeypatch, 2)
    assert warm_cli(*command, "run.name=stopped", cwd=tmp_path).returncode == 143
    resumed = warm_cli(*command, "run.name=stopped", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    same(*(tmp_path / f"runs/{name}/checkpoints/step-4" for name in ("straight", "stopped")))

    results = json.loads((tmp_path / "runs/straight/results.json").read_text())
    effective = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}[precision]
    assert (results["precision"]["effective"], results["config"]["head"]["name"]) == (effective, head)
    scored = warm_cli("eval", "checkpoint=runs/straight", "generation.num_beams=2", "eval.output=out", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    write_jsonl(tmp_path / "in.jsonl", pairs(1, 7))
    made = warm_cli("summarize", "checkpoint=runs/straight", "summarize.format=jsonl", "input=in.jsonl", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    row, document = json.loads(made.stdout), pairs(1, 7)[0]["document"]
    assert row["score"] < 0
    assert all(document[word["start"]:word["end"]] == word["text"] for word in row.get("copied", []))


@pytest.mark.parametrize("head", ["gru", "lstm"])
def test_a_recurrent_head_learns_its_batch_and_copies(head: str, tiny_base: Path, tmp_path: Path) -> None:
    train, held = write_jsonl(tmp_path / "train.jsonl", pairs(40)), write_jsonl(tmp_path / "held.jsonl", pairs(6, 1))
    result = warm_cli("train", "+experiment=debug_overfit", f"head={head}", f"model.path={tiny_base}", "data=files",
                      f"data.train={train}", f"data.validation={held}", f"data.test={held}", "run.name=run",
                      f"data.cache_dir={tmp_path / 'cache'}", "optim.head_lr=0.01", "optim.base_lr=0.003",
                      cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    log = [json.loads(line) for line in (tmp_path / "runs/run/metrics.jsonl").read_text().splitlines()]
    losses = [row["loss.summary"] for row in log if row["split"] == "train"]
    assert losses[-1] < 0.3 * losses[0]
    words = [row["document"].split()[2:7] for row in pairs(8)]
    write_jsonl(tmp_path / "in.jsonl", pairs(8))
    made = warm_cli("summarize", "checkpoint=runs/run", "summarize.format=jsonl", "input=in.jsonl", cwd=tmp_path)
    copied = [json.loads(line)["copied"] for line in made.stdout.splitlines()]
    assert sum(word["text"] in wanted for row, wanted in zip(copied, words, strict=True) for word in row) > 8


@pytest.mark.parametrize(("overrides", "told"), [
    (("head=gru", "head.attention=concat"), "choose from general, dot, additive"),
    (("head=lstm", "head.layers=0"), "head.layers=0 must be more than 0"),
    (("head=lstm", "head.ffn=3"), "head=lstm has no key head.ffn; it has head.layers, head."),
    (("head.copy_gate=false", "head=prefix_lm", "head.copy_gat=false"), "did you mean head.copy_gate?"),
    (("head=gru", "head.dropout=1.5"), "head.dropout=1.5 must be from 0 to 1"), (("head=gruu",), "did you mean"),
    (("head=prefix_lm", "head.chunk_tokens=0"), "head.chunk_tokens=0 must be more than 0")])
def test_what_does_not_fit_is_one_line(overrides: tuple[str, ...], told: str, tmp_path: Path) -> None:
    result = warm_cli("train", "trainer.max_steps=1", *overrides, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert told in result.stderr


def test_document_and_summary_must_fit_the_base_that_writes(tiny_base: Path, tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", pairs(8))
    result = warm_cli("train", "head=prefix_lm", f"model.path={tiny_base}", "data=files", f"data.train={rows}",
                      f"data.cache_dir={tmp_path / 'cache'}", "trainer.max_steps=1", "data.max_source_tokens=120",
                      "data.max_summary_tokens=8", "generation.max_new_tokens=9", cwd=tmp_path)
    assert (result.returncode, result.stderr.count("max_source_tokens=120 is more than the 119 tokens")) == (2, 1)
