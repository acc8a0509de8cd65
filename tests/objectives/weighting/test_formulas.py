"""Every weighting against its paper's formula, torch's Adam and a hand computation."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from llmtrain.config.sections.objective import Term, objective_schema
from llmtrain.objectives.weighting.base import Learned
from llmtrain.objectives.weighting.cosine_lambda import CosineLambda
from llmtrain.objectives.weighting.dwa import DynamicAverage
from llmtrain.objectives.weighting.famo import Famo
from llmtrain.objectives.weighting.gradnorm import GradNorm
from llmtrain.objectives.weighting.linear_lambda import LinearLambda
from llmtrain.objectives.weighting.micro_batches import Work, added
from llmtrain.objectives.weighting.pcgrad import projected
from llmtrain.objectives.weighting.two_stage import TwoStage
from llmtrain.objectives.weighting.uncertainty import Uncertainty

TERMS = (Term("mlm", 2.0), Term("select", 1.0), Term("summary", 0.5, of_task=True))
NAMES = [term.name for term in TERMS]



def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))



def weighting(kind: Any, **options: Any) -> Any:
    """One of three terms; ``options`` are keys of the objective section, a method's own in a dict."""
    config = objective_schema()(weighting=kind.name)
    for name, value in options.items():
        if isinstance(value, dict):
            for key, own in value.items():
                setattr(getattr(config, name), key, own)
        else:
            setattr(config, name, value)
    return kind(config, TERMS, 3)


def work(counts: tuple[float, ...] = (4, 4, 4), after: tuple[float, ...] = (0, 0, 0)) -> Any:
    return SimpleNamespace(step=0, counts=dict(zip(NAMES, counts, strict=True)),
                           rehearse=lambda: dict(zip(NAMES, after, strict=True)))


def losses(*values: float) -> dict[str, float]:
    return dict(zip(NAMES, values, strict=True))


@pytest.mark.parametrize(("kind", "share"), [(LinearLambda, lambda x: x),
                                             (CosineLambda, lambda x: (1 - math.cos(math.pi * x)) / 2)])
def test_lambda_goes_its_way(kind: Any, share: Any) -> None:
    made = weighting(kind, lam_start=2.0, lam_steps=4)
    for step in range(7):
        wanted = 2.0 + (0.5 - 2.0) * share(min(1.0, step / 4))
        assert made.weights(step) == pytest.approx({"mlm": 2.0, "select": 1.0, "summary": wanted})


def test_two_stages_meet_at_a_step_or_a_share() -> None:
    made = weighting(TwoStage, step={"steps": 3, "rest": 0.25})
    assert made.weights(2) == losses(2.0, 1.0, 0.0)
    assert made.weights(3) == losses(0.5, 0.25, 0.5)
    assert made.idle(2) == {"summary"} and made.idle(3) == frozenset()
    made = weighting(TwoStage, step={"steps": None, "share": 0.4, "rest": 0.0})
    made.total = 9
    assert [made.idle(step) for step in (3, 4)] == [{"summary"}, {"mlm", "select"}]


def test_dynamic_average_by_hand() -> None:
    made = weighting(DynamicAverage, dwa={"window": 2, "temperature": 1.5})
    # select counts in one step of the first window and in none of the second, the summary in one of the first
    seen = [((4, 2, 8), (4, 1, 0)), ((2, 9, 6), (4, 0, 4)), ((2, 9, 6), (4, 0, 4)), ((1, 9, 6), (4, 0, 4))]
    for values, counts in seen:
        assert made.weights(0) == losses(2.0, 1.0, 0.5)
        made.after(work(counts), losses(*values))
    ratios = [1.5 / 3, 0.0 / 2, 6.0 / 6.0]
    total = sum(math.exp(ratio / 1.5) for ratio in ratios)
    wanted = [lam * 3 * math.exp(ratio / 1.5) / total for lam, ratio in zip((2.0, 1.0, 0.5), ratios, strict=True)]
    assert list(made.weights(0).values()) == pytest.approx(wanted)
    for values in ((3, 1, 3), (3, 1, 3)):
        made.after(work(), losses(*values))
    ratios = [2.0, 1.0, 0.5]  # select had no mean to compare with
    total = sum(math.exp(ratio / 1.5) for ratio in ratios)
    wanted = [lam * 3 * math.exp(ratio / 1.5) / total for lam, ratio in zip((2.0, 1.0, 0.5), ratios, strict=True)]
    assert list(made.weights(0).values()) == pytest.approx(wanted)


def adam_first(value: list[float], gradient: list[float], lr: float, decay: float = 0.0) -> list[float]:
    parameter = torch.tensor(value, requires_grad=True)
    optimizer = torch.optim.Adam([parameter], lr=lr, weight_decay=decay)
    parameter.grad = torch.tensor(gradient)
    optimizer.step()
    return parameter.tolist()


