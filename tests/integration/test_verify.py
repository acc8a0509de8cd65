"""``llmtrain verify``: whole folders and what they are good for, and every way in which one is not whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import Finished, make_tiny_base, pairs, warm_cli, write_jsonl
from llmtrain.checkpoint import manifest as manifests
from llmtrain.checkpoint import point
from llmtrain.integrity import verify as integrity_check


@pytest.fixture(scope="module")
def trained(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    files = [f"data.{name}={write_jsonl(folder / f'{name}.jsonl', pairs(count, seed))}"
             for seed, (name, count) in enumerate((("train", 24), ("validation", 4), ("test", 2)))]
    result = warm_cli("train", f"model.path={tiny_base}", "head.layers=1", "head.ffn=32", "data=files", *files,
                      f"data.cache_dir={folder / 'cache'}", "data.max_source_tokens=40", "trainer.batch_size=8",
                      "trainer.max_steps=4",
                      "trainer.eval_every=2", "trainer.best_metric=loss.total", "schedule.warmup_steps=1",
                      "generation.max_new_tokens=4", "eval.bootstrap_samples=5", "run.name=run", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "runs/run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def verify(path: Path) -> Finished:
    return warm_cli("verify", str(path), cwd=path.parent)


def sign_again(step: Path) -> None:
    """Manifests that say of the changed files what they are now: only their content can tell."""
    before = manifests.read(step)
    (step / "model/manifest.json").unlink()
    for folder, kind, number in ((step / "model", "model", None), (step, "step", before.step)):
        made = manifests.build(folder, kind, number, before.meta if kind == "step" else {})
        (folder / "manifest.json").write_text(manifests.to_text(made), encoding="utf-8")


def change_tensor(file: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor | None]) -> None:
    tensors = load_file(file)
    made = change(tensors.pop(name).clone())
    save_file(tensors | ({} if made is None else {name: made}), file, metadata={"format": "pt"})


def test_whole_things_and_what_they_are_good_for(run: Path, tiny_base: Path) -> None:
    told = verify(run)
    assert told.returncode == 0 and told.stderr == ""
    lines = told.stdout.splitlines()
    good = "good for resume, run.extend_from, eval, predict, summarize, model.init_from"
    steps = [line for line in lines if "/step-" in line.partition(":")[0]]
    assert [line for line in lines if good in line and "finite tensors" in line] == steps != []
    assert any(line.endswith("metrics.jsonl: the log, 3 lines") for line in lines)
    assert any("checkpoints/last: a pointer to step-4" in line for line in lines)
    for path in (run / "checkpoints/step-4", run / "checkpoints/best"):
        (line,) = verify(path).stdout.splitlines()
        assert "good for resume" in line
    (line,) = verify(run / "checkpoints/step-4/model").stdout.splitlines()
    assert "head transformer on bert" in line and line.endswith("good for eval, predict, summarize, model.init_from")
    (line,) = verify(tiny_base).stdout.splitlines()
    assert "a bert base" in line and line.endswith("good for model.path")


def halve(value: torch.Tensor) -> torch.Tensor:
    return value[: len(value) // 2].contiguous()


def spoil(value: torch.Tensor) -> torch.Tensor:
    value.flatten()[3] = float("nan")
    return value


QUERY = "trunk.encoder.layer.0.attention.self.query.weight"


@pytest.mark.parametrize(("file", "name", "change", "told"), [
    ("model/model.safetensors", QUERY, spoil, f"{QUERY} holds NaN (element 3) at"),
    ("model/model.safetensors", QUERY, halve, f"{QUERY} has shape (16, 32)"),
    ("model/model.safetensors", QUERY, lambda value: None, f"{QUERY} is missing at"),
    ("state/optimizer.safetensors", f"model.{QUERY}/exp_avg", spoil, f"model.{QUERY}/exp_avg holds NaN"),
    ("state/optimizer.safetensors", f"model.{QUERY}/exp_avg", halve, "the model's parameter (32, 32)")],
    ids=["NaN weight", "half a weight", "no weight", "NaN moment", "half a moment"])
def test_what_hashes_do_not_tell(file: str, name: str, change: Callable[[torch.Tensor], torch.Tensor | None], told: str,
                                 run: Path) -> None:
    step = run / "checkpoints/step-4"
    change_tensor(step / file, name, change)
    sign_again(step)
    result = verify(run)
    assert result.returncode == 3
    problems = result.stderr.splitlines()
    assert any(told in line and str(step) in line for line in problems), problems
    assert all(len(line) < 400 for line in problems)
    assert "step-4: " in result.stdout and "problem" in result.stdout
    assert any("/step-2: " in line and "good for resume" in line for line in result.stdout.splitlines())


def test_a_missing_tensor_is_never_made_up(run: Path, tmp_path: Path) -> None:
    """transformers would fill it with random numbers, and the scores would be those of another model."""
    step = run / "checkpoints/step-4"
    change_tensor(step / "model/model.safetensors", QUERY, lambda value: None)
    sign_again(step)
    (tmp_path / "text.txt").write_text("the file is read and the list is sorted", encoding="utf-8")
    for command in (["eval", f"checkpoint={step}"], ["summarize", f"checkpoint={step / 'model'}", "input=text.txt"]):
        result = warm_cli(*command, cwd=tmp_path)
        assert result.returncode == 3, result.stderr
        assert f"{QUERY} is missing at {step / 'model/model.safetensors'}" in result.stderr.splitlines()[-1]


def test_a_tokenizer_that_is_not_the_models(run: Path, tmp_path: Path) -> None:
    step = run / "checkpoints/step-4"
    file = step / "model/tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    more = {f"another{n}": len(content["model"]["vocab"]) + n for n in range(200)}
    content["model"]["vocab"] |= more
    file.write_text(json.dumps(content), encoding="utf-8")
    sign_again(step)
    (line,) = verify(step).stderr.splitlines()
    assert "and the model embeddings for" in line and str(step / "model") in line

    other = json.loads((step / "model/tokenizer_config.json").read_text(encoding="utf-8"))
    other["sep_token"] = "[MASK]"
    shutil.rmtree(step / "model")
    shutil.copytree(run / "checkpoints/step-2/model", step / "model")
    (step / "model/tokenizer_config.json").write_text(json.dumps(other), encoding="utf-8")
    sign_again(step)
    assert "begins, ends and pads with the tokens" in verify(step).stderr


@pytest.mark.parametrize("part", ["optimizer.json", "random.json"])
def test_a_state_without_a_part(part: str, run: Path) -> None:
    step = run / "checkpoints/step-4"
    for file in (step / "state").glob(part.replace("json", "*")):
        file.unlink()
    sign_again(step)
    result = verify(step)
    assert result.returncode == 3 and f"state '{Path(part).stem}' is missing at {step}" in result.stderr


def rename_key(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(f'"{old}"', f'"{new}"'))


@pytest.mark.parametrize(("damage", "told"), [
    (lambda run: (run / "metrics.jsonl").write_text('{"step": 1}\n{"step": \n{}\n'), "metrics.jsonl:2"),
    (lambda run: (run / "config.yaml").write_text("- 1\n"), "no mapping at"),
    (lambda run: (run / "config.yaml").write_text("head: {nonsense: 1}\n"), "config.yaml"),
    (lambda run: (run / "results.json").write_text("[]"), "no JSON object at"),
    (lambda run: shutil.rmtree(run / "checkpoints/step-4"), "last points at"),
    (lambda run: (run / "checkpoints/last").write_text("{}"), "no checkpoint pointer at"),
    (lambda run: rename_key(run / "checkpoints/last", "digest", "dicest"), "was written for another content"),
    (lambda run: (run / "checkpoints/step-2/state/random.json").write_text("{}"), "damaged file at"),
    (lambda run: (run / "checkpoints/step-2/model/more.txt").write_text("x"), "unknown file at")],
    ids=["log", "no config", "wrong config", "results", "gone", "pointer", "digest", "changed", "more"])
def test_a_run_with_one_thing_wrong(damage: Callable[[Path], object], told: str, run: Path) -> None:
    damage(run)
    result = verify(run)
    assert result.returncode == 3
    assert any(told in line for line in result.stderr.splitlines()), result.stderr
    assert "Traceback" not in result.stderr


def test_a_run_that_goes_on_meanwhile_is_whole(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It saves and prunes while its checkpoints are looked at: what was listed goes, and so does what last named."""
    saves, check = run / "checkpoints", integrity_check._step

    def busy(found: integrity_check.Finding) -> None:
        if (step := int(found.path.name.removeprefix("step-"))) in (2, 6):
            later = Path(shutil.copytree(saves / "step-4", saves / f"step-{step + 4}"))
            meta = manifests.read(later).meta
            (later / "manifest.json").unlink()
            made = manifests.build(later, "step", step + 4, meta)
            (later / "manifest.json").write_text(manifests.to_text(made), encoding="utf-8")
            point(saves, "last", step + 4, {})
            shutil.rmtree(found.path)
        check(found)

    point(saves, "best", 4, {})
    monkeypatch.setattr(integrity_check, "_step", busy)
    result = verify(run)
    assert result.returncode == 0, result.stderr
    assert "step-2" not in result.stdout and "last: a pointer that moved meanwhile" in result.stdout
    monkeypatch.undo()
    assert "last: a pointer to step-10" in verify(run).stdout


