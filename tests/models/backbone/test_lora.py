"""Low-rank adapters: what is trained, merging, publishing, stopping and going on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers import SOURCE, make_tiny_base, pairs, run_cli, warm_cli, write_jsonl
from llmtrain.config.choices import TuningName
from llmtrain.config.load import load_config
from llmtrain.config.run_id import result_dict, run_hash
from llmtrain.config.sections.model import ModelConfig
from llmtrain.config.sections.tuning import TuningConfig
from llmtrain.core.errors import ConfigError
from llmtrain.models.backbone.lora import adapted_layers, add_adapters, load_plain, merged_state
from llmtrain.models.backbone.pretrained import load_trunk, open_base
from llmtrain.training.checkpoint_averaging import load_mean
from llmtrain.training.save import save
from running import Runs, copies, take
from stopping import same, same_tensors, stop_at

LORA = TuningConfig(name=TuningName.lora, rank=4)


def trunk_of(base: Path) -> torch.nn.Module:
    return load_trunk(open_base(ModelConfig(path=str(base))))  # type: ignore[no-any-return]


def stirred(trunk: torch.nn.Module) -> torch.nn.Module:
    """Adapters that add something."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for layer in adapted_layers(trunk).values():
            layer.lora_B["default"].weight.copy_(torch.randn(layer.lora_B["default"].weight.shape,
                                                             generator=generator) * 0.1)
    return trunk.eval()


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "gpt2", "llama"])
def test_merged_weights_compute_what_adapters_do(family: str, tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path / family, family)
    plain, adapted = trunk_of(base).eval(), trunk_of(base)
    before = plain.state_dict()
    add_adapters(adapted, LORA)
    ids = torch.randint(5, 100, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        start = plain(input_ids=ids).last_hidden_state
        torch.testing.assert_close(adapted.eval()(input_ids=ids).last_hidden_state, start)  # a new adapter adds nothing
        wanted = stirred(adapted)(input_ids=ids).last_hidden_state
        assert (wanted - start).abs().max() > 0.01
        merged = merged_state(adapted)
        assert merged is not None
        assert merged.keys() == before.keys()
        plain.load_state_dict(merged)
        torch.testing.assert_close(plain(input_ids=ids).last_hidden_state, wanted)
        load_plain(adapted, merged)  # merged weights back under adapters: not added twice
        torch.testing.assert_close(adapted(input_ids=ids).last_hidden_state, wanted)
    assert len(adapted_layers(adapted)) == {"gpt2": 8, "llama": 14}.get(family, 12)


def test_targets_choose_layers_and_unknown_ones_are_told(tiny_base: Path) -> None:
    trunk = trunk_of(tiny_base)
    said = add_adapters(trunk, TuningConfig(name=TuningName.lora, rank=2, targets=["query", "value"]))
    assert {name.rpartition(".")[2] for name in adapted_layers(trunk)} == {"query", "value"}
    assert "beside 4 linear layers, 512 parameters" in said
    with pytest.raises(ConfigError, match="names q_proj, which is no linear layer of a bert base; choose from dense"):
        add_adapters(trunk_of(tiny_base), TuningConfig(name=TuningName.lora, targets=["q_proj"]))


@pytest.mark.parametrize("options", [("precision=fp32", "probe.every=1"), ("precision=bf16", "tuning.dropout=0.1"),
                                     ("precision=fp16", "objective.weighting=gradnorm", "trainer.accumulate=2"),
                                     ("objective.base=mlm", "optim.layer_decay=0.8")], ids=str)
def test_adapters_and_heads_move_and_the_base_does_not(options: tuple[str, ...], tiny_base: Path,
                                                       tmp_path: Path) -> None:
    runs = Runs(tiny_base, tmp_path)
    run = runs("tuning=lora", *options)
    before = copies(run)
    take(run, 3)
    after = copies(run)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name in moved if name.startswith("model.trunk.") and ".lora_" not in name]
    assert {name for name in before if ".lora_B." in name} <= moved
    assert any(name.startswith("model.head.") for name in moved)
    held = {id(p) for name, p in run.model.module.named_parameters()
            if name.startswith("model.trunk.") and ".lora_" not in name}
    assert not [p for p in run.optimization.optimizer.state if id(p) in held]
    assert {g["name"] for g in run.optimization.optimizer.param_groups} == {"base", "head"}
    runs.close()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_decoders_adapters_are_trained(family: str, tmp_path: Path) -> None:
    runs = Runs(make_tiny_base(tmp_path / family, family), tmp_path)
    run = runs("tuning=lora", "objective.base=clm", "precision=bf16")
    before = copies(run)
    results = take(run, 3)
    moved = {name for name, value in copies(run).items() if not torch.equal(before[name], value)}
    assert {name for name in before if ".lora_B." in name} <= moved
    assert not [name for name in moved if name.startswith("model.trunk.") and ".lora_" not in name]
    assert all(set(one.losses) == {"clm", "summary"} for one in results)
    runs.close()


