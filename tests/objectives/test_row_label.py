"""The label beside a row's target: read, counted, learnt beside any task, resumed and not published."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from helpers import pairs, warm_cli, write_jsonl
from running import Runs, gradients, take
from stopping import same, stop_at

TERMS = "objective.terms=[{name: summary, lam: 1}, {name: label, lam: 0.3}]"
STILL = ("optim.clip_norm=0", "optim.base_lr=0", "optim.head_lr=0", "optim.weight_decay=0", "trainer.bucket=1")


def with_topics(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Summarization rows; of five, four have a topic, their first word."""
    return [row | ({} if index % 5 == 4 else {"topic": "early" if row["document"] < "m" else "late"})
            for index, row in enumerate(pairs(n, seed))]


def train(folder: Path, base: Path, *more: str, run: str = "run", rows: list[dict[str, Any]] | None = None) -> Any:
    write_jsonl(folder / "train.jsonl", with_topics(40) if rows is None else rows)
    write_jsonl(folder / "held.jsonl", with_topics(6, 1))
    return warm_cli("train", f"model.path={base}", "data=files", "data.train=train.jsonl", "data.validation=held.jsonl",
                    "data.test=held.jsonl", "data.cache_dir=cache", "data.max_source_tokens=32", "data.label=topic",
                    "head.layers=1", "trainer.batch_size=8", "trainer.max_steps=4", "schedule.warmup_steps=1",
                    "generation.max_new_tokens=4", "eval.bootstrap_samples=5", f"run.name={run}", *more, cwd=folder)


@pytest.mark.parametrize("more", [(TERMS,), (
    "objective.terms=[{name: mlm, lam: 0.5}, {name: summary, lam: 1}, {name: label, lam: 0.3}]",
    "trainer.accumulate=2", "objective.label.pooling=attention", "precision=bf16"),
    (TERMS, "objective.weighting=uncertainty", "precision=fp16")], ids=["two", "three", "weighed"])
