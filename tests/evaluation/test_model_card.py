"""The model card: what is known when it is written, and nothing that could mislead or leak."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from llmtrain import checkpoint
from llmtrain.checkpoint.save import replace_file, save
from llmtrain.config.load import load_config
from llmtrain.core.errors import CheckpointError
from llmtrain.evaluation.card.model_card import CardSubject, card_of
from llmtrain.evaluation.card.scores import eval_results
from llmtrain.tasks.task import task_named

RECORD = {"step": 4, "data_hash": "ab" * 32, "llmtrain": "0.1.0",
          "precision": {"requested": "bf16", "running": "bf16", "effective": "bfloat16"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text('{"model_type": "llmtrain_seq2seq"}')
    return tmp_path


def test_a_card_in_mid_run_tells_its_validation_and_claims_no_more(folder: Path) -> None:
    config = load_config("train", ["precision=bf16", "data.license=cc-by-4.0", "run.license=apache-2.0"])
    subject = CardSubject("r1", folder, config, RECORD, ["en"], "cc-by-4.0")
    validation = {"step": 4, "split": "validation", "epoch": 0, "rouge1": 12.344, "loss.total": 3.21,
                  "loss.summary": 3.0, "loss.summary.weighted": 1.5, "time.evaluation": 9.0}
    card = ModelCard(card_of(subject, validation))
    assert card.data.eval_results is None and card.data.model_name is None
    assert (card.data.license, card.data.data_license, card.data.language) == ("apache-2.0", "cc-by-4.0", ["en"])
    assert card.data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert (card.data.library_name, card.data.pipeline_tag) == ("llmtrain", "summarization")
    assert "was not scored yet when this checkpoint was saved" in card.text
    assert "| ROUGE-1 | 12.34 |" in card.text
    assert "weighted" not in card.text and "time" not in card.text.split("## Scores")[1].split("##")[0]
    assert "not scored yet" in card_of(subject)  # before the first validation


def test_what_a_user_named_cannot_break_the_card(folder: Path) -> None:
    name = "a|b <script>.jsonl"
    config = load_config("train", ["data=files", f"data.train={json.dumps(str(Path.home() / 'secret' / name))}"])
    text = card_of(CardSubject("r | 1", folder, config, RECORD | {"data_hash": "x"}))
    assert "<script>" not in text and str(Path.home()) not in text and "secret" not in text
    assert "a\\|b &lt;script>" in text


def test_the_folders_of_whoever_trained_are_on_no_card(folder: Path) -> None:
    config = load_config("train", [])
    config.command = ["train", "--plugin", f"{Path.home()}/own/plugin.py", f"data.train={Path.home()}/own/a.jsonl",
                      f"data.test=[{Path.home()}/own/b.jsonl]"]
    text = card_of(CardSubject("r1", folder, config, RECORD))
    assert "llmtrain train --plugin plugin.py data.train=a.jsonl 'data.test=[~/own/b.jsonl]'" in text
    assert f"{Path.home()}/" not in text


def test_a_cards_replacement_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(model: Path) -> None:
        (model / "config.json").write_text("{}")
        (model / "README.md").write_text("before\n")

    for step in (2, 4):
        save(tmp_path, step, write_model=write, parts={"progress": ({}, {"step": step})}, meta={"step": step})
    step = tmp_path / "step-4"
    inode = (step / "model/config.json").stat().st_ino
    replace_file(step, "README.md", "after\n")
    assert (step / "model/README.md").read_text() == "after\n"
    assert (step / "model/config.json").stat().st_ino == inode  # the same file
    assert checkpoint.latest_valid(tmp_path) == (step, [])  # whole, and what last names
    checkpoint.verify(step / "model")

    def failing(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys.modules["llmtrain.checkpoint.save"], "_write", failing)
    with pytest.raises(Exception, match="No space"):
        replace_file(step, "README.md", "never\n")
    assert (step / "model/README.md").read_text() == "after\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "step-2", "step-4"]
    assert checkpoint.latest_valid(tmp_path) == (step, [])


def test_what_the_hubs_download_puts_beside_a_model_is_no_unknown_file(tmp_path: Path) -> None:
    def write(model: Path) -> None:
        (model / "config.json").write_text("{}")

    step = save(tmp_path, 1, write_model=write, parts={"progress": ({}, {})}, meta={})
    for name in (".gitattributes", ".cache/huggingface/download/config.json.metadata"):
        (step / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (step / "model" / name).write_text("x")
    checkpoint.verify(step / "model")
    (step / ".gitattributes").write_text("x")
    with pytest.raises(CheckpointError) as refused:  # nobody downloads a step folder
        checkpoint.verify(step)
    assert len(refused.value.problems) == 3
    (step / "model/.cache/other").write_text("x")
    with pytest.raises(CheckpointError, match="unknown file"):
        checkpoint.verify(step / "model")


def test_tasks_of_one_kind_and_one_source_keep_their_entries_apart_and_no_folder_is_named(tmp_path: Path) -> None:
    """The hub takes entries of one kind of task, data set, configuration and split as one."""
    data = SimpleNamespace(name="hub", hub=SimpleNamespace(name=str(tmp_path)))
    task = task_named("classification")
    found: list[EvalResult] = []
    for name, value in (("mood", 70.0), ("topic", 80.0)):
        results = {"metrics": {"test": {"accuracy": {"value": value, "low": value - 1, "high": value + 1}}}}
        member: Any = SimpleNamespace(name=name, config=SimpleNamespace(data=data))
        found += eval_results(task, member, member.config, results)
    card = ModelCard(f"---\n{ModelCardData(model_name='m', eval_results=found).to_yaml()}\n---\n")
    assert [(one.task_name, one.metric_value) for one in card.data.eval_results] == [("mood", 70.0), ("topic", 80.0)]
    assert str(tmp_path) not in str(card)
