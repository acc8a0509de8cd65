"""Every optimizer: its groups, an exact skip, and a state that comes back bitwise."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from helpers import environment, pairs, warm_cli, write_jsonl
from llmtrain import checkpoint, registry
from llmtrain.config import packages
from llmtrain.config.run_id import result_dict
from llmtrain.core.errors import CheckpointError, ConfigError
from llmtrain.optim.groups import depths, hidden_matrices
from llmtrain.optim.muon import Muon, orthogonalised
from llmtrain.training import resume, save
from llmtrain.training.optimizer_state import OptimizerPart
from running import Runs, copies, take
from stopping import stop_at

NEEDS_TORCHAO = pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is not installed")
NAMES = [pytest.param(part.name, marks=NEEDS_TORCHAO if part.name == "adam8bit" else ())
         for part in registry.parts("optimizer")]


@pytest.fixture
def make(tiny_base: Path, tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(tiny_base, tmp_path)
    yield runs
    runs.close()


def slots(run: Any) -> dict[str, Any]:
    """A copy of all optimizer state as it is saved."""
    tensors, data = OptimizerPart(run.optimization.optimizer).save()
    return {name: value.clone() for name, value in tensors.items()} | data


def alike(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(
        torch.equal(value, two[name]) if isinstance(value, torch.Tensor) else value == two[name]
        for name, value in one.items())


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(name: str, make: Any) -> None:
    run = make(f"optim={name}", "trainer.max_steps=12")
    losses = [result.losses["summary"] for result in take(run, 12)]
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_an_overflow_moves_neither_weights_nor_state(name: str, make: Any) -> None:
    run = make(f"optim={name}", "precision=fp16", "precision.init_scale=1024")
    take(run, 2)
    weights, state = copies(run), slots(run)
    handle = run.model.task_model.head.transform.weight.register_hook(lambda gradient: gradient * float("inf"))
    (result,) = take(run)
    handle.remove()
    assert result.skipped and run.state.progress.updates == 2
    assert alike(weights, copies(run)) and alike(state, slots(run))
    (result,) = take(run)
    assert not result.skipped
    assert not alike(weights, copies(run)) and not alike(state, slots(run))


@pytest.mark.parametrize("name", NAMES)
def test_its_state_comes_back_bitwise(name: str, make: Any) -> None:
    """Saved as safetensors and JSON, loaded into another run, and the next steps are the same."""
    overrides = (f"optim={name}", "precision=fp16", "precision.init_scale=1024", "optim.layer_decay=0.9",
                 "optim.adam8bit.block_size=32")
    run = make(*overrides)
    take(run, 3)
    save.save(run)
    state = slots(run)
    assert sum(isinstance(value, torch.Tensor) for value in state.values()) > 40
    other = make(*overrides, f"run.extend_from={run.folder.path}")
    start = resume.find_start(other.folder.path, other.config)
    assert start is not None
    resume.restore(other, start)
    assert alike(state, slots(other))
    for own, found in zip(take(run, 2), take(other, 2), strict=True):
        assert own.losses == found.losses and own.rates == found.rates
    assert alike(copies(run), copies(other)) and alike(slots(run), slots(other))


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_run_goes_on_bitwise(name: str, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       ) -> None:
    """Through the command: six steps straight, against stopped behind the third, with layers that still wait."""
    write_jsonl(tmp_path / "train.jsonl", pairs(40))
    write_jsonl(tmp_path / "validation.jsonl", pairs(4, 1))
    command = ["train", f"model.path={tiny_base}", "head.layers=1", "data=files", "run.name=run", "trainer.max_steps=6",
               f"data.train={tmp_path / 'train.jsonl'}", f"data.validation={tmp_path / 'validation.jsonl'}",
               f"data.cache_dir={tmp_path / 'cache'}", "data.max_test_rows=0", "data.max_source_tokens=32",
               "trainer.batch_size=8", "trainer.eval_every=6", "schedule.warmup_steps=2", "generation.max_new_tokens=4",
               "eval.bootstrap_samples=5", "eval.baselines=false", "head.dropout=0.1", f"optim={name}",
               "optim.layer_decay=0.9", "model.unfreeze_every=2", "optim.adam8bit.block_size=32"]
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    for folder in (straight, stopped):
        folder.mkdir()
    assert warm_cli(*command, cwd=straight).returncode == 0
    stop_at(monkeypatch, 3)
    assert warm_cli(*command, cwd=stopped).returncode == 143
    resumed = warm_cli(*command, cwd=stopped)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from step 3" in resumed.stdout
    for file in ("model/model.safetensors", "state/optimizer.safetensors"):
        one, two = (load_file(folder / "runs/run/checkpoints/step-6" / file) for folder in (straight, stopped))
        assert alike(one, two), file


def test_numbers_in_a_state_come_back_as_they_were(make: Any) -> None:
    """A plugin's optimizer may keep its counters as Python numbers."""
    run, other = make(), make()
    take(run)
    parameter = run.model.task_model.head.transform.weight
    run.optimization.optimizer.state[parameter] |= {"seen": 3, "scale": 0.1, "cached": None}
    tensors, data = OptimizerPart(run.optimization.optimizer).save()
    OptimizerPart(other.optimization.optimizer).load(tensors, json.loads(json.dumps(data)))
    found = other.optimization.optimizer.state[other.model.task_model.head.transform.weight]
    assert (found["seen"], found["scale"], found["cached"]) == (3, 0.1, None)
    assert torch.equal(found["exp_avg"], run.optimization.optimizer.state[parameter]["exp_avg"])