def test_a_folders_name_forges_no_line(run: Path) -> None:
    (run / "checkpoints/average-\x1b[31m\nllmtrain: fine").mkdir()
    result = verify(run)
    assert result.returncode == 3 and "average-\\x1b[31m\\nllmtrain: fine" in result.stdout
    assert "\x1b" not in result.stdout and not any(line.startswith("llmtrain") for line in result.stdout.splitlines())


def test_one_flipped_bit(run: Path) -> None:
    file = run / "checkpoints/step-4/model/model.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 4
    file.write_bytes(content)
    result = verify(run)
    (problem, *pointer) = result.stderr.splitlines()
    assert result.returncode == 3 and f"damaged file at {file}: its sha256 is not the one saved" in problem
    assert pointer and all("points at" in line for line in pointer)


def test_what_would_block_or_never_end_is_refused(run: Path) -> None:
    for name in ("config.yaml", "metrics.jsonl", "predictions.jsonl"):
        (run / name).unlink()
    os.mkfifo(run / "config.yaml")
    (run / "metrics.jsonl").symlink_to("/dev/zero")
    (run / "predictions.jsonl").write_text("[" * 200_000 + "\n")
    result = verify(run)
    assert result.returncode == 3
    first, second, third = result.stderr.splitlines()
    assert f"{run / 'config.yaml'} (it is not a regular file)" in first and "metrics.jsonl" in second
    assert "predictions.jsonl:1" in third and "recursion" in third


