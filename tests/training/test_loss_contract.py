"""The loss contract through the real step: micro-batches, DDP over two processes, and lambda at its ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from running import Runs, copies, gradients, take, uneven
from two_processes import CASES, LIVELY, MOVING, PROBED, STILL, TRANSLATED, WEIGHTED, probed
from two_ranks import TOLERANCE, run_two_ranks


@pytest.fixture(scope="module")
def two(tiny_base_mlm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that two gloo processes wrote."""
    return run_two_ranks("two_processes.py", tiny_base_mlm, tmp_path_factory.mktemp("two"))


@pytest.fixture
def runs(tiny_base_mlm: Path, tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tiny_base_mlm, tmp_path, uneven(24))
    yield made
    made.close()


def one_process(runs: Runs, base: str, accumulate: int = 1) -> tuple[dict[str, torch.Tensor], list[float]]:
    run = runs(f"objective.base={base}", f"trainer.accumulate={accumulate}", *STILL)
    (result,) = take(run)
    return gradients(run), list(result.losses.values())


@pytest.mark.parametrize("base", ["select", "mlm", "denoise"])
def test_a_step_is_the_same_in_micro_batches_and_processes(base: str, runs: Runs, two: Path) -> None:
    """8 rows x 1 = 4 x 2 accumulated = 2 processes x 4 = 2 processes x 2 x 2."""
    whole, losses = one_process(runs, base)
    assert all(float(value.abs().sum()) > 0 for name, value in whole.items() if name.endswith("dense.weight"))
    found = {"accumulated": one_process(runs, base, 2)}
    for name in (name for name in CASES if name.startswith(base)):
        for rank in (0, 1):
            stored = load_file(two / f"{name}-{rank}.safetensors")
            found[f"{name} rank {rank}"] = stored, stored.pop("losses").tolist()
    assert len(found) == 5
    for how, (parts, own_losses) in found.items():
        assert own_losses == pytest.approx(losses, rel=1e-5), how
        assert parts.keys() == whole.keys()
        for name in whole:
            assert torch.allclose(whole[name], parts[name], **TOLERANCE), (how, name)


def test_targets_of_another_vocabulary_are_learnt_alike_on_two_processes(runs: Runs, two: Path) -> None:
    run = runs(*TRANSLATED, *STILL)
    take(run)
    whole = gradients(run)
    assert "model.head.embedding.weight" in whole
    for rank in (0, 1):
        parts = load_file(two / f"translated-{rank}.safetensors")
        assert parts.keys() == whole.keys()
        for name in whole:
            assert torch.allclose(whole[name], parts[name], **TOLERANCE), (rank, name)


def test_muon_and_unfreezing_on_two_processes_are_those_of_one(runs: Runs, two: Path) -> None:
    run = runs(*MOVING)
    start = copies(run)
    take(run, 2)
    alone = copies(run)
    first, second = (load_file(two / f"moved-{rank}.safetensors") for rank in (0, 1))
    apart = torch.cat([(first[name] - value).flatten() for name, value in alone.items()])
    whole = torch.cat([(value - start[name]).flatten() for name, value in alone.items()])
    assert float(apart.norm()) < 0.02 * float(whole.norm())  # Newton-Schulz runs in bf16
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    moved = {name for name, value in first.items() if not torch.equal(start[name], value)}
    assert any(".layer.1." in name for name in moved) and any(name.startswith("model.head.") for name in moved)
    assert not any(".layer.0." in name or name.startswith("model.trunk.embeddings") for name in moved)


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_weighting_on_two_processes_is_that_of_one(name: str, runs: Runs, two: Path) -> None:
    run = runs("objective.base=select", f"objective.weighting={name}", *WEIGHTED[name], *LIVELY)
    start, results = copies(run), take(run, 3)
    alone = copies(run)
    facts = json.loads((two / "facts-0.json").read_text())
    for one, other in zip(results, facts[name], strict=True):
        assert other == pytest.approx(list(one.weights.values()), rel=1e-3)
    if name != "pcgrad":
        assert len({tuple(weights) for weights in facts[name]}) > 1
    first, second = (load_file(two / f"{name}-{rank}.safetensors") for rank in (0, 1))
    apart = torch.cat([(first[key] - value).flatten() for key, value in alone.items()])
    whole = torch.cat([(value - start[key]).flatten() for key, value in alone.items()])
    assert float(whole.norm()) > 0
    assert float(apart.norm()) < 0.02 * float(whole.norm())  # Adam divides by what is nearly 0 here and there
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_a_probe_on_two_processes_is_that_of_one(runs: Runs, two: Path) -> None:
    alone = probed(runs(*PROBED))
    for rank in (0, 1):
        found = json.loads((two / f"facts-{rank}.json").read_text())["probe"]
        assert found.keys() == alone.keys() and len(found) > 10
        assert found == {name: pytest.approx(value, rel=2e-3, abs=1e-6) for name, value in alone.items()}


