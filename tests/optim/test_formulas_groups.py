"""Which parameter is trained at which rate, with which decay, by which rule: by hand for a model of a few layers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from llmtrain.optim.builders import build_optimizer
from llmtrain.optim.groups import depths, hidden_matrices, parameter_groups
from llmtrain.optim.options import AdamwConfig, MuonConfig


class Trunk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 3)
        self.embed_norm = nn.LayerNorm(3)
        self.layers = nn.ModuleList([nn.Linear(3, 4), nn.Linear(4, 3)])
        self.norm = nn.LayerNorm(3)

    def get_input_embeddings(self) -> nn.Module:
        return self.words


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.ModuleDict({"trunk": Trunk(), "head": nn.Linear(3, 2), "gate": nn.Linear(3, 1),
                                    "output": nn.Linear(3, 7), "places": nn.Embedding(5, 3),
                                    "kernel": nn.Conv1d(2, 2, 2)})


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Whole:
    monkeypatch.setattr("llmtrain.optim.groups.layers", lambda trunk: list(trunk.layers))
    return Whole()


def optim(**other: Any) -> Any:
    return SimpleNamespace(**{"base_lr": 0.1, "head_lr": 0.7, "layer_decay": 0.5, "weight_decay": 0.3} | other)


@pytest.mark.parametrize("matrices", [True, False])
def test_every_parameters_group_rate_decay_and_rule(matrices: bool, whole: Whole) -> None:
    trunk: Any = whole.model["trunk"]
    trunk.norm.bias.requires_grad_(False)
    wanted = {"model.trunk.words.weight": ("base", 0.025, 0.3, False),
              "model.trunk.embed_norm.weight": ("base", 0.025, 0.0, False),
              "model.trunk.embed_norm.bias": ("base", 0.025, 0.0, False),
              "model.trunk.layers.0.weight": ("base", 0.05, 0.3, True),
              "model.trunk.layers.0.bias": ("base", 0.05, 0.0, False),
              "model.trunk.layers.1.weight": ("base", 0.1, 0.3, True),
              "model.trunk.layers.1.bias": ("base", 0.1, 0.0, False),
              "model.trunk.norm.weight": ("base", 0.1, 0.0, False),
              "model.head.weight": ("head", 0.7, 0.3, True), "model.head.bias": ("head", 0.7, 0.0, False),
              "model.gate.weight": ("head", 0.7, 0.3, False), "model.gate.bias": ("head", 0.7, 0.0, False),
              "model.output.weight": ("head", 0.7, 0.3, False), "model.output.bias": ("head", 0.7, 0.0, False),
              "model.places.weight": ("head", 0.7, 0.3, False), "model.kernel.weight": ("head", 0.7, 0.3, False),
              "model.kernel.bias": ("head", 0.7, 0.0, False)}
    made = parameter_groups(whole, trunk, optim(), matrices)
    found = {name: (one["name"], one["peak"], one["weight_decay"], one.get("matrix", False))
             for one in made for name in one["param_names"]}
    assert found == {name: (*rest, matrix and matrices) for name, (*rest, matrix) in wanted.items()}
    named = dict(whole.named_parameters())
    for one in made:
        assert one["lr"] == one["peak"] and ("matrix" in one) == matrices
        assert [id(p) for p in one["params"]] == [id(named[name]) for name in one["param_names"]]
    assert len(made) == len(set(found.values()))


def test_vectors_stay_apart_where_nothing_decays(whole: Whole) -> None:
    """The groups, and with them a saved state, are the same whatever the decay is."""
    decayed, plain = ([one["param_names"] for one in parameter_groups(whole, whole.model["trunk"], optim(
        weight_decay=decay), False)] for decay in (0.3, 0.0))
    assert decayed == plain


def test_what_lies_how_deep_and_which_are_hidden(whole: Whole) -> None:
    trunk: Any = whole.model["trunk"]
    found = {name: depths(trunk)[p] for name, p in trunk.named_parameters() if name.endswith("weight")}
    assert found == {"words.weight": 0, "embed_norm.weight": 0, "layers.0.weight": 1, "layers.1.weight": 2,
                     "norm.weight": 2}
    assert hidden_matrices(whole, 7) == {trunk.layers[0].weight, trunk.layers[1].weight, whole.model["head"].weight}
    assert hidden_matrices(nn.Linear(2, 2), 7) and not hidden_matrices(nn.Linear(7, 2), 7)


def test_an_optimizer_gets_its_own_options_and_the_groups_it_asks_for(whole: Whole) -> None:
    config = optim(name="muon", muon=MuonConfig(momentum=0.5), adamw=AdamwConfig(), beta1=0.8, beta2=0.95, eps=1e-3)
    made = build_optimizer(whole, whole.model["trunk"], config)
    assert {one["momentum"] for one in made.param_groups if one["matrix"]} == {0.5}
    config.name = "adamw"
    made = build_optimizer(whole, whole.model["trunk"], config)
    assert type(made) is torch.optim.AdamW and not any("matrix" in one for one in made.param_groups)
    assert made.defaults["betas"] == (0.8, 0.95)
