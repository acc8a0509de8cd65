"""The optimizers' updates written out in fp64."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from llmtrain.optim.builders import adafactor, adam8bit, adamw
from llmtrain.optim.muon import Muon, MuonAdamW, build, orthogonalised
from llmtrain.optim.options import AdafactorConfig, Adam8bitConfig, AdamwConfig, MuonAdjust, MuonConfig

BETAS: Any = SimpleNamespace(beta1=0.8, beta2=0.95, eps=1e-3)
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan 2024
SHAPES = [(6, 3), (3, 6), (4, 4)]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gradients(*shape: int) -> list[Tensor]:
    return [numbers(*shape, seed=seed) * size for seed, size in ((11, 1.0), (12, 3.0), (13, 0.2))]


def near(one: Tensor, exact: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(one.detach().double(), exact, atol=tolerance, rtol=tolerance)


def adamw_written_out(start: Tensor, lr: float, decay: float) -> Tensor:
    weight, first, second = start.double(), torch.zeros(start.shape).double(), torch.zeros(start.shape).double()
    for step, gradient in enumerate(gradients(*start.shape), 1):
        first = BETAS.beta1 * first + (1 - BETAS.beta1) * gradient
        second = BETAS.beta2 * second + (1 - BETAS.beta2) * gradient.double() ** 2
        size = (second / (1 - BETAS.beta2 ** step)).sqrt() + BETAS.eps
        weight = weight * (1 - lr * decay) - lr * first / (1 - BETAS.beta1 ** step) / size
    return weight


def muon_written_out(start: Tensor, lr: float, decay: float, options: MuonConfig) -> Tensor:
    weight, mean, (rows, columns) = start.double(), torch.zeros(start.shape).double(), start.shape
    a, b, c = COEFFICIENTS
    for gradient in gradients(*start.shape):
        mean = options.momentum * mean + (1 - options.momentum) * gradient
        update = options.momentum * mean + (1 - options.momentum) * gradient if options.nesterov else mean
        u, s, v = torch.linalg.svd(update, full_matrices=False)
        s = s / (s ** 2).sum().sqrt()
        for _ in range(options.ns_steps):
            s = a * s + b * s ** 3 + c * s ** 5
        size = (math.sqrt(max(1.0, rows / columns)) if options.adjust is MuonAdjust.original
                else 0.2 * math.sqrt(max(rows, columns)))
        weight = weight * (1 - lr * decay) - lr * size * (u @ s.diag() @ v)
    return weight


def stepped(optimizer: torch.optim.Optimizer, *parameters: nn.Parameter) -> None:
    given = [gradients(*parameter.shape) for parameter in parameters]
    for row in zip(*given, strict=True):
        for parameter, gradient in zip(parameters, row, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()


def group(parameter: nn.Parameter, lr: float, decay: float, **more: Any) -> dict[str, Any]:
    return {"params": [parameter], "lr": lr, "weight_decay": decay, **more}


# Muon, and AdamW beside it


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", [MuonConfig(), MuonConfig(momentum=0.6, ns_steps=3), MuonConfig(nesterov=False),
                                     MuonConfig(adjust=MuonAdjust.original)], ids=str)
def test_muon_moves_matrices_and_adamw_the_rest_as_written_out(shape: tuple[int, int], options: MuonConfig) -> None:
    starts = numbers(*shape), numbers(5, seed=1), numbers(4, 3, seed=2)
    matrix, vector, table = (nn.Parameter(start.clone()) for start in starts)
    made = build([group(matrix, 0.05, 0.5, matrix=True), group(vector, 0.02, 0.0, matrix=False),
                  group(table, 0.03, 0.4, matrix=False)], BETAS, options)
    stepped(made, matrix, vector, table)
    near(matrix, muon_written_out(starts[0], 0.05, 0.5, options), 1e-4)
    near(vector, adamw_written_out(starts[1], 0.02, 0.0))
    near(table, adamw_written_out(starts[2], 0.03, 0.4))
    assert [bool(found.get("fused")) for found in made.param_groups] == [False, True, True]


@pytest.mark.parametrize("matrix", [True, False])
def test_one_of_the_two_alone(matrix: bool) -> None:
    start = numbers(4, 6)
    weight = nn.Parameter(start.clone())
    stepped(build([group(weight, 0.05, 0.5, matrix=matrix)], BETAS, MuonConfig()), weight)
    near(weight, muon_written_out(start, 0.05, 0.5, MuonConfig()) if matrix else adamw_written_out(start, 0.05, 0.5),
         1e-4)


def test_both_go_on_from_a_loaded_state_with_the_loaded_rates() -> None:
    def made(weight: nn.Parameter, bias: nn.Parameter, lr: float) -> torch.optim.Optimizer:
        return build([group(weight, lr, 0.1, matrix=True), group(bias, lr, 0.0, matrix=False)], BETAS, MuonConfig())

    weight, bias = nn.Parameter(numbers(4, 3)), nn.Parameter(numbers(3, seed=1))
    first = made(weight, bias, 0.05)
    stepped(first, weight, bias)
    copies = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())
    second = made(*copies, 9.0)
    second.load_state_dict(copy.deepcopy(first.state_dict()))  # torch shares the tensors
    stepped(first, weight, bias)
    stepped(second, *copies)
    assert torch.equal(weight, copies[0]) and torch.equal(bias, copies[1])


@pytest.mark.parametrize("shape", [(4, 3), (3,)])
def test_a_closure_is_called_once_with_gradients_and_its_loss_comes_back(shape: tuple[int, ...]) -> None:
    weight, idle = nn.Parameter(numbers(*shape)), nn.Parameter(numbers(*shape, seed=1))
    matrix, still, calls = len(shape) == 2, idle.detach().clone(), []

    def closure() -> float:
        loss = (weight ** 2).sum()
        loss.backward()
        calls.append(loss.item())
        return loss.item()

    made: list[torch.optim.Optimizer] = [MuonAdamW([group(weight, 0.1, 0.0, matrix=matrix),
                                                    group(idle, 0.1, 0.0, matrix=matrix)],
                                                   {"momentum": 0.9}, {})]
    made += [Muon([weight, idle], lr=0.1)] if matrix else []
    for optimizer in made:
        before = weight.detach().clone()
        assert optimizer.step(closure) == calls[-1]  # type: ignore[arg-type]
        assert not torch.equal(weight, before) and weight.requires_grad
        assert torch.equal(idle, still) and idle not in optimizer.state  # it has no gradient
        assert optimizer.step() is None  # type: ignore[func-returns-value]
    assert len(calls) == len(made)


def test_a_matrix_of_zeros_has_no_direction() -> None:
    assert torch.equal(orthogonalised(torch.zeros(3, 2), COEFFICIENTS, 5, 1e-7), torch.zeros(3, 2))
    tiny = orthogonalised(torch.eye(2) * 1e-9, (1.0, 0.0, 0.0), 1, 1e-7)
    near(tiny, torch.eye(2).double() * 1e-2, 1e-8)


def test_a_cpu_orthogonalises_16_bit_gradients_in_fp32() -> None:
    matrix = numbers(4, 3).bfloat16()
    found = orthogonalised(matrix, COEFFICIENTS, 5, 1e-7)
    assert found.dtype == torch.float32 and torch.equal(found, orthogonalised(matrix.float(), COEFFICIENTS, 5, 1e-7))


# The others, from our keys


def test_adamw_written_out() -> None:
    start = numbers(4, 3)
    weight = nn.Parameter(start.clone())
    made = adamw([group(weight, 0.05, 0.4)], BETAS, AdamwConfig())
    stepped(made, weight)
    near(weight, adamw_written_out(start, 0.05, 0.4))
    assert made.defaults["fused"]


@pytest.mark.parametrize("shape", [(4, 3), (5,)])
@pytest.mark.parametrize("options", [AdafactorConfig(), AdafactorConfig(beta2_decay=-0.5, min_scale=2.0, clip=1.1)],
                         ids=str)
def test_adafactor_written_out(shape: tuple[int, ...], options: AdafactorConfig) -> None:
    """Shazeer and Stern 2018, algorithms 4 and 5, with decoupled decay."""
    start, lr, decay = numbers(*shape), 0.05, 0.3
    weight = nn.Parameter(start.clone())
    stepped(adafactor([group(weight, lr, decay)], BETAS, options), weight)
    exact, second = start.double(), torch.zeros(shape).double()
    for step, gradient in enumerate(gradients(*shape), 1):
        scale = max(options.min_scale, exact.square().mean().sqrt().item()) * min(lr, step ** -0.5)
        kept = 1 - step ** options.beta2_decay
        second = kept * second + (1 - kept) * gradient.double() ** 2
        size = second
        if len(shape) == 2:
            rows, columns = second.mean(1), second.mean(0)
            size = rows.unsqueeze(1) * columns / rows.mean()
        update = gradient / size.sqrt()
        update = update / max(1.0, update.square().mean().sqrt().item() / options.clip)
        exact = exact * (1 - lr * decay) - scale * update
    near(weight, exact)


class Compiled(torch.optim.SGD):
    """Stands in for torchao's: its step is compiled."""

    made: dict[str, Any]
    runs: int

    def __init__(self, groups: Any, **options: Any) -> None:
        super().__init__([{"params": [nn.Parameter(torch.ones(2))]}], lr=0.1)
        self.made, self.runs = options, 0
        self.compiled = torch.compile(lambda x: x + 1, backend=self.backend)

    def backend(self, module: Any, _inputs: Any) -> Callable[..., Any]:
        self.runs += 1
        forward: Callable[..., Any] = module.forward
        return forward

    def step(self, closure: Any = None) -> Any:
        return float(self.compiled(torch.tensor(1.0 if closure is None else closure)))


