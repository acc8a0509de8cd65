"""Runs, models and configurations of the code before its files moved into rooms (tests/before_rooms) stay good."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from before_rooms.outputs import DOCUMENTS, outputs
from helpers import warm_cli, write_jsonl
from llmtrain.config.load import load_config
from llmtrain.config.run_id import run_hash, run_name
from llmtrain.config.stored import read_config
from llmtrain.hf import load
from llmtrain.training.accelerator import start_accelerator
from llmtrain.training.run_folder.claim import RunFolder
from llmtrain.training.run_folder.environment import describe
from llmtrain.training.save import save
from llmtrain.training.start import start_training
from stopping import numbers, same

BEFORE = Path(__file__).resolve().parents[1] / "before_rooms"
EXPECTED: dict[str, Any] = json.loads((BEFORE / "expected.json").read_text(encoding="utf-8"))
RUN, MODELS, EXPERIMENTS = EXPECTED["run"], EXPECTED["models"], EXPECTED["experiments"]
LIKE_FILES = ["data=files", "data.train=x.jsonl", "data.document=a", "data.summary=b", "eval.language=cjk",
              "data.max_summary_tokens=77"]
NEW_SECTIONS = {"task"}  # that a stored configuration of then lacks


def same_machine() -> bool:
    """Whether bits can be compared: torch, its kernels and the CPU are those that the old code ran on."""
    here = {"torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability(),
            "cpu": describe(1)["cpu"]}
    return bool(here == EXPECTED["made_on"])


def close(value: Any, wanted: Any, relative: float) -> None:
    """Numbers are close and everything else is the same, at any depth; ``relative`` 0: bit by bit."""
    if isinstance(wanted, dict):
        assert value.keys() == wanted.keys()
        for key in wanted:
            close(value[key], wanted[key], relative)
    elif isinstance(wanted, list):
        assert len(value) == len(wanted)
        for one, other in zip(value, wanted, strict=True):
            close(one, other, relative)
    elif isinstance(wanted, float) and relative:
        assert value == pytest.approx(wanted, rel=relative, abs=1e-3)
    else:
        assert value == wanted


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A copy of what the old code made, to work in."""
    return Path(shutil.copytree(BEFORE, tmp_path / "before"))


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def log_of(run: Path) -> list[dict[str, Any]]:
    """What the old code wrote as well: it knew no intervals."""
    return [{key: value for key, value in row.items() if not key.startswith("time.")
             and not key.endswith((".low", ".high"))} for row in lines(run / "metrics.jsonl")]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_stopped_run_goes_on_to_what_it_would_have_become(before: Path) -> None:
    result = warm_cli("train", *RUN["command"], cwd=before)
    assert result.returncode == 0, result.stderr
    assert f"going on from step {RUN['stopped']}" in result.stdout
    assert [path.name for path in before.glob("train-*")] == [RUN["name"]]
    run, bitwise = before / RUN["name"], same_machine()
    log = log_of(run)
    assert [(row["step"], row["split"], set(row)) for row in log] == [
        (row["step"], row["split"], set(row)) for row in RUN["log"]]
    compared = [{key: value for key, value in row.items() if bitwise or key.startswith("loss.")} for row in log]
    close(compared, [{key: row[key] for key in mine} for row, mine in zip(RUN["log"], compared, strict=True)],
          0 if bitwise else 2e-2)
    step = run / "checkpoints" / f"step-{RUN['steps']}"
    assert {path.relative_to(step).as_posix() for path in step.rglob("*.safetensors")} == set(RUN["tensors"])
    assert {path.name for path in (step / "state").glob("*.json")} == set(RUN["numbers"])
    weights, straight = (load_file(folder / "model.safetensors") for folder in (step / "model",
                                                                                BEFORE / "models/seq2seq"))
    assert weights.keys() == straight.keys()
    assert json.loads((run / "results.json").read_text())["metrics"].keys() == RUN["metrics"].keys()
    if not bitwise:
        for name, weight in straight.items():
            torch.testing.assert_close(weights[name], weight, rtol=0.2, atol=0.05, msg=name)
        return
    for name, wanted in RUN["tensors"].items():
        assert digest((step / name).read_bytes()) == wanted, name
    for name, wanted in RUN["numbers"].items():
        found = json.dumps(numbers(step / "state" / name), sort_keys=True)
        assert digest(found.encode()) == wanted, f"{name}: {found[:300]}"
    assert json.loads((run / "results.json").read_text())["metrics"] == RUN["metrics"]
    assert lines(run / "predictions.jsonl") == RUN["predictions"]