def test_a_summarizer_learns_a_label_beside_and_resumes_bitwise(more: tuple[str, ...], tmp_path: Path,
                                                                tiny_base_mlm: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    made = train(tmp_path, tiny_base_mlm, *more)
    assert made.returncode == 0, made.stderr
    assert re.search(r"objective label: 2 labels in 32 of 40 training rows", made.stdout)
    log = [json.loads(line) for line in (tmp_path / "runs/run/metrics.jsonl").read_text().splitlines()]
    assert all(row["loss.label"] > 0 and row["loss.summary"] > 0 for row in log)
    step = tmp_path / "runs/run/checkpoints/step-4"
    assert not any("objective" in name for name in load_file(step / "model/model.safetensors"))
    stored = {name for file in (step / "state").glob("*.safetensors") for name in load_file(file)}
    assert any("label.output.weight" in name for name in stored)
    stop_at(monkeypatch, 2)
    assert train(tmp_path, tiny_base_mlm, *more, run="stopped").returncode == 143
    assert train(tmp_path, tiny_base_mlm, *more, run="stopped").returncode == 0
    same(*(tmp_path / f"runs/{name}/checkpoints/step-4" for name in ("run", "stopped")))
    scored = warm_cli("eval", "checkpoint=runs/run", "eval.output=out", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr


def test_parts_of_a_step_sum_to_it_and_rows_without_a_label_count_nothing(tmp_path: Path, tiny_base: Path) -> None:
    runs = Runs(tiny_base, tmp_path, with_topics(24))
    try:
        def step(*overrides: str) -> tuple[dict[str, torch.Tensor], dict[str, float], float]:
            run = runs("data.label=topic", TERMS, *STILL, *overrides)
            micro = next(iter(run.data.loader.iterate(0))).micro
            counts = sum(int(run.model.module.counts(batch)["label"]) for batch in micro)
            rows = [row for batch in micro for row in batch["example_id"].tolist()]
            assert counts == sum("topic" in with_topics(24)[row] for row in rows)
            (result,) = take(run)
            return gradients(run), result.losses, counts

        whole, losses, count = step()
        parts, other, same_count = step("trainer.accumulate=4")
        assert count == same_count and other == pytest.approx(losses, rel=1e-5)
        for name in whole:
            assert torch.allclose(whole[name], parts[name], atol=2e-6, rtol=2e-4), name
    finally:
        runs.close()


def test_rare_labels_are_left_out_and_a_base_may_learn_labels_alone(tmp_path: Path, tiny_base_mlm: Path) -> None:
    rows = with_topics(40)
    rows[0]["topic"] = "rare"
    made = train(tmp_path, tiny_base_mlm, TERMS, "objective.label.min_rows=2", rows=rows)
    assert made.returncode == 0, made.stderr
    assert "2 labels in 31 of 40 training rows; 1 others in fewer than 2 rows count for nothing" in made.stdout
    alone = train(tmp_path, tiny_base_mlm, "objective.terms=[{name: mlm, lam: 1}, {name: label, lam: 1}]", run="alone")
    assert alone.returncode == 0, alone.stderr
    assert json.loads((tmp_path / "runs/alone/results.json").read_text())["losses"]["test"]["loss.label"] > 0


def test_a_term_of_which_held_out_rows_have_no_item_has_no_mean(tmp_path: Path, tiny_base: Path) -> None:
    write_jsonl(tmp_path / "plain.jsonl", pairs(6, 1))
    made = train(tmp_path, tiny_base, TERMS, "data.validation=plain.jsonl")
    assert made.returncode == 0, made.stderr
    (told,) = [line for line in made.stdout.splitlines() if line.startswith("validation at step 4")]
    assert "summary" in told and "label" not in told
    log = [json.loads(line) for line in (tmp_path / "runs/run/metrics.jsonl").read_text().splitlines()]
    held_out = next(row for row in log if row["split"] == "validation")
    assert "loss.label" not in held_out and held_out["loss.total"] == held_out["loss.summary.weighted"]


def test_documents_alone_beside_have_no_part_in_it(tmp_path: Path, tiny_base_mlm: Path) -> None:
    write_jsonl(tmp_path / "more.jsonl", [{"document": row["document"]} for row in pairs(30, 7)])
    made = train(tmp_path, tiny_base_mlm, "data.unlabelled=more.jsonl", "trainer.accumulate=2",
                 "objective.terms=[{name: mlm, lam: 1}, {name: summary, lam: 1}, {name: label, lam: 0.3}]")
    assert made.returncode == 0, made.stderr


@pytest.mark.parametrize(("overrides", "changed", "told"), [
    ((TERMS, "data.label=null"), {}, "the objective label predicts what stands in a column beside the target; name it"),
    ((TERMS, "data.label=theme"), {}, "no training row has a label in the column 'theme'; check data.label"),
    ((TERMS, "objective.label.min_rows=99"), {}, "0 of the 2 labels of the training rows stand in 99 rows or more"),
    ((TERMS, "objective.label.pooling=max"), {}, "objective.label.pooling=max is none of mean, first, last, attention"),
    (("objective=summary_only",), {}, "data.label=topic is read by nothing: task=summarization learns another thing"),
    ((TERMS,), {"topic": 3}, "column 'topic' holds a number here and a text in the rows before, labels of two types"),
    ((TERMS,), {"topic": ["a"]}, "column 'topic' is a list, not a label"),
    ((TERMS, "data.unlabelled=held.jsonl"), {}, "data.unlabelled needs a base term that reads documents alone")])
def test_what_is_wrong_is_one_line(overrides: tuple[str, ...], changed: dict[str, Any], told: str, tmp_path: Path,
                                   tiny_base: Path) -> None:
    rows = with_topics(12)
    rows[3] |= changed
    refused = train(tmp_path, tiny_base, *overrides, rows=rows)
    assert refused.returncode == 2 and told in refused.stderr, refused.stderr