def test_the_mean_of_checkpoints_is_the_mean_of_merged_weights(tiny_base: Path, tmp_path: Path) -> None:
    runs = Runs(tiny_base, tmp_path)
    run = runs("tuning=lora", "optim.base_lr=0.01", "trainer.keep_last=2", "optim.average_last=2")
    for _ in range(2):
        take(run, 2)
        save(run)
    load_mean(run, [2, 4])
    mean = merged_state(run.model.task_model)
    published = [load_file(run.folder.path / f"checkpoints/step-{step}/model/model.safetensors") for step in (2, 4)]
    assert mean is not None
    name = "trunk.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(published[0][name], published[1][name])
    for name, value in published[0].items():
        torch.testing.assert_close(mean[name], (value + published[1][name]) / 2)
    runs.close()


def command(base: Path, folder: Path, *more: str) -> list[str]:
    files = [write_jsonl(folder / f"{name}.jsonl", pairs(n, seed))
             for seed, (name, n) in enumerate((("train", 32), ("validation", 4), ("test", 4)))]
    return ["train", f"model.path={base}", "tuning=lora", "tuning.rank=4", "data=files",
            *(f"data.{name}={path}" for name, path in zip(("train", "validation", "test"), files, strict=True)),
            f"data.cache_dir={folder / 'cache'}", "data.max_source_tokens=40", "trainer.batch_size=8",
            "schedule.warmup_steps=1", "eval.bootstrap_samples=5", "eval.baselines=false",
            "generation.max_new_tokens=6", "trainer.max_steps=4", "optim.base_lr=0.01", *more]


@pytest.mark.parametrize("options", [
    ("precision=fp16", "head.layers=1", "optim.ema_decay=0.5"),
    ("precision=bf16", "head=prefix_lm", "objective=summary_only", "tuning.dropout=0.1"),
    ("precision=fp32", "objective=base_only", "objective.base=mlm", "objective.mlm.warm_steps=1",
     "objective.mlm.fraction=1")], ids=str)