def test_a_stopped_run_is_restored_and_saved_again_bit_by_bit(before: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every machine: each part and each weight has its place under its old name."""
    monkeypatch.chdir(before)
    stopped = before / RUN["name"] / "checkpoints" / f"step-{RUN['stopped']}"
    saved = Path(shutil.copytree(stopped, before / "saved"))
    config = load_config("train", RUN["command"])
    folder = RunFolder.claim(config)
    try:
        training = start_training(config, folder, start_accelerator(config, folder.path))
        assert training.state.progress.step == RUN["stopped"]
        shutil.rmtree(stopped)
        save(training)
    finally:
        folder.release()
        torch.use_deterministic_algorithms(False)
    same(saved, stopped)
    for name in ("config.json", "generation_config.json"):
        assert json.loads((stopped / "model" / name).read_text()) == json.loads((saved / "model" / name).read_text())


def test_a_stopped_run_is_found_under_its_old_name_and_scored(before: Path) -> None:
    assert run_name(read_config(before / RUN["name"] / "config.yaml")) == RUN["name"]
    result = warm_cli("eval", f"checkpoint={RUN['name']}", "eval.output=scores", cwd=before)
    assert result.returncode == 0, result.stderr
    assert len(lines(before / "scores/predictions.jsonl")) == len(RUN["predictions"])


def test_what_the_old_code_left_passes_verify(before: Path) -> None:
    for path in (RUN["name"], *(f"models/{name}" for name in MODELS)):
        result = warm_cli("verify", path, cwd=before)
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", MODELS)
def test_an_old_model_computes_what_it_computed(name: str) -> None:
    prefix = f"{name}."
    wanted = {key.removeprefix(prefix): value for key, value in load_file(BEFORE / "outputs.safetensors").items()
              if key.startswith(prefix)}
    found: dict[str, Tensor] = outputs(BEFORE / "models" / name)
    assert found.keys() == wanted.keys()
    if not same_machine():
        torch.testing.assert_close(found["logits"], wanted["logits"], rtol=1e-3, atol=1e-4)
        return
    for key, value in wanted.items():
        assert torch.equal(found[key], value), key


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_of_an_old_model_is_taken_as_it_is(name: str) -> None:
    folder = BEFORE / "models" / name
    model, _ = load(folder)
    stored, taken = load_file(folder / "model.safetensors"), model.state_dict()
    assert model.config.model_type == json.loads((folder / "config.json").read_text())["model_type"]
    assert stored.keys() <= taken.keys()
    for key, value in stored.items():
        assert torch.equal(taken[key], value), key


@pytest.mark.parametrize("name", MODELS)
def test_an_old_model_is_scored_and_summarizes_as_before(name: str, before: Path) -> None:
    wanted, model = MODELS[name], before / "models" / name
    result = warm_cli("eval", f"checkpoint={model}", "eval.output=scores", cwd=before)
    assert result.returncode == 0, result.stderr
    results = json.loads((before / "scores/results.json").read_text())
    predictions = lines(before / "scores/predictions.jsonl")
    write_jsonl(before / "documents.jsonl", ({"document": text} for text in DOCUMENTS))
    result = warm_cli("summarize", f"checkpoint={model}", "input=documents.jsonl", cwd=before)
    assert result.returncode == 0, result.stderr
    if same_machine():
        assert results["metrics"] == wanted["metrics"]
        assert predictions == wanted["predictions"]
        assert result.stdout.splitlines() == wanted["summaries"]
    assert [row["id"] for row in predictions] == [row["id"] for row in wanted["predictions"]]
    assert len(result.stdout.splitlines()) == len(DOCUMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_has_the_hash_and_name_that_it_had(name: str) -> None:
    config = load_config("train", [f"+experiment={name}"])
    files = load_config("train", [f"+experiment={name}", *LIKE_FILES])
    assert {"hash": run_hash(config, by_path=True), "name": run_name(config, by_path=True),
            "hash_with_files": run_hash(files, by_path=True)} == EXPERIMENTS[name]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_old_stored_configuration_is_read_as_what_it_was(name: str) -> None:
    stored = read_config(BEFORE / "configurations" / f"{name}.yaml")
    assert run_hash(stored, by_path=True) == EXPERIMENTS[name]["hash"]
    assert stored == load_config("train", [f"+experiment={name}"])


def test_every_shipped_experiment_of_then_is_still_there() -> None:
    shipped = {path.stem for path in (BEFORE.parents[1] / "configs/experiment").glob("*.yaml")}
    assert set(EXPERIMENTS) <= shipped
    assert {path.stem for path in (BEFORE / "configurations").glob("*.yaml")} == set(EXPERIMENTS)
    for path in (BEFORE / "configurations").glob("*.yaml"):
        assert not any(line.partition(":")[0] in NEW_SECTIONS for line in path.read_text().splitlines()), path