@pytest.mark.parametrize(("option", "cuda", "compiled"), [
    (None, (False, False), False), (None, (True, False), False), (None, (True, True), True),
    (True, (False, False), True), (False, (True, True), False)])
def test_the_8_bit_update_is_compiled_where_all_is_on_cuda_or_asked(option: bool | None, cuda: tuple[bool, bool],
                                                                    compiled: bool, monkeypatch: pytest.MonkeyPatch,
                                                                    ) -> None:
    for name, holds in (("torchao", {}), ("torchao.optim", {"AdamW8bit": Compiled}),
                        ("torchao.optim.subclass_8bit", {"OptimState8bit": Tensor})):
        module = ModuleType(name)
        module.__dict__.update(holds)
        monkeypatch.setitem(sys.modules, name, module)
    groups: Any = [{"params": [SimpleNamespace(is_cuda=on)]} for on in cuda]
    made: Any = adam8bit(groups, BETAS, Adam8bitConfig(block_size=64, compile=option))
    assert made.made == {"betas": (0.8, 0.95), "eps": 1e-3, "block_size": 64}
    assert made.state_types == {"Tensor": Tensor}
    assert made.step() == 2.0 and made.step(4.0) == made.step(closure=4.0) == 5.0
    assert (made.runs > 0) == compiled
