"""Rows that spell a tokenizer's control tokens, from the command line: learnt, scored and written as text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from helpers import Finished, make_tiny_base, pairs, warm_cli, write_jsonl
from llmtrain.hf import load

TOLD = "6 of 6 rows of {} spell control tokens of the tokenizer ([SEP]): they are read and written as text"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every summary has a control token in its middle, and so has its document."""
    made = [row | {"document": row["document"].replace(row["summary"], marked), "summary": marked}
            for row in pairs(6) for words in [row["summary"].split()]
            for marked in [" ".join([*words[:2], "[SEP]", *words[2:]])]]
    return write_jsonl(tmp_path_factory.mktemp("rows") / "d.jsonl", made)


def train(rows: Path, base: Path, cwd: Path, *overrides: str) -> Finished:
    return warm_cli("train", f"model.path={base}", "data=files", f"data.train={rows}",
                    f"data.validation={rows}", f"data.test={rows}", f"data.cache_dir={cwd / 'cache'}",
                    "data.max_source_tokens=64", "trainer.batch_size=6", "trainer.log_every=50",
                    "generation.max_new_tokens=12", "eval.bootstrap_samples=5", "optim.head_lr=1e-2",
                    "schedule.warmup_steps=5", "run.name=run", "objective=summary_only", *overrides, cwd=cwd)


def test_what_was_learnt_with_control_tokens_is_written_with_them(rows: Path, tiny_base: Path, tmp_path: Path) -> None:
    """The copy gate copies them too, and eval and summarize read as training did."""
    result = train(rows, tiny_base, tmp_path, "head.layers=1", "head.dropout=0", "trainer.max_steps=120",
                   "trainer.eval_every=120")
    assert result.returncode == 0, result.stderr
    assert [result.stdout.count(TOLD.format(split)) for split in ("train", "validation", "test")] == [1, 1, 1]
    found = [json.loads(line) for line in (tmp_path / "runs/run/predictions.jsonl").read_text().splitlines()]
    assert sum("[SEP]" in row["prediction"] for row in found) == 6
    results = json.loads((tmp_path / "runs/run/results.json").read_text())
    assert results["metrics"]["test"]["rouge1"]["value"] > 90

    scored = warm_cli("eval", "checkpoint=runs/run", "eval.output=out", cwd=tmp_path)
    assert scored.stderr.count(TOLD.format("test")) == 1
    again = json.loads((tmp_path / "out/results.json").read_text())["metrics"]["test"]
    assert again == results["metrics"]["test"]
    document = found[0]["document"]
    written = warm_cli("summarize", "checkpoint=runs/run", "summarize.format=jsonl", cwd=tmp_path, stdin=document)
    made = json.loads(written.stdout)
    assert made["summary"] == found[0]["prediction"]
    assert all(document[word["start"]:word["end"]] == word["text"] for word in made["copied"])


def test_a_model_published_before_reads_text_as_text(rows: Path, tiny_base: Path, tmp_path: Path) -> None:
    assert train(rows, tiny_base, tmp_path, "trainer.max_steps=1").returncode == 0
    folder = tmp_path / "runs/run/checkpoints/step-1/model"
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    assert config.pop("split_special_tokens") is True
    path.write_text(json.dumps(config))
    _, tokenizer = load(folder)
    assert tokenizer.sep_token_id not in tokenizer("a [SEP] b", add_special_tokens=False)["input_ids"]


def test_a_run_goes_on_whose_tokenizer_read_control_tokens(rows: Path, tiny_base: Path, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """What a checkpoint keeps of its tokenizer is the same with both."""
    with monkeypatch.context() as before:
        before.setattr("llmtrain.models.backbone.pretrained.text_only", lambda tokenizer: tokenizer)
        assert train(rows, tiny_base, tmp_path, "trainer.max_steps=1").returncode == 0
    more = ["run.extend_from=runs/run", "run.name=more"]
    result = train(rows, tiny_base, tmp_path, "trainer.max_steps=2", *more)
    assert result.returncode == 0, result.stderr


def test_a_prompt_may_hold_control_tokens(rows: Path, tmp_path: Path) -> None:
    """It is part of the configuration, and a base may have been tuned with them."""
    base = make_tiny_base(tmp_path / "llama", "llama")
    result = train(rows, base, tmp_path, "head=prefix_lm", "head.prompt='</s> sum'", "trainer.max_steps=1")
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "runs/run/checkpoints/step-1/model"
    ids = json.loads((folder / "config.json").read_text())["prompt_ids"]
    _, tokenizer = load(folder)
    assert ids[0] == tokenizer.eos_token_id
    assert yaml.safe_load((tmp_path / "runs/run/config.yaml").read_text())["head"]["prompt"] == "</s> sum"


def test_data_show_tells_of_them_and_shows_them_as_tokens_of_text(rows: Path, tiny_base: Path, tmp_path: Path) -> None:
    shown = warm_cli("data", "show", f"model.path={tiny_base}", "data=files", f"data.train={rows}",
                     f"data.validation={rows}", f"data.test={rows}", "show.rows=1", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    flat = " ".join(shown.stdout.split())
    assert [flat.count(TOLD.format(split)) for split in ("train", "validation", "test")] == [1, 1, 1]
    assert "[ s ##e ##p ]" in flat