def test_a_loss_below_one_still_has_a_ratio() -> None:
    made = weighting(DynamicAverage, dwa={"window": 1, "temperature": 1.0})
    made.after(work(), losses(0.5, 1.0, 1.0))
    made.after(work(), losses(1.0, 1.0, 1.0))
    shares = [math.exp(2.0), math.exp(1.0), math.exp(1.0)]
    assert list(made.weights(0).values()) == pytest.approx(
        [3 * lam * share / sum(shares) for lam, share in zip((2.0, 1.0, 0.5), shares, strict=True)])


def test_famo_is_the_gradient_of_its_objective() -> None:
    made = weighting(Famo, famo={"lr": 0.1, "decay": 0.01})
    before, after = (1.2, 0.4, 3.0), (1.0, 0.5, 2.9)
    z = torch.softmax(torch.log(torch.tensor([2.0, 1.0, 0.5])), 0).double()
    parts = [share / value for share, value in zip(z.tolist(), before, strict=True)]
    assert list(made.weigh(losses(*before), work().counts).values()) == pytest.approx(
        [part / sum(parts) for part in parts], rel=1e-6)
    gone = [parts[0], 0.0, parts[2]]
    assert list(made.weigh(losses(*before), work((4, 0, 4)).counts).values()) == pytest.approx(
        [part / sum(gone) for part in gone], rel=1e-6)
    xi = made.logit.value_K.detach().double().requires_grad_()
    fall = torch.tensor(before, dtype=torch.float64).log() - torch.tensor(after, dtype=torch.float64).log()
    (gradient,) = torch.autograd.grad((torch.softmax(xi, 0) * fall).sum(), xi)
    start = made.logit.value_K.tolist()
    given, real = [], made.logit.step
    made.logit.step = lambda found: (given.append(found.clone()), real(found))
    made.after(work(after=after), losses(*before))
    torch.testing.assert_close(given[0].double(), gradient, atol=1e-6, rtol=1e-6)
    assert made.logit.value_K.tolist() == pytest.approx(adam_first(start, gradient.tolist(), 0.1, 0.01), rel=1e-5)
    assert list(made.weights(1).values()) == pytest.approx([part / sum(parts) for part in parts], rel=1e-6)
    start = made.logit.value_K.tolist()
    made.after(work((4, 0, 4), after), losses(*before))
    made.after(work(after=(1.0, math.inf, 1.0)), losses(*before))
    assert made.logit.value_K.tolist() == start


def test_famo_takes_a_loss_of_nothing_for_its_least() -> None:
    made = weighting(Famo)
    found = made.weigh(losses(0.0, 1e-8, 1.0), work().counts)
    z = [2 / 3.5, 1 / 3.5, 0.5 / 3.5]
    parts = [z[0] / 1e-8, z[1] / 2e-8, z[2] / (1 + 1e-8)]
    assert list(found.values()) == pytest.approx([part / sum(parts) for part in parts], rel=1e-5)
    assert made.weigh(losses(1.0, 1.0, 1.0), work((0, 0, 0)).counts) == losses(0.0, 0.0, 0.0)
    given: list[Tensor] = []
    made.logit.step = given.append
    made.after(work(after=(0.0, 1.0, 1.0)), losses(1e-8, 1.0, 1.0))
    fall = torch.tensor([math.log(2), 0.0, 0.0], dtype=torch.float64)
    share = torch.tensor(z, dtype=torch.float64)
    torch.testing.assert_close(given[0], share * (fall - (share * fall).sum()), atol=1e-6, rtol=1e-6)
    made.load({"value": torch.tensor([3.0, 2.0, 1.0])}, {"current": losses(1.0, 2.0, 3.0)})
    assert made.logit.value_K.tolist() == [3.0, 2.0, 1.0] and made.weights(0) == losses(1.0, 2.0, 3.0)


def test_uncertainty_is_the_gradient_of_its_loss() -> None:
    made = weighting(Uncertainty, uncertainty={"lr": 0.05})
    assert list(made.weights(0).values()) == pytest.approx([2.0, 1.0, 0.5])
    s = made.log_variance.value_K.detach().clone().requires_grad_()
    values = torch.tensor([0.1, 3.0, 5.0])
    (gradient,) = torch.autograd.grad((torch.exp(-s) * values + s / 2)[[0, 2]].sum(), s)
    wanted = adam_first(s.tolist(), gradient.tolist(), 0.05)
    made.after(work((4, 0, 4)), losses(*values.tolist()))
    assert made.log_variance.value_K.tolist() == pytest.approx(wanted)