def test_an_unfinished_log_and_leftovers_are_told_and_no_problem(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, ')
    (run / "checkpoints/.tmp-step-6").mkdir()
    result = verify(run)
    assert result.returncode == 0, result.stderr
    assert "its last line unfinished" in result.stdout and f"llmtrain clean {run}" in result.stdout


def test_bases(tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path / "base", "roberta")
    weights = load_file(base / "model.safetensors")
    name = next(name for name in weights if name.endswith("query.weight"))
    change_tensor(base / "model.safetensors", name, spoil)
    result = verify(base)
    assert result.returncode == 3 and f"{name} holds NaN" in result.stderr
    files = [f"data.{name}={write_jsonl(tmp_path / f'{name}.jsonl', pairs(8))}" for name in ("train", "validation")]
    refused = warm_cli("train", f"model.path={base}", "data=files", *files, "data.max_source_tokens=40",
                       f"data.cache_dir={tmp_path / 'cache'}", "trainer.max_steps=1", cwd=tmp_path)
    assert refused.returncode == 3 and "holds a NaN or an infinity in encoder.layer.0.attention.self.query.weight" in (
        refused.stderr)
    assert not (tmp_path / "runs").exists()
    (base / "config.json").write_text('{"model_type": "t5"}')
    result = verify(base)
    assert result.returncode == 3 and "'t5' model" in result.stderr and result.stderr.count("\n") == 1


def amend(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def store_as(base: Path, kind: torch.dtype) -> None:
    change_tensor(base / "model.safetensors", "encoder.layer.0.output.dense.weight", lambda value: value.to(kind))


@pytest.mark.parametrize(("damage", "code", "told"), [
    (lambda base: amend(base / "tokenizer.json", lambda content: content["model"]["vocab"].update(full=5000)), 3,
     "ids up to 5000, and the model embeddings for 245"),
    (lambda base: amend(base / "tokenizer_config.json", lambda content: content.update(sep_token=None)), 2,
     "has no end token"),
    (lambda base: store_as(base, torch.bool), 3, "output.dense.weight is stored as BOOL"),
    (lambda base: store_as(base, torch.int8), 3, "output.dense.weight is stored as I8"),
    (lambda base: store_as(base, torch.complex64), 3, "output.dense.weight is stored as C64")],
    ids=["gap", "no end", "bool", "int8", "complex"])
def test_what_training_refuses_in_a_base_is_no_base(damage: Callable[[Path], object], code: int, told: str,
                                                    tiny_base: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    damage(base)
    result = verify(base)
    assert result.returncode == 3 and "good for" not in result.stdout
    files = [f"data.{name}={write_jsonl(tmp_path / f'{name}.jsonl', pairs(8))}" for name in ("train", "validation")]
    refused = warm_cli("train", f"model.path={base}", "data=files", *files, "data.max_source_tokens=40",
                       "objective.base=mlm", f"data.cache_dir={tmp_path / 'cache'}", "trainer.max_steps=1",
                       cwd=tmp_path)
    assert refused.returncode == code, refused.stderr
    for (line,) in (result.stderr.splitlines(), refused.stderr.splitlines()):
        assert told in line and str(base) in line and len(line) < 400


@pytest.mark.parametrize(("arguments", "told"), [
    ([], "verify takes one path"), (["a", "b"], "verify takes one path"), (["nowhere"], "nothing at nowhere"),
    ([""], "verify takes one path"), (["."], "no run, checkpoint, model or base at")])
def test_wrong_paths(arguments: list[str], told: str, tmp_path: Path) -> None:
    result = warm_cli("verify", *arguments, cwd=tmp_path)
    assert result.returncode == 2 and told in result.stderr and result.stderr.count("\n") == 1