def test_the_state_of_another_optimizer_is_refused(make: Any) -> None:
    run = make("optim=adamw")
    take(run)
    part = OptimizerPart(run.optimization.optimizer)
    tensors, data = part.save()
    with pytest.raises(CheckpointError, match="unknown names"):
        part.load({"nobody/exp_avg": torch.zeros(2)}, data)
    name = next(iter(tensors))
    with pytest.raises(CheckpointError, match="belongs to another optim.name"):
        part.load({f"{name}/codes": torch.zeros(2)}, {"wrapped": {name: {"type": "Strange", "attributes": []}}})


@pytest.mark.parametrize(("before", "after"), [("adamw", "adam8bit"), ("muon", "adamw")])
def test_an_extension_keeps_the_optimizer(before: str, after: str, make: Any) -> None:
    run = make(f"optim={before}")
    take(run)
    save.save(run)
    config = make.config(f"optim={after}", f"run.extend_from={run.folder.path}")
    with pytest.raises(ConfigError, match=f"optim.name={before} and this run has {after}.*model.init_from"):
        resume.find_start(make.folder / "runs/longer", config)


@NEEDS_TORCHAO
def test_eight_bit_moments_are_small_and_saved_in_their_parts(make: Any) -> None:
    run = make("optim=adam8bit", "optim.adam8bit.block_size=32")
    take(run)
    save.save(run)
    parts, _ = checkpoint.load_parts(run.folder.path / "checkpoints/step-1", only="optimizer")
    tensors, data = parts["optimizer"]
    name = "model.trunk.embeddings.word_embeddings.weight/exp_avg"
    weight = run.model.task_model.trunk.embeddings.word_embeddings.weight
    assert weight.numel() >= 4096 and weight.numel() % 32 == 0  # torchao leaves others as they are
    assert tensors[f"{name}/codes"].dtype == torch.uint8 and tensors[f"{name}/scale"].shape == (weight.numel() // 32,)
    assert data["wrapped"][name] == {"type": "OptimState8bit", "attributes": [True, {"dtype": "float32"}]}


@NEEDS_TORCHAO
def test_what_torchao_says_of_other_devices_stays_off_the_terminal(tmp_path: Path) -> None:
    code = "from llmtrain.cli.main import main; main(['version']); from torchao.optim import AdamW8bit"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True,
                          cwd=tmp_path)
    assert done.stderr == ""


@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("shape", [(24, 64), (64, 24), (32, 32)])
def test_muon_on_the_cpu_is_torchs_in_fp32(shape: tuple[int, int], nesterov: bool, adjust: str) -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(shape), torch.randn(3, *shape)
    moved = []
    for maker in (Muon, torch.optim.Muon):
        weight = torch.nn.Parameter(start.clone())
        optimizer = maker([weight], lr=0.1, weight_decay=0.1, nesterov=nesterov, adjust_lr_fn=adjust)
        for gradient in gradients:
            weight.grad = gradient.clone()
            optimizer.step()
        assert list(optimizer.state[weight]) == ["momentum_buffer"]
        moved.append(weight.detach() - start)
    ours, torchs = moved
    assert (ours - torchs).norm() < 0.02 * torchs.norm()  # bf16 has 8 bits
    assert optimizer.step(lambda: 3.0) == Muon([weight], lr=0.1).step(lambda: 3.0) == 3.0
    exact = orthogonalised(gradients[0], (1.5, -0.5, 0.0), 40, 1e-7)  # the cubic iteration converges
    u, _, v = torch.linalg.svd(gradients[0], full_matrices=False)
    torch.testing.assert_close(exact, u @ v, atol=1e-4, rtol=0)


def test_muon_moves_hidden_matrices_alone_and_adamw_the_rest(make: Any) -> None:
    run = make("optim=muon", "head.tie_embeddings=false")
    before = copies(run)
    take(run)
    names = {p: name for name, p in run.model.module.named_parameters()}
    optimizer = run.optimization.optimizer
    by_muon = {names[p] for group in optimizer.param_groups if group["matrix"] for p in group["params"]}
    state = {name: set(optimizer.state[p]) for p, name in names.items() if optimizer.state.get(p)}
    assert {name for name, found in state.items() if found == {"momentum_buffer"}} == by_muon
    assert {name for name, found in state.items() if found == {"step", "exp_avg", "exp_avg_sq"}} == (
        set(names.values()) - by_muon)
    layer = "model.trunk.encoder.layer.1."
    assert {f"{layer}attention.self.query.weight", f"{layer}output.dense.weight", "model.head.transform.weight"
            } <= by_muon
    for other in ("model.trunk.embeddings.word_embeddings.weight", "model.head.positions.weight",
                  "model.head.gate.weight", "model.head.output.weight", f"{layer}output.dense.bias"):
        assert other not in by_muon
    weight = f"{layer}intermediate.dense.weight"  # 64 x 32
    rate = run.optimization.optimizer.param_groups[0]["lr"]
    step = (copies(run)[weight] - before[weight] * (1 - rate * run.config.optim.weight_decay)) / -rate
    values = torch.linalg.svdvals(step / (0.2 * 64 ** 0.5))
    assert int(((values > 0.5) & (values < 1.3)).sum()) >= 29  # of 32: orthogonalised, as far as five iterations go