def test_gradnorm_by_hand() -> None:
    made = weighting(GradNorm, gradnorm={"lr": 0.05, "alpha": 0.7})
    made.norms = [2.0, 1.0, 4.0]
    made.after(work(), losses(4.0, 2.0, 1.0))  # the first: every rate is 1, so targets are the mean norm 7/3
    start = [2.0, 1.0, 0.5]
    moved = adam_first(start, [-1.0, -1.0, 8.0], 0.05)
    wanted = [3.5 * value / sum(moved) for value in moved]
    assert list(made.weights(0).values()) == pytest.approx(wanted, rel=1e-5)
    again = weighting(GradNorm, gradnorm={"lr": 0.05, "alpha": 0.7})
    again.first, again.norms = losses(4.0, 2.0, 1.0), [3.0, 2.2, 2.0]
    given, real = [], again.weight.step
    again.weight.step = lambda found: (given.append(found.clone()), real(found))
    again.after(work(), losses(2.0, 2.0, 0.25))
    assert given[0].tolist() == pytest.approx([3.0 / 2.0, -2.2 / 1.0, 2.0 / 0.5])
    rates = [0.5, 1.0, 0.25]
    targets = [2.4 * (rate / (1.75 / 3)) ** 0.7 for rate in rates]
    moved = adam_first(start, [math.copysign(norm / weight, norm - target) for norm, weight, target in
                               zip(again.norms, start, targets, strict=True)], 0.05)
    assert list(again.weights(0).values()) == pytest.approx([3.5 * value / sum(moved) for value in moved], rel=1e-5)
    strict = weighting(GradNorm, gradnorm={"alpha": 3.0})  # targets 2 * (1.5, 1.2, 0.3) ** 3
    strict.first, strict.norms, given = losses(1.0, 1.0, 1.0), [6.0, 3.0, 0.05], []
    strict.weight.step = given.append
    strict.after(work(), losses(1.5, 1.2, 0.3))
    targets = [9.05 / 3 * rate ** 3 for rate in (1.5, 1.2, 0.3)]
    assert [value > 0 for value in given[0].tolist()] == [norm > target for norm, target in
                                                          zip(strict.norms, targets, strict=True)]
    kept = again.weights(0)
    for norms, values in (([0.0, 1.0, 1.0], (1, 1, 1)), ([1.0, 1.0, 1.0], (1, 0, 1))):
        again.norms = norms
        again.after(work(), losses(*values))
        assert again.weights(0) == kept


def test_no_weight_of_gradnorm_falls_below_its_least_share() -> None:
    made = weighting(GradNorm, gradnorm={"lr": 10.0, "alpha": 1.0})
    made.norms = [9.0, 1.0, 1.0]
    made.after(work(), losses(1.0, 1.0, 1.0))
    values = made.weight.value_K
    assert values[0].item() == pytest.approx(3.5 * 1e-3 * 3.5 / (10.5 + 11.0 + 3.5e-3), rel=1e-3)
    assert values.sum().item() == pytest.approx(3.5)


def test_a_learnt_vector_is_adams_over_steps_and_a_stop() -> None:
    made, exact = Learned([1.0, -2.0], 0.1, 0.2), torch.tensor([1.0, -2.0], requires_grad=True)
    optimizer = torch.optim.Adam([exact], lr=0.1, weight_decay=0.2)
    for step in range(4):
        gradient = numbers(2, seed=step)
        exact.grad = gradient.clone()
        optimizer.step()
        made.step(gradient)
        other = Learned([0.0, 0.0], 0.1, 0.2)
        other.load(made.save())
        made = other
    torch.testing.assert_close(made.value_K.detach(), exact.detach())


@pytest.mark.parametrize("seed", range(4))
def test_projection_of_three_written_out(seed: int) -> None:
    given = numbers(3, 4, seed=seed).double()
    parts = [[g[:1], g[1:]] for g in given]
    found = torch.cat(projected(parts, torch.Generator().manual_seed(seed)))
    generator, total = torch.Generator().manual_seed(seed), torch.zeros(4, dtype=torch.float64)
    for index in range(3):
        left = given[index].clone()
        for other in torch.randperm(3, generator=generator).tolist():
            along = left @ given[other]
            if other != index and along < 0:
                left -= along / (given[other] @ given[other]) * given[other]
        total += left
    torch.testing.assert_close(found, total)


def test_a_steps_loss_is_each_terms_weighted_mean() -> None:
    module = SimpleNamespace(terms=dict.fromkeys(NAMES))
    made = Work(micro=[], step=0, counts=losses(4, 0, 10), module=module, wrapped=nn.Identity(), precision=None,
                accelerator=SimpleNamespace(device=torch.device("cpu"), num_processes=1))
    sums = {name: torch.tensor(value) for name, value in zip(NAMES, (2.0, 3.0, 5.0), strict=True)}
    assert made.loss(sums, losses(2.0, 1.0, 0.5)).item() == pytest.approx(2 * 2 / 4 + 3 / 1 + 0.5 * 5 / 10)
    stacked = [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0, 6.0])]
    assert made.means(stacked) == pytest.approx(losses(5 / 4, 7.0, 0.9))
    one = torch.ones(2)
    assert [None if x is None else x.tolist() for x in added([None, one, one, None], [None, None, one, one])] == [
        None, [1, 1], [2, 2], [1, 1]]
