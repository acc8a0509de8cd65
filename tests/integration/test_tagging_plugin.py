"""The task of docs/extending.md whose answer is no text: rows, head, model and metric come from one plugin file."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.integration.test_plugins import documented

from cards import check_card
from helpers import Finished, environment, warm_cli, write_jsonl
from warm.libraries import python

PLUGIN = ("--plugin", "tagging.py")
COLOURS = ["red", "green", "blue"]


def tagged(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Colours are spans, one or two words long; the rest is outside."""
    draw, rows = random.Random(seed), []
    for index in range(n):
        words, tags = [], []
        for _ in range(3):
            kind, size = draw.choice([("O", 1), ("C", 1), ("C", 2)])
            words += draw.choices(COLOURS if kind == "C" else ["one", "two", "three"], k=size)
            tags += ["O"] if kind == "O" else ["B-C", "I-C"][:size]
        rows.append({"id": f"{seed}-{index}", "tokens": words, "tags": tags})
    return rows


@pytest.fixture
def place(tmp_path: Path) -> Path:
    documented("tagging.py", tmp_path)
    write_jsonl(tmp_path / "train.jsonl", tagged(32))
    write_jsonl(tmp_path / "held.jsonl", tagged(8, 1))
    return tmp_path


def train(place: Path, base: Path, *more: str, run: str = "run") -> Finished:
    return warm_cli("train", *PLUGIN, "task=tagging", f"model.path={base}", "data=files", "data.train=train.jsonl",
                    "data.validation=held.jsonl", "data.test=held.jsonl", f"data.cache_dir={place / 'cache'}",
                    "data.max_source_tokens=32", "trainer.batch_size=8", "trainer.max_steps=4",
                    "trainer.eval_every=2", "trainer.save_every=2", "eval.bootstrap_samples=50", f"run.name={run}",
                    *more, cwd=place)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_it_trains_scores_and_resumes_bit_by_bit(place: Path, tiny_base: Path) -> None:
    whole = train(place, tiny_base, run="whole")
    assert whole.returncode == 0, whole.stderr
    assert "head: tagger tags words and writes nothing" in whole.stdout
    results, rows = read(place / "runs/whole/results.json"), rows_of(place / "runs/whole/predictions.jsonl")
    assert (results["task"], results["config"]["objective"]["base"]) == ("tagging", "mlm")
    right, words = (sum(row[name] for row in rows) for name in ("right", "words"))
    scores = results["metrics"]["test"]
    assert scores["accuracy"]["value"] == pytest.approx(100 * right / words)
    assert scores["accuracy"]["low"] <= scores["accuracy"]["value"] <= scores["accuracy"]["high"]
    assert results["baselines"]["outside"]["span_f1"]["value"] == 0
    card = check_card(place / "runs/whole", place)
    assert card.data.pipeline_tag == "token-classification" and "find colours" in card.text
    assert "transformers" not in card.text  # only its plugin knows its class

    stopped = place / "runs/stopped"
    shutil.copytree(place / "runs/whole", stopped)
    shutil.rmtree(stopped / "checkpoints/step-4")
    (stopped / "results.json").unlink()
    again = train(place, tiny_base, run="stopped")
    assert again.returncode == 0 and "going on from step 2" in again.stdout, again.stderr
    ends = [load_file(run / "checkpoints/step-4/model/model.safetensors") for run in (place / "runs/whole", stopped)]
    assert ends[0].keys() == ends[1].keys() and all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_it_learns(place: Path, tiny_base: Path) -> None:
    done = train(place, tiny_base, "trainer.max_steps=60", "trainer.eval_every=30", "trainer.save_every=60",
                 "optim.base_lr=3e-3", "optim.head_lr=3e-2", "objective=summary_only", run="long")
    assert done.returncode == 0, done.stderr
    results = read(place / "runs/long/results.json")
    assert results["metrics"]["test"]["accuracy"]["value"] > results["baselines"]["outside"]["accuracy"]["value"] + 20


def test_its_published_model_loads_in_transformers_and_is_scored_and_verified(place: Path, tiny_base: Path) -> None:
    assert train(place, tiny_base).returncode == 0
    scored = warm_cli("eval", *PLUGIN, "checkpoint=runs/run", "eval.output=scores", "eval.precisions=[fp32,bf16]",
                      cwd=place)
    assert scored.returncode == 0, scored.stderr
    assert "bf16 against fp32: " in scored.stdout
    compared = warm_cli("compare", *PLUGIN, "runs/run", "scores", cwd=place)
    assert compared.returncode == 0, compared.stderr
    assert "0 of 8 outputs differ" in compared.stdout
    assert read(place / "scores/results.json")["metrics"]["test"] == read(
        place / "runs/run/results.json")["metrics"]["test"]
    verified = warm_cli("verify", *PLUGIN, "runs/run/checkpoints/step-4", cwd=place)
    assert verified.returncode == 0
    assert "good for resume, run.extend_from, eval, predict, model.init_from" in verified.stdout
    code = ("from pathlib import Path; import llmtrain.plugins; llmtrain.plugins.load(Path('tagging.py'));"
            "import llmtrain.hf; from transformers import AutoModelForTokenClassification as Auto;"
            "print(Auto.from_pretrained('runs/run/checkpoints/step-4/model').config.facts)")
    done = subprocess.run([python(), "-c", code], env=environment(), capture_output=True, text=True, cwd=place)
    assert "{'tags': ['B-C', 'I-C', 'O']}" in done.stdout, done.stderr


@pytest.mark.parametrize(("row", "told"), [
    ({"tokens": "red", "tags": ["O"]}, "column 'tokens' is not a list of words"),
    ({"tokens": ["red", "blue"], "tags": ["O"]}, "column 'tags' is not a list of 2 tags, one for each word"),
    ({"tokens": ["red"]}, "column 'tags' is not a list of 1 tags")])
def test_its_bad_rows_are_told_in_its_own_words(place: Path, tiny_base: Path, row: dict[str, Any], told: str) -> None:
    write_jsonl(place / "train.jsonl", [*tagged(8), row])
    refused = train(place, tiny_base)
    assert refused.returncode == 2, refused.stderr
    assert told in refused.stderr and "train.jsonl:9" in refused.stderr


def test_a_study_of_it_is_judged_by_its_metric_and_drawn(place: Path, tiny_base: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", python())
    words = ["task=tagging", f"model.path={tiny_base}", "data=files", "data.train=train.jsonl",
             "data.validation=held.jsonl", "data.test=held.jsonl", f"data.cache_dir={place / 'cache'}",
             "data.max_source_tokens=32", "trainer.batch_size=8", "trainer.max_steps=4", "eval.bootstrap_samples=50",
             "run.name=grid", "objective=task_only", "study.precision=[fp32,bf16]", "study.seeds=1"]
    done = warm_cli("study", *PLUGIN, *words, cwd=place)
    assert done.returncode == 0, done.stderr
    study = read(place / "runs/grid/study.json")
    assert len(study["cells"]) == 2 and study["metric"] in study["cells"][1]["against_base"]
    drawn = warm_cli("report", *PLUGIN, "runs/grid", cwd=place)
    assert drawn.returncode == 0, drawn.stderr
    assert study["metric"] in (place / "runs/grid/report.html").read_text(encoding="utf-8")
