"""The numbers of objectives, weightings, optimizers and scores against formulas from elsewhere or written out."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import combinations, pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rouge_score import rouge_scorer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import BertConfig

from llmtrain.config.choices import Language, References, ScheduleName
from llmtrain.config.objective import Term, objective_schema
from llmtrain.config.optim import ScheduleConfig
from llmtrain.config.schema import EvalConfig
from llmtrain.data.examples import Example
from llmtrain.data.loader import Context
from llmtrain.data.order import Order, Request, Requests
from llmtrain.evaluation.baselines import LENGTHS, best_lead_length, lead, oracle
from llmtrain.evaluation.bootstrap import interval, paired, resampled_means
from llmtrain.evaluation.evaluate import extras, intervals
from llmtrain.evaluation.rouge import Rouge
from llmtrain.heads.base import EncoderStates
from llmtrain.heads.extractive.choose import Selection, choose
from llmtrain.heads.extractive.config import ExtractiveHeadConfig
from llmtrain.objectives.base import Vocabulary
from llmtrain.objectives.clm import CausalLm, NextTokens
from llmtrain.objectives.denoise import Denoise, MaskSpans, _geometric, symmetric_kl
from llmtrain.objectives.mlm import MaskedLm, MaskTokens
from llmtrain.objectives.options import ClmConfig, DenoiseConfig, MlmConfig, SelectConfig
from llmtrain.objectives.select import ContentSelection
from llmtrain.objectives.weighting.base import Learned
from llmtrain.objectives.weighting.cosine import Cosine
from llmtrain.objectives.weighting.dwa import DynamicAverage
from llmtrain.objectives.weighting.famo import Famo
from llmtrain.objectives.weighting.gradnorm import GradNorm
from llmtrain.objectives.weighting.linear import Linear
from llmtrain.objectives.weighting.pcgrad import projected
from llmtrain.objectives.weighting.step import Step
from llmtrain.objectives.weighting.uncertainty import Uncertainty
from llmtrain.objectives.weighting.work import Work, added
from llmtrain.optim.average import WeightAverage
from llmtrain.optim.muon import orthogonalised, size_of
from llmtrain.optim.schedule import Schedule

TERMS = (Term("mlm", 2.0), Term("select", 1.0), Term("summary", 0.5))
NAMES = [term.name for term in TERMS]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Weightings


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


@pytest.mark.parametrize(("kind", "share"), [(Linear, lambda x: x),
                                             (Cosine, lambda x: (1 - math.cos(math.pi * x)) / 2)])
def test_lambda_goes_its_way(kind: Any, share: Any) -> None:
    made = weighting(kind, lam_start=2.0, lam_steps=4)
    for step in range(7):
        wanted = 2.0 + (0.5 - 2.0) * share(min(1.0, step / 4))
        assert made.weights(step) == pytest.approx({"mlm": 2.0, "select": 1.0, "summary": wanted})


def test_two_stages_meet_at_a_step_or_a_share() -> None:
    made = weighting(Step, step={"steps": 3, "rest": 0.25})
    assert made.weights(2) == losses(2.0, 1.0, 0.0)
    assert made.weights(3) == losses(0.5, 0.25, 0.5)
    assert made.idle(2) == {"summary"} and made.idle(3) == frozenset()
    made = weighting(Step, step={"steps": None, "share": 0.4, "rest": 0.0})
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


# Schedules and optimizers


def factors(name: str, total: int | None, steps: int, **options: Any) -> list[float]:
    schedule = Schedule(ScheduleConfig(name=ScheduleName(name), **options), total)
    return [schedule.factor(update, "head") for update in range(steps)]


def test_every_schedule_written_out() -> None:
    rise = [1 / 4, 2 / 4, 3 / 4]
    assert factors("linear", 8, 10, warmup_steps=3) == pytest.approx([*rise, 1, 0.8, 0.6, 0.4, 0.2, 0, 0])
    assert factors("cosine", 8, 10, warmup_steps=3) == pytest.approx(
        [*rise, *(0.5 * (1 + math.cos(math.pi * n / 5)) for n in range(6)), 0])
    assert factors("inverse_sqrt", None, 8, warmup_steps=3) == pytest.approx(
        [*rise, *(math.sqrt(3 / n) for n in range(3, 8))])
    assert factors("inverse_sqrt", None, 4, warmup_steps=0) == pytest.approx(
        [1, 1, math.sqrt(1 / 2), math.sqrt(1 / 3)])
    assert factors("noam", None, 9, warmup_steps=4) == pytest.approx([min(n ** -0.5, n / 8) for n in range(1, 10)])
    assert factors("noam", None, 3, warmup_steps=0) == pytest.approx([n ** -0.5 for n in range(1, 4)])
    assert factors("linear", 3, 4, warmup_steps=3) == pytest.approx([*rise, 0])
    assert factors("linear", 2, 2, warmup_steps=0) == pytest.approx([1, 0.5])


def test_a_cooldown_is_a_fifth_a_number_or_told_later() -> None:
    assert factors("constant_cooldown", 10, 12, warmup_steps=0) == pytest.approx([1] * 8 + [1, 0.5, 0, 0])
    assert factors("constant_cooldown", 20, 21, warmup_steps=0) == pytest.approx([*[1] * 17, 0.75, 0.5, 0.25, 0])
    assert factors("constant_cooldown", 4, 5, warmup_steps=0) == pytest.approx([1, 1, 1, 1, 0])
    assert factors("constant_cooldown", 6, 7, warmup_steps=0, cooldown_steps=4) == pytest.approx(
        [1, 1, 1, 0.75, 0.5, 0.25, 0])
    assert factors("constant_cooldown", 3, 4, warmup_steps=0, cooldown_steps=0) == pytest.approx([1, 1, 1, 0])
    timed = Schedule(ScheduleConfig(name=ScheduleName.constant_cooldown, warmup_steps=1), None)
    assert [timed.factor(n, "base") for n in (0, 1, 500)] == [0.5, 1, 1]
    timed.fix(10, 12)
    assert [timed.factor(n, "base") for n in (9, 10, 11, 12)] == [1, 1, 0.5, 0]


def test_only_a_cooldown_settles_where_it_starts() -> None:
    assert Schedule(ScheduleConfig(name=ScheduleName.linear), 10).cooldown_start is None


def test_the_base_warms_up_by_its_own_steps() -> None:
    schedule = Schedule(ScheduleConfig(name=ScheduleName.linear, warmup_steps=1, base_warmup_steps=3), 11)
    assert [schedule.factor(1, group) for group in ("head", "base")] == pytest.approx([1, 0.5])
    assert [schedule.factor(7, group) for group in ("head", "base")] == pytest.approx([0.4, 0.5])


def test_rates_are_set_on_numbers_and_tensors_and_the_top_layers_is_told() -> None:
    schedule = Schedule(ScheduleConfig(name=ScheduleName.linear, warmup_steps=0), 4)
    groups = [{"name": "base", "peak": 0.2, "lr": 0.0}, {"name": "base", "peak": 0.4, "lr": 0.0},
              {"name": "base", "peak": 0.1, "lr": 0.0}, {"name": "head", "peak": 1.0, "lr": torch.tensor(0.0)}]
    assert schedule.apply(SimpleNamespace(param_groups=groups), 1) == pytest.approx(  # type: ignore[arg-type]
        {"base": 0.3, "head": 0.75})
    assert [float(group["lr"]) for group in groups] == pytest.approx([0.15, 0.3, 0.075, 0.75])


def test_the_weights_average_is_torchs() -> None:
    layer = nn.Linear(3, 2)
    theirs = AveragedModel(layer, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    theirs.update_parameters(layer)  # torch's first update copies
    ours = WeightAverage(dict(layer.named_parameters()), 0.9)
    for seed in range(3):
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(numbers(*parameter.shape, seed=seed))
        ours.update()
        theirs.update_parameters(layer)
    live = {name: p.detach().clone() for name, p in layer.named_parameters()}
    for name, value in theirs.module.named_parameters():
        torch.testing.assert_close(ours.average[name], value.detach())
    ours.swap()
    for name, value in theirs.module.named_parameters():
        torch.testing.assert_close(dict(layer.named_parameters())[name].detach(), value.detach())
        assert torch.equal(ours.average[name], live[name])
    ours.restart()
    assert torch.equal(ours.average["weight"], layer.weight)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_newton_schulz_acts_on_singular_values_alone(shape: tuple[int, int]) -> None:
    matrix, (a, b, c) = numbers(*shape), (3.4445, -4.7750, 2.0315)
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / matrix.double().norm()
    for _ in range(3):
        s = a * s + b * s ** 3 + c * s ** 5
    torch.testing.assert_close(orthogonalised(matrix, (a, b, c), 3, 1e-7).double(), u @ s.diag() @ v, atol=1e-5,
                               rtol=1e-5)


@pytest.mark.parametrize(("rows", "columns", "original", "adamw"), [
    (8, 2, 2.0, 0.2 * math.sqrt(8)), (2, 8, 1.0, 0.2 * math.sqrt(8)), (3, 3, 1.0, 0.2 * math.sqrt(3))])
def test_the_size_of_muons_updates(rows: int, columns: int, original: float, adamw: float) -> None:
    shape = torch.Size((rows, columns))
    assert size_of(shape, "original") == pytest.approx(original)
    assert size_of(shape, "match_rms_adamw") == pytest.approx(adamw)


# Objectives


class Trunk(nn.Module):
    """A model whose trunk looks its tokens up, so that terms can be computed by hand."""

    hidden_size = 6

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(numbers(11, 6))

    @property
    def input_embedding_VD(self) -> Tensor:
        return self.table

    def encode(self, ids_BS: Tensor, mask_BS: Tensor, noise_BSD: Tensor | None = None) -> EncoderStates:
        hidden = self.table[ids_BS]
        return EncoderStates(hidden if noise_BSD is None else hidden + noise_BSD, mask_BS, ids_BS, self.table)


VOCABULARY: Any = Vocabulary(11, 4, frozenset(range(5)), torch.zeros(11, dtype=torch.bool))


def drawn(module: Any) -> Any:
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters(), 1):
            parameter.copy_(numbers(*parameter.shape, seed=seed))
    return module


def rows() -> dict[str, Tensor]:
    ids = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 9, 3, 0], [2, 5, 10, 9, 3]])
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "example_id": torch.tensor([1, 2, 3]),
            "labels": torch.tensor([[6, 7, 3], [9, 3, -100], [-100, -100, -100]])}


def test_content_selection_written_out() -> None:
    model, batch = Trunk(), rows()
    term = drawn(ContentSelection(model, SelectConfig(positive_weight=2.5), VOCABULARY, None))  # type: ignore[arg-type]
    states = model.encode(batch["input_ids"], batch["attention_mask"])
    exact, count = 0.0, 0
    for ids, summary in zip(batch["input_ids"].tolist()[:2], batch["labels"].tolist(), strict=False):
        for token in ids:
            if token > 4:
                score = model.table[token] @ term.scorer.weight[0] + term.scorer.bias[0]
                chance = 1 / (1 + math.exp(-score.item()))
                exact -= 2.5 * math.log(chance) if token in summary else math.log(1 - chance)
                count += 1
    assert term(model, states, batch, 0).item() == pytest.approx(exact, rel=1e-4)
    assert term.count(batch).item() == count == 5


@pytest.mark.parametrize(("step", "pretrained", "moves"), [(0, False, False), (1, False, False), (2, False, True),
                                                           (0, True, True)])
@pytest.mark.parametrize("shared", [True, False])
def test_masked_tokens_loss_is_cross_entropy(shared: bool, step: int, pretrained: bool, moves: bool) -> None:
    model, ids = Trunk(), torch.tensor([[2, 4, 6], [5, 8, 4]])
    term = drawn(MaskedLm(model, MlmConfig(shared_pass=shared, warm_steps=2), VOCABULARY, None))  # type: ignore[arg-type]
    term.pretrained = pretrained
    labels = torch.tensor([[-100, 7, -100], [5, -100, 9]])  # 3 of 6
    batch = {"mlm_input_ids": ids, "mlm_attention_mask": torch.ones_like(ids), "mlm_labels": labels}
    alone = term(model, model.encode(ids, ids), batch | {"mlm_labels": torch.where(labels == 7, 7, -100)}, step)
    none = term(model, model.encode(ids, ids), batch | {"mlm_labels": torch.full_like(labels, -100)}, step)
    assert alone.item() > 0 and none.item() == 0 and none.requires_grad
    seen = ids if shared else torch.zeros_like(ids)  # an own pass reads nothing of the shared one
    total = term(model, model.encode(seen, torch.ones_like(seen)), batch, step)
    hidden = F.layer_norm(F.gelu(F.linear(model.table[torch.tensor([4, 5, 4])], term.head.dense.weight,
                                          term.head.dense.bias)), (6,), term.head.norm.weight, term.head.norm.bias,
                          1e-12)
    exact = F.cross_entropy(hidden @ model.table.T + term.head.bias, torch.tensor([7, 5, 9]), reduction="sum")
    torch.testing.assert_close(total, exact)
    assert term.count(batch).item() == 3
    assert MaskedLm(model, MlmConfig(), VOCABULARY, None).pretrained is False  # type: ignore[arg-type]
    assert term.head.norm.eps == BertConfig().layer_norm_eps
    total.backward()
    assert (model.table.grad is not None) == moves


def test_a_fresh_masked_lm_head_starts_small() -> None:
    model = Trunk()
    model.hidden_size = 200
    torch.manual_seed(0)
    head = MaskedLm(model, MlmConfig(), VOCABULARY, None).head  # type: ignore[arg-type]
    assert head.dense.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert head.dense.bias.abs().sum().item() == head.bias.abs().sum().item() == 0


def test_content_selection_starts_small() -> None:
    model = Trunk()
    model.hidden_size = 5000
    torch.manual_seed(0)
    scorer = ContentSelection(model, SelectConfig(), VOCABULARY, None).scorer  # type: ignore[arg-type]
    assert scorer.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert scorer.bias.item() == 0


def test_whole_words_share_their_first_pieces_draw() -> None:
    continues = torch.zeros(40, dtype=torch.bool)
    continues[20:] = True
    vocabulary: Any = Vocabulary(40, 4, frozenset(range(5)), continues)
    source = torch.randint(0, 40, (60,), generator=torch.Generator().manual_seed(1))
    source[:3] = torch.tensor([25, 26, 7])  # pieces before any word
    open_S = source > 4
    made = MaskTokens(MlmConfig(mask_probability=0.5, whole_word=True), vocabulary)
    predicted, _ = made._choose(source, open_S, torch.Generator().manual_seed(9))
    draws = torch.rand(60, generator=torch.Generator().manual_seed(9))
    first = next(i for i in range(60) if not (continues[source[i]] and open_S[i]))
    for place in range(60):
        start = place
        while start > 0 and continues[source[start]] and open_S[start]:
            start -= 1
        start = max(start, first)
        assert predicted[place].item() == bool(draws[start] < 0.5 and open_S[place])


def test_a_shared_pass_masks_the_rows_that_are_read() -> None:
    made = MaskTokens(MlmConfig(shared_pass=True, fraction=0.0, mask_probability=1.0), VOCABULARY)
    batch = {**rows(), "labels": torch.full((3, 2), 6)}
    made(batch, Context(seed=0, epoch=0, step=0))  # type: ignore[arg-type]
    assert len(batch["mlm_labels"]) == 3
    assert torch.equal(batch["input_ids"], batch["mlm_input_ids"])
    assert (batch["mlm_labels"] != -100).sum() == (rows()["input_ids"] > 4).sum()
    apart = MaskTokens(MlmConfig(fraction=0.0, mask_probability=1.0), VOCABULARY)
    batch = rows()  # the third is a document alone, which always takes the pass
    apart(batch, Context(seed=0, epoch=0, step=0))  # type: ignore[arg-type]
    assert torch.equal(batch["input_ids"], rows()["input_ids"])
    assert batch["mlm_labels"].tolist() == [[-100, 5, 10, 9, -100]]
    dummy: Any = {**rows(), "dummy": True}
    apart(dummy, Context(seed=0, epoch=0, step=0))
    assert dummy["mlm_labels"].shape == dummy["mlm_input_ids"].shape == (0, 5)


def test_masks_are_drawn_from_the_epoch_or_for_documents_alone_the_step() -> None:
    made = MaskTokens(MlmConfig(fraction=1.0, mask_probability=0.5), Vocabulary(
        90, 4, frozenset(range(5)), torch.zeros(90, dtype=torch.bool)))
    ids = torch.randint(5, 90, (2, 60), generator=torch.Generator().manual_seed(2))

    def masks(epoch: int, step: int) -> Tensor:
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "example_id": torch.tensor([1, 2]),
                 "labels": torch.tensor([[7, -100], [-100, -100]])}
        made(batch, Context(seed=3, epoch=epoch, step=step))
        return batch["mlm_labels"]

    first, stepped, next_epoch = masks(0, 0), masks(0, 1), masks(1, 0)
    assert torch.equal(first[0], stepped[0]) and not torch.equal(first[1], stepped[1])
    assert not torch.equal(first[0], next_epoch[0]) and torch.equal(first[1], next_epoch[1])


def test_what_becomes_of_predicted_tokens() -> None:
    made = MaskTokens(MlmConfig(fraction=0.5, mask_probability=0.3), Vocabulary(
        1000, 4, frozenset(range(5)), torch.zeros(1000, dtype=torch.bool)))
    source = torch.randint(3, 1000, (400, 90), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(source)
    mask[:, 80:] = 0
    batch = {"input_ids": source, "attention_mask": mask, "example_id": torch.arange(400), "labels": source[:, :5]}
    made(batch, Context(seed=1, epoch=0, step=0))
    labels, shown = batch["mlm_labels"], batch["mlm_input_ids"]
    rows = len(labels)
    assert rows == pytest.approx(200, abs=30)
    original = torch.where(labels != -100, labels, shown)
    chosen = labels[:, :80] != -100
    assert chosen.float().mean().item() == pytest.approx(0.3, abs=0.012)
    assert (labels[:, 80:] == -100).all() and not (chosen & (original[:, :80] < 5)).any()
    now = shown[:, :80][chosen]
    assert (now == 4).float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert (now == labels[:, :80][chosen]).float().mean().item() == pytest.approx(0.1, abs=0.015)
    drawn = now[(now != 4) & (now != labels[:, :80][chosen])].float()
    assert drawn.mean().item() == pytest.approx(500, abs=45) and drawn.max() > 900 and drawn.min() < 100
    assert all((row == source).all(1).any() for row in original)


@pytest.mark.parametrize("size", [100, 2])
def test_next_tokens_loss_is_cross_entropy(size: int) -> None:
    model, batch = Trunk(), rows()
    NextTokens(ClmConfig(fraction=1.0))(batch, Context(seed=0, epoch=0, step=0))  # type: ignore[arg-type]
    assert batch["clm_labels"].tolist() == [[5, 6, 7, 3, -100], [8, 9, 3, -100, -100], [5, 10, 9, 3, -100]]
    term = CausalLm(model, ClmConfig(chunk_tokens=size), VOCABULARY, None)  # type: ignore[arg-type]
    states = model.encode(batch["input_ids"], batch["attention_mask"])
    total = term(model, states, batch, 0)
    exact = F.cross_entropy((model.table[batch["input_ids"]] @ model.table.T).mT, batch["clm_labels"], reduction="sum")
    torch.testing.assert_close(total, exact)
    torch.testing.assert_close(torch.autograd.grad(total, model.table)[0], torch.autograd.grad(exact, model.table)[0])
    assert term.count(batch).item() == 11


def test_rows_without_their_next_tokens_are_the_share_left() -> None:
    ids = torch.full((600, 4), 7)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "example_id": torch.arange(600)}
    NextTokens(ClmConfig(fraction=0.3))(batch, Context(seed=0, epoch=0, step=0))  # type: ignore[arg-type]
    taken = (batch["clm_labels"] != -100).sum(1)
    assert set(taken.tolist()) == {0, 3}
    assert (taken > 0).float().mean().item() == pytest.approx(0.3, abs=0.05)


def test_divergence_is_torchs_both_ways() -> None:
    one, two = torch.log_softmax(numbers(5, 7), 1), torch.log_softmax(numbers(5, 7, seed=1), 1)
    torch.testing.assert_close(symmetric_kl(one, two), F.kl_div(one, two, reduction="sum", log_target=True)
                               + F.kl_div(two, one, reduction="sum", log_target=True))


@pytest.mark.parametrize("noise", ["uniform", "normal"])
def test_prediction_under_noise_written_out(noise: str) -> None:
    model, ids = Trunk(), torch.tensor([[2, 4, 6, 7], [5, 8, 0, 0]])
    options = DenoiseConfig(mode="consistency", noise=noise, sigma=0.3, weight=0.7, warm_steps=0)
    term = drawn(Denoise(model, options, VOCABULARY, None))  # type: ignore[arg-type]
    batch = {"denoise_input_ids": ids, "denoise_attention_mask": (ids != 0).long(),
             "denoise_labels": torch.tensor([[-100, 7, -100, 9], [6, -100, -100, -100]]),
             "denoise_seed": torch.tensor([11, 12])}
    added = torch.zeros(2, 4, 6)
    for row, length in enumerate((4, 2)):
        generator = torch.Generator().manual_seed(11 + row)
        made = torch.rand if noise == "uniform" else torch.randn
        added[row, :length] = made(length, 6, generator=generator) * 0.3 * (2 if noise == "uniform" else 1)
        if noise == "uniform":
            added[row, :length] -= 0.3
    at, gold = torch.tensor([1, 3, 4]), torch.tensor([7, 9, 6])
    hidden = model.table[ids]
    clean, noisy = (torch.log_softmax(term.head(h.reshape(-1, 6)[at], model.table), 1)
                    for h in (hidden, hidden + added))
    kl = sum(F.kl_div(a, b, reduction="sum", log_target=True) for a, b in ((clean, noisy), (noisy, clean)))
    states = model.encode(torch.zeros_like(ids), torch.ones_like(ids))
    torch.testing.assert_close(term(model, states, batch, 0), F.nll_loss(clean, gold, reduction="sum") + 0.7 * kl)


def test_span_lengths_are_geometric() -> None:
    for mean in (1.0, 3.0, 4.5):
        found = [_geometric((n + 0.5) / 20_000, mean) for n in range(20_000)]
        share = 1 / mean
        assert min(found) == 1
        assert np.mean(found) == pytest.approx(mean, rel=0.01)
        assert Counter(found)[1] / 20_000 == pytest.approx(share, abs=1e-3)
        assert Counter(found)[2] / 20_000 == pytest.approx(share * (1 - share), abs=1e-3)


def test_spans_reach_the_share_in_the_mean() -> None:
    vocabulary: Any = Vocabulary(50, 4, frozenset(range(5)), torch.zeros(50, dtype=torch.bool))
    made = MaskSpans(MlmConfig(mask_probability=0.2), vocabulary, "denoise", 3, 2.5)
    source, found, runs = torch.arange(5, 18).repeat(500, 1), 0, []
    source[:, 6] = 3  # a special token, which no span crosses
    for row in range(500):
        predicted, kind = made._choose(source[row], source[row] > 4, torch.Generator().manual_seed(row))
        assert not predicted[6]
        found += int(predicted.sum())
        where = predicted.nonzero().squeeze(1).tolist()
        assert int(12 * 0.2) <= len(where) <= int(12 * 0.2) + 1
        runs += [kind[a].item() == kind[b].item() for a, b in pairwise(where) if b == a + 1]
    assert found / 500 == pytest.approx(12 * 0.2, abs=0.08)
    assert np.mean(runs) > 0.7  # neighbours are mostly of one span


# Order of rows


def test_rows_are_sorted_by_length_in_pools_and_steps_shuffled() -> None:
    lengths = np.array([5, 1, 9, 2, 8, 3, 7, 4, 6, 10, 12])
    order = Order(lengths, batch_size=2, bucket=2, seed=7)
    generator = np.random.Generator(np.random.PCG64([7, 3]))
    drawn = generator.permutation(11).tolist()
    steps = []
    for start in range(0, 11, 4):
        pool = sorted(drawn[start:start + 4], key=lambda row: lengths[row])
        steps += [pool[i:i + 2] for i in range(0, len(pool), 2)]
    assert order.steps_per_epoch == len(steps) == 6
    assert order.plan(3) == [steps[i] for i in generator.permutation(6)]
    plain = Order(lengths, batch_size=4, bucket=1, seed=7)
    generator = np.random.Generator(np.random.PCG64([7, 0]))
    drawn = generator.permutation(11).tolist()
    assert plain.plan(0) == [[drawn[0:4], drawn[4:8], drawn[8:]][i] for i in generator.permutation(3)]


def test_documents_alone_come_in_passes_of_their_own() -> None:
    order = Order(np.arange(1, 12), batch_size=4, bucket=1, seed=5, alone=5, share=0.5)  # rows 6 to 10 are alone
    assert (order.alone_a_step, order.steps_per_epoch) == (2, 3)
    endless = np.concatenate([np.random.Generator(np.random.PCG64([5, n, 1])).permutation(5) + 6 for n in range(5)])
    for epoch in range(4):
        wanted = endless[epoch * 6:(epoch + 1) * 6].tolist()
        steps = order.plan(epoch)
        assert Counter(row for step in steps for row in step if row >= 6) == Counter(wanted)
        assert sorted(row for step in steps for row in step if row < 6) == list(range(6))
        assert all(len([row for row in step if row >= 6]) == 2 for step in steps)
    for share, count in ((0.0, 1), (0.5, 2), (0.7, 3), (1.0, 3)):
        assert Order(np.arange(9), 4, 1, 0, alone=3, share=share).alone_a_step == count
    assert Order(np.arange(9), 4, 1, 0, share=0.5).alone_a_step == 0


def test_micro_batches_are_neighbours_in_length_and_the_longest_is_known() -> None:
    lengths = np.array([3, 9, 1, 7, 5, 2, 8, 4, 6])  # rows 6 to 8 are alone
    order = Order(lengths, batch_size=6, bucket=1, seed=0, alone=3, share=0.34)
    assert order.chunks([0, 1, 2, 3, 4, 6, 7, 8], 2) == [[2, 0, 4, 7], [3, 1, 6, 8]]
    assert order.chunks([0, 1, 2, 6, 7], 2) == [[2, 0, 7], [1, 6]]
    assert order.chunks([5, 3, 1, 6], 2) == [[5, 3], [1, 6]]
    assert order.longest(6) == [1, 3, 4, 0, 6, 8]
    assert order.longest(3) == [1, 3, 6]


def test_requests_go_on_from_any_step_for_every_process() -> None:
    order = Order(np.array([5, 1, 9, 2, 8, 3, 7, 4]), batch_size=4, bucket=1, seed=1)
    every: list[list[Request]] = []
    for rank in range(2):
        stream = iter(Requests(order, 2, rank, 2, 3))
        every.append([next(stream) for _ in range(6)])
    for micro in range(6):
        step = 3 + micro // 2
        rows = sorted(order.plan(step // 2)[step % 2], key=lambda row: order.lengths[row])
        for rank in range(2):
            found = every[rank][micro]
            assert (found.step, found.epoch) == (step, step // 2)
            assert found.rows == [rows[(micro % 2) * 2 + rank]]


# Scores


def example(document: str, *references: str) -> Example:
    return Example("0", document, references[0], references)


def test_resampled_means_and_their_interval_are_numpys() -> None:
    values = np.random.default_rng(1).normal(5, 2, 17)
    generator = np.random.default_rng(3)
    exact = np.concatenate([values[generator.integers(0, 17, (n, 17))].mean(1) for n in (100, 100, 50)])
    assert np.array_equal(resampled_means(values, 250, 3), exact)
    found = interval(values, 250, 3)
    ordered = np.sort(exact)
    for value, share in ((found.low, 0.025), (found.high, 0.975)):
        place = share * 249
        below = ordered[int(place)]
        assert value == pytest.approx(below + (place - int(place)) * (ordered[int(place) + 1] - below))
    assert found.value == pytest.approx(values.mean())
    assert interval(values, 250) == interval(values, 250, 0)
    none = interval(values, 0)
    assert none.low == none.value == none.high == pytest.approx(values.mean())
    single = interval(values, 1)
    assert single.low == single.high
    second = np.random.default_rng(2).normal(5, 2, 17)
    assert paired(values, second, 250, 3) == interval(values - second, 250, 3)
    with pytest.raises(ValueError, match="no values"):
        interval([])
    with pytest.raises(ValueError, match="same documents"):
        paired([1.0, 2.0], [1.0])


def test_scores_are_rouge_scores_own() -> None:
    theirs = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True)
    prediction, reference = "The cats sat down. A dog was running home.", "A cat sits down there. Dogs run home."
    exact = theirs.score(reference.replace(". ", ".\n"), prediction.replace(". ", ".\n"))
    row = example("d", reference)
    found = Rouge(Language.en, References.first, [row]).score(prediction, row)
    assert found == pytest.approx({name: 100 * value.fmeasure for name, value in exact.items()})
    config = EvalConfig(bootstrap_samples=50)
    assert intervals([found, found], config)["rouge2"].value == pytest.approx(found["rouge2"])


@pytest.mark.parametrize("rule", [References.first, References.mean, References.max])
def test_the_lead_is_as_long_as_scores_best(rule: References) -> None:
    words = [f"{letter}{letter}x" for letter in "abcdefghijklmnopqr"]
    rows = [example(" ".join(words), " ".join(words[:5]), " ".join([words[1], words[0], *words[2:8]])),
            example(" ".join(words[3:]), "ddx ffx eex jjx kkx", "ggx hhx")]
    rouge = Rouge(Language.en, rule, rows)
    totals = [sum(rouge.score(lead(row.document, length, "en"), row)["rouge1"] for row in rows) for length in LENGTHS]
    assert best_lead_length(rows, rouge) == LENGTHS[max(range(len(LENGTHS)), key=lambda i: (round(totals[i], 9), -i))]
    assert best_lead_length([], rouge) == 10
    assert lead("one two  three", 2, "en") == "one two"
    assert lead("abcdef", 2, "cjk") == "ab"


def test_the_oracle_adds_the_best_sentence_while_it_helps() -> None:
    texts = ["The red fox ran home.", "A blue bird sang.", "Nothing here fits at all.", "It was late in May."]
    row = example(" ".join(texts), "The fox ran home late in May")

    def score(chosen: tuple[int, ...]) -> float:
        total, target = 0.0, row.summary.lower().split()
        units = [texts[i].lower().rstrip(".").split() for i in chosen]
        for size in (1, 2):
            own = Counter(tuple(u[i:i + size]) for u in units for i in range(len(u) - size + 1))
            goal = Counter(tuple(target[i:i + size]) for i in range(len(target) - size + 1))
            total += 2 * (own & goal).total() / (own.total() + goal.total())
        return total

    best = max((c for n in range(1, 5) for c in combinations(range(4), n)), key=score)
    assert oracle(row, "other") == " ".join(texts[i] for i in best) == f"{texts[0]} {texts[3]}"
    assert oracle(example("Nothing fits. At all.", "Zebra"), "other") == ""


@pytest.mark.parametrize("seed", range(6))
def test_the_oracle_is_the_greedy_search_written_out(seed: int) -> None:
    draw = random.Random(seed)
    units = [[f"{letter}x" for letter in draw.choices("abcdefgh", k=5)] for _ in range(7)]
    target = [f"{letter}x" for letter in draw.choices("abcdefgh", k=12)]

    def score(chosen: list[int]) -> float:
        total = 0.0
        for size in (1, 2):
            own = Counter(tuple(units[n][i:i + size]) for n in chosen for i in range(6 - size))
            goal = Counter(tuple(target[i:i + size]) for i in range(13 - size))
            total += 2 * sum(min(count, goal[gram]) for gram, count in own.items()) / (own.total() + goal.total())
        return total

    chosen: list[int] = []
    while len(chosen) < 7:
        best = max((n for n in range(7) if n not in chosen), key=lambda n: (score([*chosen, n]), -n))
        if score([*chosen, best]) <= (score(chosen) if chosen else 0.0):
            break
        chosen.append(best)
    texts = [" ".join(sentence).capitalize() + "." for sentence in units]
    assert oracle(example(" ".join(texts), " ".join(target)), "other") == " ".join(texts[n] for n in sorted(chosen))


def test_lengths_repeats_and_novelty_by_hand() -> None:
    rows = [example("a b c d e", "a b c"), example("x y z", "x y z w")]
    found = extras(rows, ["a b c a b c q", " "], "other")
    # trigrams abc bca cab abc bcq: 1 of 5 again; unigrams: q of 7 is new; bigrams ab bc ca ab bc cq: 2 of 6 are new
    assert found == pytest.approx({"length_ratio": 7 / 7, "repeated_trigrams": 1 / 5, "novel_unigrams": 1 / 7,
                                   "novel_bigrams": 2 / 6, "empty_outputs": 1.0})
    assert extras([], [], "other")["length_ratio"] == 0.0


def test_sentences_are_chosen_by_number_chance_and_without_repeats() -> None:
    texts = ["one two three four", "five six", "zero one two three", "seven eight"]
    chances = [0.9, 0.3, 0.8, 0.5]
    assert choose(chances, texts, Selection(2), False) == [0, 2]
    assert choose(chances, texts, Selection(2), True) == [0, 3]
    assert choose(chances, texts, Selection(None, 0.5), False) == [0, 2, 3]
    assert choose(chances, texts, Selection(None, 0.51), False) == [0, 2]
    assert choose(chances, texts, Selection(3, 0.95), False) == [0]
    assert choose([0.3, 0.4, 0.1, 0.9], texts, Selection(3), False) == [0, 1, 3]
    assert choose([0.9, 0.8], ["one two three", "zero one two"], Selection(2), True) == [0, 1]  # two words are shared
    repeats = ["one two three", "four five six", "one two three", "four five six", "seven"]
    assert choose([0.9, 0.8, 0.7, 0.6, 0.5], repeats, Selection(3), True) == [0, 1, 4]
    assert choose([0.9, 0.8], ["a one two three", "one two three b"], Selection(2), True) == [0]
    assert choose([None, 0.3, 0.3, None], texts, Selection(1), False) == [1]
    assert choose([None] * 4, texts, Selection(1), True) == []


def test_what_validation_chooses_among() -> None:
    from llmtrain.heads.base import Sizes
    from llmtrain.heads.extractive.head import ExtractiveHead

    sizes = Sizes(6, 2, 10, 17, 8, 2)
    head = ExtractiveHead(ExtractiveHeadConfig(count=2, layers=0), sizes)
    assert head.candidates() == [Selection(1), Selection(2), *(Selection(2, t) for t in
                                                               (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5))]
    assert ExtractiveHead(ExtractiveHeadConfig(count=1, layers=0), sizes).candidates() == [Selection(1)]
    assert head.selection == Selection(2, 0.0)
    head.settle(Selection(None, 0.15))
    assert head.selection == Selection(None, 0.15)
    head.settle(Selection(1, 0.0625))
    assert head.selection == Selection(1, 0.0625)
    for select, wanted in (("count", Selection(2)), ("threshold", Selection(None, 0.4))):
        head = ExtractiveHead(ExtractiveHeadConfig(count=2, threshold=0.4, layers=0, select=select), sizes)
        assert head.selection == wanted
        assert head.candidates() == []