def test_what_two_processes_agree_on(two: Path) -> None:
    first, second = (json.loads((two / f"facts-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first["no_sync"] == {name: int(name.endswith("2")) for name in CASES}  # all but the last micro-batch
    assert first["stop"] == 15
    assert first["skipped"] and first["blame"] == "its loss is not finite (term summary, rows u3)"
    assert first["running"] == "fp32"  # rank 0 measured bf16 as slow, rank 1 as fast
    assert "the processes read different data" in first["data"] and "\n" not in first["data"]


def trunk(found: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.flatten() for name, value in found.items() if name.startswith("model.trunk.")])


@pytest.mark.parametrize("base", ["select", "mlm", "denoise"])
def test_lambda_zero_is_the_base_term_alone(base: str, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    joint = runs(f"objective.base={base}", "objective.lam=0", *STILL)
    take(joint)
    alone = runs(f"objective.base={base}", *STILL)
    monkeypatch.setattr(type(alone.optimization.step.weighting), "weights", lambda self, step: {base: 1.0})
    take(alone)
    one, two = trunk(gradients(joint)), trunk(gradients(alone))
    assert float(two.norm()) > 0
    assert torch.allclose(one, two, atol=1e-8, rtol=1e-6)
    head = [value for name, value in gradients(joint).items() if name.startswith("model.head.")]
    assert all(float(value.abs().max()) == 0 for value in head)


def test_a_very_large_lambda_is_the_summary_alone(runs: Runs) -> None:
    """Clipping takes the common factor away: the same gradients, and so the same updates of trunk and head."""
    moved, found = [], []
    for overrides in (("objective.base=select", "objective.lam=1e9"), ("objective=summary_only",)):
        run = runs(*overrides, "optim.clip_norm=1", "trainer.bucket=1", "optim.eps=1e-4")
        before = copies(run)
        take(run, 3)
        after = copies(run)
        found.append(gradients(run))
        moved.append(torch.cat([(after[n] - before[n]).flatten() for n in sorted(after) if n.startswith("model.")]))
    assert float(moved[1].norm()) > 1e-3
    assert float((moved[0] - moved[1]).norm() / moved[1].norm()) < 1e-3
    assert torch.allclose(trunk(found[0]), trunk(found[1]), atol=1e-5, rtol=1e-2)


def test_the_terms_pull_the_trunk_apart(runs: Runs) -> None:
    """Else the two tests above could not tell one term from the other."""
    found: list[Any] = []
    for lam in ("0", "1e9"):
        run = runs("objective.base=select", f"objective.lam={lam}", *STILL)
        take(run)
        found.append(trunk(gradients(run)))
    assert float(torch.nn.functional.cosine_similarity(found[0], found[1], dim=0)) < 0.9


def test_a_base_alone_gives_every_trained_parameter_a_gradient(runs: Runs, tiny_base: Path) -> None:
    """Also while a fresh masked-LM head learns alone, and where no row is masked: DDP waits for each of them."""
    runs.base = tiny_base  # without a masked-LM head
    for fraction in ("1", "0"):
        run = runs("objective=base_only", "objective.base=mlm", "objective.mlm.warm_steps=5",
                   f"objective.mlm.fraction={fraction}")
        take(run)
        trained = {name for name, parameter in run.model.module.named_parameters() if parameter.requires_grad}
        assert gradients(run).keys() == trained
        assert all(float(value.abs().max()) == 0 for name, value in gradients(run).items()
                   if name.startswith("model.trunk.")), "a fresh head must not move the base"


def test_presumm_moves_the_base_by_its_own_slower_schedule(runs: Runs) -> None:
    """Liu and Lapata 2019: rate x min(step^-0.5, step x warmup^-1.5), 0.002 and 20,000 for the base, 0.1 and 10,000."""
    run = runs("optim=presumm", "schedule.warmup_steps=10000")
    start, results = copies(run), take(run, 2)
    for step, result in enumerate(results, start=1):
        assert result.rates["base"] == pytest.approx(0.002 * step * 20000 ** -1.5, rel=1e-6)
        assert result.rates["head"] == pytest.approx(0.1 * step * 10000 ** -1.5, rel=1e-6)
    moved = {name: float((value - start[name]).abs().max()) for name, value in copies(run).items()}
    base, head = (max(value for name, value in moved.items() if name.startswith(f"model.{part}."))
                  for part in ("trunk", "head"))
    assert 0 < base < head
