"""Terms at their edges: nothing or one token to predict, padding, stand-in batches, 16-bit states."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.objectives.test_formulas import Trunk, numbers
from tests.objectives.test_formulas_draws import VOCABULARY, batch
from torch import Tensor, nn
from torch.nn import functional as F

from llmtrain.data.loader import Context
from llmtrain.objectives.base import Vocabulary, connected_zero
from llmtrain.objectives.clm import CausalLm, NextTokens
from llmtrain.objectives.content_selection import ContentSelection
from llmtrain.objectives.denoise import Denoise
from llmtrain.objectives.mlm import MaskedLm, MaskTokens
from llmtrain.objectives.options import ClmConfig, DenoiseConfig, MlmConfig, SelectConfig

SMALL: Any = Vocabulary(11, 4, frozenset(range(5)), torch.zeros(11, dtype=torch.bool))
CONTEXT = Context(seed=3, epoch=1, step=8)


class Once(Trunk):
    """A trunk that tells how often it was run."""

    runs = 0

    def encode(self, ids_BS: Tensor, mask_BS: Tensor, noise_BSD: Tensor | None = None,
               segments_BS: Tensor | None = None) -> Any:
        self.runs += 1
        return super().encode(ids_BS, mask_BS, noise_BSD)


def test_a_zero_has_a_gradient_for_every_trained_parameter_and_no_other() -> None:
    module = nn.ModuleList([nn.Linear(2, 3), nn.Linear(3, 1)])
    module[0].bias.requires_grad_(False)
    zero = connected_zero(module, torch.ones(2, dtype=torch.bfloat16))
    assert zero.item() == 0 and zero.dtype == torch.float32 and zero.shape == ()
    zero.backward()
    for name, parameter in module.named_parameters():
        assert (parameter.grad is None) == (name == "0.bias")
        assert parameter.grad is None or not parameter.grad.any()


@pytest.mark.parametrize("kind", ["mlm", "clm", "denoise", "consistency"])
def test_no_token_costs_no_pass_and_one_token_counts(kind: str) -> None:
    model, ids = Once(), torch.tensor([[5, 6, 7], [8, 9, 10]])
    states = Trunk.encode(model, ids, torch.ones_like(ids))
    made: dict[str, Any] = {
        "mlm": lambda: MaskedLm(model, MlmConfig(warm_steps=0), SMALL, None),  # type: ignore[arg-type]
        "clm": lambda: CausalLm(model, ClmConfig(), SMALL, None),  # type: ignore[arg-type]
        "denoise": lambda: Denoise(model, DenoiseConfig(warm_steps=0), SMALL, None),  # type: ignore[arg-type]
        "consistency": lambda: Denoise(model, DenoiseConfig(mode="consistency", warm_steps=0),  # type: ignore[arg-type]
                                       SMALL, None)}
    term = made[kind]()
    none, one = torch.full((2, 3), -100), torch.full((2, 3), -100)
    one[1, 1] = 6

    def loss(labels: Tensor) -> Tensor:
        given = {f"{term.name}_labels": labels, f"{term.name}_input_ids": ids,
                 f"{term.name}_attention_mask": torch.ones_like(ids), "denoise_seed": torch.tensor([1, 2])}
        found: Tensor = term(model, states, given, 0)
        return found

    assert loss(none).item() == 0 and model.runs == 0
    hidden = model.table[9] if kind == "clm" else term.head(model.table[9:10], model.table)[0]
    logits = model.table @ hidden if kind == "clm" else hidden
    assert loss(one).item() == pytest.approx(F.cross_entropy(logits, torch.tensor(6)).item(), rel=1e-3)


def test_a_stand_in_batch_predicts_nothing_and_keeps_its_documents() -> None:
    for transform, key in ((NextTokens(ClmConfig()), "clm_labels"),
                           (MaskTokens(MlmConfig(shared_pass=True), VOCABULARY), "mlm_labels")):
        made: Any = batch(2, 4) | {"dummy": True}
        transform(made, CONTEXT)
        assert (made[key] == -100).all()
        assert torch.equal(made["input_ids"], batch(2, 4)["input_ids"])


def test_noise_is_added_to_no_padding() -> None:
    term = Denoise(Trunk(), DenoiseConfig(mode="consistency", sigma=0.5), SMALL, None)  # type: ignore[arg-type]
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    noise = term._noise(torch.tensor([1, 2]), mask, 4)
    assert torch.equal((noise != 0).any(2), mask.bool()) and 0.2 < noise.abs().max() <= 0.5


def test_predictions_and_scores_of_16_bit_states_are_fp32() -> None:
    model: Any = Trunk().bfloat16()
    term = MaskedLm(model, MlmConfig(), SMALL, None).bfloat16()
    assert term.predict(model, numbers(2, 3, 6).bfloat16(), torch.tensor([1, 4]), 0).dtype == torch.float32
    chosen = ContentSelection(model, SelectConfig(), SMALL, None).bfloat16()
    ids = torch.tensor([[5, 6, 7]])
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([[6]])}
    logits = chosen.scorer(model.encode(ids, ids).hidden_BSD).squeeze(-1)
    exact = F.binary_cross_entropy_with_logits(logits.double(), (ids == 6).double(), reduction="sum").item()
    assert chosen(model, model.encode(ids, ids), given, 0).item() == pytest.approx(exact, rel=1e-6)


def test_selection_scores_no_padding_whatever_its_id_and_keeps_its_layer_alone() -> None:
    term = ContentSelection(Trunk(), SelectConfig(), SMALL, None)  # type: ignore[arg-type]
    ids = torch.tensor([[5, 6, 7], [8, 9, 9]])
    given = {"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 1], [1, 0, 0]]),
             "labels": torch.tensor([[6, 3], [8, 3]])}
    assert term.count(given).item() == 4
    assert set(term.state_dict()) == {"scorer.weight", "scorer.bias"}