def test_a_stopped_run_goes_on_bitwise_and_publishes_merged_weights(
        options: tuple[str, ...], tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = command(tiny_base, tmp_path, *options)
    done = warm_cli(*start, "run.name=straight", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tuning: adapters of rank 4 beside 12 linear layers" in done.stdout
    stop_at(monkeypatch, 2)
    assert warm_cli(*start, "run.name=stopped", cwd=tmp_path).returncode == 143
    again = warm_cli(*start, "run.name=stopped", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    run = tmp_path / "runs/straight"
    same(run / "checkpoints/step-4", tmp_path / "runs/stopped/checkpoints/step-4")
    published = load_file(run / "checkpoints/step-4/model/model.safetensors")
    assert not [name for name in published if "lora" in name or "base_layer" in name]
    adapters = load_file(run / "checkpoints/step-4/state/adapters.safetensors")
    name = "trunk.encoder.layer.1.attention.self.query"
    delta = adapters[f"{name}.lora_B.default.weight"] @ adapters[f"{name}.lora_A.default.weight"] * (32.0 / 4)
    merged = published[next(key for key in published if key.endswith(f"{name.removeprefix('trunk.')}.weight"))]
    if "optim.ema_decay=0.5" not in options:  # else the average is published
        torch.testing.assert_close(merged, adapters[f"{name}.base_layer.weight"] + delta)
    assert delta.abs().max() > 1e-4
    if "objective=base_only" in options:
        went_on = warm_cli(*[part for part in start if part not in (*options, "tuning=lora", "tuning.rank=4")],
                           f"model.init_from={run}", "run.name=on", "head.layers=1", cwd=tmp_path)
        assert went_on.returncode == 0, went_on.stderr
        return
    scored = warm_cli("eval", f"checkpoint={run}", options[0], "eval.output=out", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    for name in ("results.json", "predictions.jsonl"):
        assert (tmp_path / "out" / name).is_file()
    assert (run / "predictions.jsonl").read_text() == (tmp_path / "out/predictions.jsonl").read_text()


def test_a_published_model_needs_no_peft_and_training_says_that_it_does(tiny_base: Path, tmp_path: Path,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    done = warm_cli(*command(tiny_base, tmp_path, "run.name=run", "head.layers=1"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    hidden = tmp_path / "hidden"
    (hidden / "peft").mkdir(parents=True)
    (hidden / "peft/__init__.py").write_text("raise ImportError('no peft here')")
    scored = run_cli("eval", "checkpoint=runs/run", "eval.output=out", cwd=tmp_path,
                     env={"PYTHONPATH": f"{hidden}{os.pathsep}{SOURCE}"})
    assert scored.returncode == 0, scored.stderr
    without = {"PYTHONPATH": f"{hidden}{os.pathsep}{SOURCE}"}
    made = run_cli("summarize", "checkpoint=runs/run", cwd=tmp_path, env=without, stdin="Some text.\n")
    assert made.returncode == 0 and made.stdout.count("\n") == 1, made.stderr
    plain = [one for one in command(tiny_base, tmp_path) if not one.startswith("tuning")]
    went_on = run_cli(*plain, "run.name=on", "head.layers=1", "model.init_from=runs/run", "trainer.max_steps=1",
                      cwd=tmp_path, env=without)
    assert went_on.returncode == 0, went_on.stderr
    monkeypatch.setattr("llmtrain.config.packages.find_spec", lambda name: None)
    refused = warm_cli(*command(tiny_base, tmp_path, "run.name=other"), cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == ["llmtrain: tuning=lora needs the package peft, which is not installed; run: "
                                           "pip install 'llmtrain[lora]'"]
    assert not (tmp_path / "runs/other").exists()


def test_runs_that_start_from_one_with_adapters(tiny_base: Path, tmp_path: Path) -> None:
    """extend_from goes on bit by bit; init_from puts new adapters beside the merged weights."""
    start = command(tiny_base, tmp_path, "head.layers=1", "schedule.cooldown_steps=0", "schedule=constant_cooldown")
    for name, more in (("long", ["trainer.max_steps=6"]), ("short", []),
                       ("longer", ["trainer.max_steps=6", "run.extend_from=runs/short"]),
                       ("anew", ["model.init_from=runs/short/checkpoints/last", "trainer.max_steps=1",
                                 "optim.base_lr=0", "optim.head_lr=0"])):
        done = warm_cli(*start, f"run.name={name}", *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    same_tensors(tmp_path / "runs/long/checkpoints/step-6", tmp_path / "runs/longer/checkpoints/step-6")
    before, after = (load_file(tmp_path / f"runs/{name}/checkpoints/{step}/model/model.safetensors")
                     for name, step in (("short", "step-4"), ("anew", "step-1")))
    assert before.keys() == after.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def test_unknown_targets_are_told_before_any_weight_is_read(tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path / "base")
    (base / "model.safetensors").write_bytes(b"no weights at all" * 10_000)
    done = warm_cli(*command(base, tmp_path, "tuning.targets=[q_proj]"), cwd=tmp_path)
    assert done.returncode == 2 and "tuning.targets names q_proj" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("options", "said"), [
    (("model.freeze=1",), "leave out model.freeze=1"),
    (("model.unfreeze_every=2",), "leave out model.unfreeze_every=2"),
    (("tuning.rank=0",), "tuning.rank=0 must be"), (("tuning.dropout=1",), "tuning.dropout=1 must be"),
    (("tuning.alpha=0",), "tuning.alpha=0 must be"), (("tuning.targets=[]",), "tuning.targets is empty"),
    (("tuning.targets=[nothing]",), "names nothing, which is no linear layer")], ids=str)
def test_what_cannot_be_is_refused(options: tuple[str, ...], said: str, tiny_base: Path, tmp_path: Path) -> None:
    done = warm_cli(*command(tiny_base, tmp_path, *options), cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert said in line


def test_keys_of_adapters_tell_runs_apart_only_where_they_are_used() -> None:
    def hashed(*overrides: str) -> str:
        return run_hash(load_config("train", ["trainer.max_steps=1", *overrides]))

    assert hashed() == hashed("tuning.rank=3")
    assert len({hashed(), hashed("tuning=lora"), hashed("tuning=lora", "tuning.rank=3")}) == 3
    config = load_config("train", ["trainer.max_steps=1"])
    assert not [key for key in result_dict(config) if key.startswith("tuning")]
