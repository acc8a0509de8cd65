"""A new head is an options dataclass, a class and one register line; no file of the core knows its name or options."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import pairs, warm_cli, write_jsonl
from llmtrain import registry

HEAD = '''
"""The next token from the one before it and the mean of the document: no layers, no cache, no warm start."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from llmtrain.config.keys import key
from llmtrain.heads.base import Head
from llmtrain.registry import register


@dataclass(kw_only=True, slots=True)
class BagConfig:
    name: str = key("bag", "registered name of the head")
    hidden: int = key(16, "hidden width", "features")


class BagHead(Head):
    def __init__(self, options, sizes):
        super().__init__(options, sizes)
        self.inner = nn.Linear(2 * sizes.width, options.hidden)
        self.outer = nn.Linear(options.hidden, sizes.vocabulary)

    def log_probabilities(self, input_ids_BT, states, cache=None):
        before_BTD = nn.functional.embedding(input_ids_BT, states.embedding_VD)
        mean_BTD = states.hidden_BSD.mean(1, keepdim=True).expand_as(before_BTD)
        hidden = torch.tanh(self.inner(torch.cat([before_BTD, mean_BTD], -1)))
        return torch.log_softmax(self.outer(hidden).float(), -1)

    def nll(self, states, labels_BT):
        log_BTV = self.log_probabilities(self.shift(labels_BT), states)
        counted_BT = labels_BT != -100
        chosen_BT = log_BTV.gather(2, labels_BT.clamp_min(0).unsqueeze(2)).squeeze(2)
        return -(chosen_BT * counted_BT).sum(), counted_BT.sum()


register("head", "bag", BagConfig, "bag_head:BagHead", "a bag of words", writes=True)
'''


@pytest.fixture
def bag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from hydra.core.config_store import ConfigStore

    (tmp_path / "bag_head.py").write_text(HEAD)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.parts("head")  # our own are registered first
    __import__("bag_head")
    yield
    del registry._parts["head", "bag"], sys.modules["bag_head"]
    repository = ConfigStore.instance().repo
    for group in (repository["head"], repository["schema"]["head"]):
        group.pop("bag.yaml", None)


def test_a_new_head_trains_writes_and_is_loaded_again(bag: None, tiny_base: Path, tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "train.jsonl", pairs(24))
    held = write_jsonl(tmp_path / "held.jsonl", pairs(4, 1))
    result = warm_cli("train", f"model.path={tiny_base}", "head=bag", "head.hidden=8", "data=files",
                      f"data.train={train}", f"data.validation={held}", f"data.test={held}",
                      f"data.cache_dir={tmp_path / 'cache'}", "data.max_source_tokens=64", "trainer.max_steps=3",
                      "trainer.batch_size=8",
                      "generation.max_new_tokens=4", "eval.bootstrap_samples=5", "run.name=run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "runs/run/results.json").read_text())
    assert results["config"]["head"] == {"name": "bag", "hidden": 8}
    model = json.loads((tmp_path / "runs/run/checkpoints/step-3/model/config.json").read_text())
    assert (model["num_hidden_layers"], model["head"]) == (1, {"name": "bag", "hidden": 8})
    from llmtrain import Summarizer

    (made,) = Summarizer(tmp_path / "runs/run").details(["a b c"], with_copies=True)
    assert made.token_ids and made.copied is None
