"""Every command of docs/tasks/classification.md runs, and its table of plain models' heads is the code's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tests.docs.pages import Page

from helpers import pairs, warm_cli, write_jsonl
from labelled import arguments, coloured, place_rows
from llmtrain.models.native_classifiers import NATIVE

PAGE = Page("docs/tasks/classification.md")


@pytest.fixture(scope="module")
def place(tiny_base_mlm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the page's files and run exist."""
    folder = place_rows(tmp_path_factory.mktemp("page"), coloured(40), coloured(12, 1))
    write_jsonl(folder / "test.jsonl", coloured(12, 1))
    (folder / "predictions.txt").write_text("".join(row["label"] + "\n" for row in coloured(12, 1)))
    write_jsonl(folder / "both.jsonl", [row | {"topic": "even" if index % 2 else "odd"}
                                        for index, row in enumerate(pairs(40))])
    done = warm_cli(*arguments(tiny_base_mlm, run="NAME"), cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("command", PAGE.commands)
def test_its_commands_run(command: str, place: Path, tiny_base_mlm: Path) -> None:
    words = shlex.split(re.sub(r"objective.terms=(\[.*?\])", r"'objective.terms=\1'", command))
    more = []
    if words[1] == "train":
        files = ["data=files", "data.train=train.jsonl", "data.test=test.jsonl"] if "bert_cls" in command else []
        more = [*files, f"model.path={tiny_base_mlm}", "trainer.max_steps=2", "trainer.batch_size=4",
                "data.cache_dir=cache", "data.max_source_tokens=32", "data.max_train_rows=30",
                "data.max_validation_rows=4", "data.max_test_rows=4"]
    if "FOLDER" in command:
        (place / "FOLDER").mkdir(exist_ok=True)
        (place / "FOLDER/train.jsonl").write_text((place / "train.jsonl").read_text())
        more += ["data.train=train.jsonl", "data.test=train.jsonl", "data.validation_from_train=4"]
    done = warm_cli(*words[1:], *more, cwd=place)
    assert done.returncode == 0, done.stderr


def test_its_table_of_plain_models_is_the_codes() -> None:
    for kinds, options in (("bert roberta camembert xlm-roberta", "head.pooling=first head.hidden=null"),
                           ("distilbert", "head.pooling=first head.hidden=null head.activation=relu"),
                           ("gpt2 llama mistral qwen2 qwen3 gemma", "head.pooling=last head.bias=false")):
        assert f"`{options}`" in PAGE.text
        given = dict(word.removeprefix("head.").split("=") for word in options.split())
        typed = {name: {"null": None, "false": False}.get(value, value) for name, value in given.items()}
        for kind in kinds.split():
            wanted = {"hidden": 0, "activation": "tanh", "bias": True} | typed
            assert {name: wanted[name] for name in NATIVE[kind].wanted()} == NATIVE[kind].wanted(), kind
