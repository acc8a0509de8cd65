"""The gradients that each weighting leaves behind a step, against autograd over a loss written out in fp64."""

from __future__ import annotations

import contextlib
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.objectives.weighting.test_formulas import NAMES, losses, numbers, weighting
from torch import Tensor, nn

from llmtrain.nn.dropout import Dropout
from llmtrain.objectives.weighting.famo import Famo
from llmtrain.objectives.weighting.fixed import Fixed
from llmtrain.objectives.weighting.gradnorm import GradNorm
from llmtrain.objectives.weighting.micro_batches import Work
from llmtrain.objectives.weighting.pcgrad import STREAM, PcGrad

SCALE = 8.0  # the loss scaler's
COUNTS = losses(4.0, 2.0, 5.0)


class Module(nn.Module):
    """Three terms over a trunk of one vector, each with a vector of its own; the second needs no trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.terms = dict.fromkeys(NAMES)
        self.model = nn.Module()
        self.model.trunk = nn.Linear(3, 1, bias=False).double()
        self.own = nn.ParameterList([nn.Parameter(numbers(3, seed=n).double()) for n in range(3)])
        with torch.no_grad():
            self.model.trunk.weight.copy_(numbers(1, 3, seed=9))

    def forward(self, batch: Tensor, step: int, idle: frozenset[str] = frozenset()) -> dict[str, Tensor]:
        shared = self.model.trunk.weight[0]  # type: ignore[index,union-attr]
        sums = [((shared * x - own) ** 2).sum() if name != "select" else (own ** 2 * x).sum() ** 2 + 0.5
                for name, own, x in zip(NAMES, self.own, batch, strict=True)]
        return {name: value * 0 if name in idle else value for name, value in zip(NAMES, sums, strict=True)}


class OwnWork(Work):
    def last_layer(self) -> list[nn.Parameter]:
        return self.trunk()


def work(module: Module, parts: int) -> Work:
    batches: Any = [numbers(3, 3, seed=20 + n).double() for n in range(parts)]
    scaler = SimpleNamespace(scale=lambda loss: loss * SCALE, get_scale=lambda: SCALE)
    return OwnWork(micro=batches, step=2, counts=COUNTS, module=module, wrapped=module, precision=SimpleNamespace(
        autocast=contextlib.nullcontext, scaler=scaler), accelerator=SimpleNamespace(  # type: ignore[arg-type]
            device=torch.device("cpu"), num_processes=1))


def means(made: Work) -> dict[str, Tensor]:
    every = [made.module(batch, 0) for batch in made.micro]
    return {name: sum(sums[name] for sums in every) / COUNTS[name] for name in NAMES}


def check(made: Work, weights: dict[str, float]) -> None:
    """``.grad`` is the scaled gradient of the weighted means."""
    total = sum(weights[name] * value for name, value in means(made).items())
    parameters = made.trained()
    for parameter, exact in zip(parameters, torch.autograd.grad(total, parameters), strict=True):
        torch.testing.assert_close(parameter.grad, SCALE * exact)


@pytest.mark.parametrize("parts", [1, 2])
def test_fixed_weights_give_the_gradient_of_the_weighted_means(parts: int) -> None:
    made = work(Module(), parts)
    assert weighting(Fixed).backward(made) == losses(2.0, 1.0, 0.5)
    check(made, losses(2.0, 1.0, 0.5))


@pytest.mark.parametrize("parts", [1, 2])
def test_famo_gives_the_gradient_of_its_own_weights(parts: int) -> None:
    made = work(Module(), parts)
    share = [z / value.item() for z, value in zip((2.0, 1.0, 0.5), means(made).values(), strict=True)]
    weights = weighting(Famo).backward(made)
    assert list(weights.values()) == pytest.approx([value / sum(share) for value in share], rel=1e-5)
    check(made, weights)


@pytest.mark.parametrize("parts", [1, 2])
def test_gradnorm_sees_the_unscaled_norm_of_each_term_on_the_last_layer(parts: int) -> None:
    made, found = work(Module(), parts), weighting(GradNorm)
    assert found.backward(made) == losses(2.0, 1.0, 0.5)
    check(made, losses(2.0, 1.0, 0.5))
    trunk = made.trunk()[0]
    exact = {name: 0.0 if name == "select" else (lam * torch.autograd.grad(means(made)[name], trunk)[0]).norm().item()
             for name, lam in zip(NAMES, (2.0, 1.0, 0.5), strict=True)}
    assert found.norms == pytest.approx(list(exact.values()))


def test_a_norm_that_is_not_finite_is_seen_by_the_step() -> None:
    module = Module()
    made = work(module, 1)
    module.model.trunk.register_full_backward_hook(lambda *_: None)
    made.micro[0][0] *= math.inf
    weighting(GradNorm).backward(made)
    assert any(bool(torch.isinf(p.grad).all()) for p in module.parameters() if p.grad is not None)


@pytest.mark.parametrize("parts", [1, 2])
def test_pcgrad_projects_on_the_base_alone(parts: int) -> None:
    made, found = work(Module(), parts), weighting(PcGrad)
    assert found.backward(made) == losses(2.0, 1.0, 0.5)
    trunk, lams = made.trunk()[0], (2.0, 1.0, 0.5)
    own = [torch.zeros_like(trunk) if name == "select" else SCALE * lam * torch.autograd.grad(
        means(made)[name], trunk)[0] for name, lam in zip(NAMES, lams, strict=True)]
    generator = torch.Generator().manual_seed(hash((3, 2, STREAM)) % 2 ** 63)
    total = torch.zeros_like(trunk)
    for index in range(3):
        left = own[index].clone()
        for other in torch.randperm(3, generator=generator).tolist():
            if other != index and (left * own[other]).sum() < 0:
                left = left - (left * own[other]).sum() / (own[other] ** 2).sum() * own[other]
        total += left
    torch.testing.assert_close(trunk.grad, total)
    for name, lam, parameter in zip(NAMES, lams, made.module.own, strict=True):
        torch.testing.assert_close(parameter.grad, SCALE * lam * torch.autograd.grad(means(made)[name], parameter)[0])


def test_dropout_multiplies_what_it_is_given_in_both_passes() -> None:
    layer, x = Dropout(0.5), numbers(40, 6).requires_grad_()
    made = layer(x)
    kept = made != 0
    torch.testing.assert_close(made, 2 * x * kept)
    upstream = numbers(40, 6, seed=1)
    torch.testing.assert_close(torch.autograd.grad(made, x, upstream)[0], 2 * upstream * kept)
    assert 60 < kept.sum() < 180
    assert not Dropout(1.0)(x).any()