def test_muon_leaves_the_output_onto_a_vocabulary_of_targets_to_adamw(make: Any) -> None:
    run = make("optim=muon", "head.tie_embeddings=false", "task=translation", "data.source=document",
               "data.target=summary", "data.target_vocabulary=300", "objective.base=none")
    moved = {name for group in run.optimization.optimizer.param_groups if group["matrix"]
             for name in group["param_names"]}
    assert "model.head.transform.weight" in moved
    assert not {"model.head.output.weight", "model.head.embedding.weight"} & moved


def test_one_group_for_a_rate_and_a_layer_decay_from_the_top(make: Any) -> None:
    run = make("optim.layer_decay=0.5", "schedule.warmup_steps=0")
    (result,) = take(run)
    rates = {name: group["lr"] for group in run.optimization.optimizer.param_groups for name in group["param_names"]}
    top, head = run.config.optim.base_lr, run.config.optim.head_lr
    for name, rate in rates.items():
        wanted = (head if not name.startswith("model.trunk.") else top if ".layer.1." in name else
                  top / 2 if ".layer.0." in name else top / 4)
        assert rate == pytest.approx(wanted), name
    assert result.rates == {"base": top, "head": head}
    assert len(run.optimization.optimizer.param_groups) == 2 * 4
    for group in run.optimization.optimizer.param_groups:
        assert {p.ndim >= 2 for p in group["params"]} == {group["weight_decay"] > 0}
    assert len(make().optimization.optimizer.param_groups) == 4


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_depths_and_hidden_matrices_of_each_kind_of_trunk(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoConfig, AutoModel

    sizes: dict[str, Any] = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                             "intermediate_size": 24, "max_position_embeddings": 20}
    trunk = AutoModel.from_config(AutoConfig.for_model(family, **sizes))
    stack = trunk.encoder.layer if family == "bert" else trunk.h if family == "gpt2" else trunk.layers
    monkeypatch.setattr("llmtrain.optim.groups.layers", lambda _trunk: list(stack))
    found, hidden = depths(trunk), hidden_matrices(trunk, 50)
    names = {p: name for name, p in trunk.named_parameters()}
    assert set(found) == set(names)
    assert {found[p] for p in stack[0].parameters()} == {1} and {found[p] for p in stack[1].parameters()} == {2}
    rest = {names[p]: depth for p, depth in found.items() if not any(p in set(layer.parameters()) for layer in stack)}
    assert all(depth == (0 if name.split(".")[0] in ("embeddings", "embed_tokens", "wte", "wpe") else 2)
               for name, depth in rest.items() if not name.startswith("pooler")), rest
    assert hidden == {p for layer in stack for p in layer.parameters() if p.ndim == 2} | {
        p for p, name in names.items() if name == "pooler.dense.weight"}


def test_a_missing_package_is_told_before_anything_is_read(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    monkeypatch.setattr("llmtrain.training.resolve.open_base", lambda *_: pytest.fail("the base was read"))
    with pytest.raises(ConfigError, match=r"needs the package torchao.*pip install 'llmtrain\[adam8bit\]'"):
        make("optim=adam8bit")
    assert not list(packages.missing_packages(make.config("optim=adamw")))


def test_everything_that_is_missing_for_a_start_is_told_at_once(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as caught:
        make("optim=adam8bit", "tuning=lora", "trainer.tracker=tensorboard", "trainer.device=cuda",
             "trainer.processes=2", "trainer.batch_size=2", "trainer.accumulate=2")
    told = (r"llmtrain\[tensorboard\]", r"llmtrain\[adam8bit\]", r"llmtrain\[lora\]", "no CUDA device",
            "2 processes were asked for and 1 run")
    assert len(caught.value.problems) == len(told)
    for line, expected in zip(caught.value.problems, told, strict=True):
        assert re.search(expected, line), line


def test_the_hash_holds_what_the_optimizer_reads(make: Any) -> None:
    plain, relative = (result_dict(make.config(f"optim={name}")) for name in ("adamw", "adafactor"))
    assert {"optim.beta1", "optim.beta2", "optim.eps"} <= plain.keys()
    assert not {"optim.beta1", "optim.beta2", "optim.eps"} & relative.keys()
    assert not [key for key in plain if key.startswith(("optim.adafactor.", "optim.muon.", "optim.adam8bit."))]
    assert {key for key in relative if key.startswith("optim.adafactor.")} == {
        f"optim.adafactor.{name}" for name in ("beta2_decay", "min_scale", "clip")}
