"""The terms of the joint loss, as the configuration names them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from llmtrain.config.load import load_config
from llmtrain.config.sections.model import ModelConfig
from llmtrain.config.terms import Terms
from llmtrain.data.unread_rows import LeaveUnread
from llmtrain.models.backbone.pretrained import open_base
from llmtrain.objectives.base import Objective
from llmtrain.objectives.build import (
    build_objectives,
    build_weighting,
    continuation_of,
    frozen_problems,
    transforms_of,
)
from llmtrain.objectives.content_selection import ContentSelection
from llmtrain.objectives.mlm import MaskedLm


def config(*overrides: str) -> Any:
    return load_config("train", list(overrides))


def test_each_named_term_gets_its_options_the_vocabulary_and_the_bases_folder(tiny_base_mlm: Path) -> None:
    made = config("objective.terms=[{name: mlm, lam: 1}, {name: select, lam: 1}, {name: summary, lam: 1}]",
                  "objective.mlm.fraction=0.7", "objective.select.positive_weight=3")
    base = open_base(ModelConfig(path=str(tiny_base_mlm), revision=None))
    tokenizer = base.tokenizer
    model: Any = SimpleNamespace(hidden_size=32, input_embedding_VD=torch.zeros(len(tokenizer), 32))
    found: Any = build_objectives(Terms.of(made.objective).base, made.objective, model, base)
    assert {name: type(term) for name, term in found.items()} == {"mlm": MaskedLm, "select": ContentSelection}
    assert found["mlm"].options is made.objective.mlm and found["mlm"].pretrained
    vocabulary = found["mlm"].vocabulary
    assert (vocabulary.size, vocabulary.mask_id) == (len(tokenizer), tokenizer.mask_token_id)
    assert vocabulary.special_ids == set(tokenizer.all_special_ids)
    assert torch.equal(vocabulary.continuation, continuation_of(tokenizer))
    assert build_objectives((), made.objective, model, base) == {}


def test_a_weighting_has_the_terms_and_the_runs_seed() -> None:
    options = config("objective.base=mlm", "objective.lam=0.25", "objective.weighting=pcgrad").objective
    made = build_weighting(options, Terms.of(options), 77)
    assert (made.name, made.seed, made.lams) == ("pcgrad", 77, {"mlm": 1.0, "summary": 0.25})
    assert made.config.weighting == "pcgrad"


@pytest.mark.parametrize(("weighting", "trained", "told"), [
    ("gradnorm", {2}, None), ("gradnorm", {0, 1, 2}, None), ("gradnorm", {0, 1}, "gradients of the base's last layer"),
    ("pcgrad", {0}, None), ("pcgrad", set(), "gradients of the base and"), ("fixed", set(), None), ("famo", {0}, None),
    ("auto", {0}, None), ("auto", set(), "objective.lam=auto reads gradients of the base and")])
def test_what_a_weighting_reads_must_be_trained(weighting: str, trained: set[int], told: str | None,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
    monkeypatch.setattr("llmtrain.objectives.build.layers", list)
    for index, layer in enumerate(trunk):
        layer.weight.requires_grad_(index in trained)
        layer.bias.requires_grad_(False)
    chosen = "objective.lam=auto" if weighting == "auto" else f"objective.weighting={weighting}"
    problems = list(frozen_problems(config(chosen).objective, trunk, "some"))
    assert len(problems) == (told is not None)
    assert told is None or told in problems[0]


class Named(Objective):
    """A term whose transform is its name."""

    def __init__(self, name: str) -> None:
        nn.Module.__init__(self)
        self.name = name

    def transform(self) -> Any:
        return self.name


@pytest.mark.parametrize(("terms", "wanted"), [
    (("select", "mlm", "summary"), ["mlm", True, "select", "head"]), (("mlm", "extraction"), ["mlm", True,
                                                                                         "extraction", "head"]),
    (("mlm", "denoise", "summary"), ["mlm", "denoise", True, "head"]), (("mlm",), ["mlm", False, "head"]),
    (("clm", "mlm", "summary"), ["mlm", "clm", "head"]), (("select", "summary"), ["select", "head"])])
def test_terms_with_a_pass_of_their_own_copy_before_rows_are_left_out(terms: tuple[str, ...],
                                                                      wanted: list[str | bool]) -> None:
    """A bool: rows are left out there, and whether those with a summary are read."""
    listed = ", ".join(f"{{name: {name}, lam: 1}}" for name in terms)
    module: Any = SimpleNamespace(
        objectives={name: Named(name) for name in terms if name != "summary"} | {"idle": nn.Identity()},
        model=SimpleNamespace(head=SimpleNamespace(batch_transform=lambda: "head")))
    found: list[Any] = transforms_of(Terms.of(config(f"objective.terms=[{listed}]").objective), module)
    assert [one.targets if isinstance(one, LeaveUnread) else one for one in found] == wanted


@pytest.mark.parametrize(("tokens", "continues"), [
    (["[CLS]", "red", "##ed", "##s"], [2, 3]), (["<s>", "Ġthe", "re", "Ġ", "."], [2, 4]),
    (["</s>", "▁a", "b", "▁", "<pad>"], [2]), (["<s>", "a", "b"], [])])
def test_what_continues_a_word_in_every_kind_of_vocabulary(tokens: list[str], continues: list[int]) -> None:
    tokenizer = SimpleNamespace(get_vocab=lambda: {token: number for number, token in enumerate(tokens)},
                                all_special_tokens=["[CLS]", "<s>", "</s>", "<pad>"])
    assert continuation_of(tokenizer).nonzero().flatten().tolist() == continues
