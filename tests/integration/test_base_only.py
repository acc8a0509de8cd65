"""The transfer-learning path: the base reads on alone, without summaries, and a joint run starts from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

from cards import check_card
from helpers import Finished, make_tiny_base, pairs, warm_cli, without_fingerprints, write_jsonl
from llmtrain import Summarizer
from llmtrain.core.errors import CheckpointError
from llmtrain.data.order import Order
from stopping import stop_at


@pytest.fixture
def common(tiny_base: Path, tmp_path: Path) -> list[str]:
    train, held = write_jsonl(tmp_path / "train.jsonl", pairs(24)), write_jsonl(tmp_path / "held.jsonl", pairs(6, 1))
    alone = [{"document": row["document"]} for row in pairs(40, 2)]
    write_jsonl(tmp_path / "alone.jsonl", alone)
    write_jsonl(tmp_path / "alone_held.jsonl", alone[:6])
    return [f"model.path={tiny_base}", "data=files", f"data.train={train}", f"data.validation={held}",
            f"data.test={held}", f"data.cache_dir={tmp_path / 'cache'}", "data.max_source_tokens=32",
            "data.max_summary_tokens=8", "trainer.batch_size=8", "trainer.max_steps=4", "schedule.warmup_steps=1",
            "eval.baselines=false", "generation.max_new_tokens=6", "eval.bootstrap_samples=5",
            "objective.mlm.warm_steps=2"]


def alone(tmp_path: Path, common: list[str], name: str, *more: str) -> Finished:
    return warm_cli("train", *common, "objective=base_only", "data.train=alone.jsonl",
                    "data.validation=alone_held.jsonl", "data.test=alone_held.jsonl", "objective.mlm.fraction=1",
                    f"run.name={name}", *more, cwd=tmp_path)


def tensors(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints/step-4/model/model.safetensors")


@pytest.mark.parametrize("more", [(), ("optim.ema_decay=0.5",)])
def test_the_losses_told_are_those_of_the_best_step(more: tuple[str, ...], common: list[str], tmp_path: Path) -> None:
    """Trunk and masked-LM head of one step: the best is the first here, and the head moves on after it."""
    done = alone(tmp_path, common, "alone", *more, "optim.base_lr=0.02", "optim.head_lr=0.02", "trainer.eval_every=1",
                 "objective.mlm.warm_steps=0", "trainer.keep_last=9", "trainer.max_steps=6")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "runs/alone/results.json").read_text())
    rows = [json.loads(line) for line in (tmp_path / "runs/alone/metrics.jsonl").read_text().splitlines()]
    validated = {row["step"]: row["loss.mlm"] for row in rows if row["split"] == "validation"}
    assert results["best_step"] < 6
    assert results["losses"]["validation"]["loss.mlm"] == pytest.approx(validated[results["best_step"]], rel=1e-6)


def test_a_base_trains_alone_resumes_and_a_joint_run_starts_from_it(
        common: list[str], tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = alone(tmp_path, common, "alone")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs/alone"
    results = json.loads((run / "results.json").read_text())
    assert results["metrics"] == {"validation": None, "test": None}
    assert results["config"]["trainer"]["best_metric"] == "loss.total"
    assert results["losses"]["test"]["loss.mlm"] > 0
    assert "validation loss: mlm" in done.stdout
    assert "perplexity" in done.stdout
    assert (run / "predictions.jsonl").read_text() == ""

    card = check_card(run, tmp_path).data
    assert (card.library_name, card.pipeline_tag, card.eval_results) == ("transformers", "fill-mask", None)
    folder = run / "checkpoints/step-4/model"  # an ordinary folder of the base's own masked language model
    whole, loading = AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    trunk = whole.base_model.state_dict()
    before = AutoModel.from_pretrained(tiny_base, add_pooling_layer=False).state_dict()
    assert not torch.equal(trunk["encoder.layer.0.output.dense.weight"], before["encoder.layer.0.output.dense.weight"])

    stop_at(monkeypatch, 2)
    assert alone(tmp_path, common, "stopped").returncode == 143
    assert alone(tmp_path, common, "stopped").returncode == 0
    first, second = tensors(run), tensors(tmp_path / "runs/stopped")
    assert all(torch.equal(first[name], second[name]) for name in first)

    joint = [*common, "objective=joint", "objective.base=mlm", "model.init_from=runs/alone", "run.name=joint"]
    started = warm_cli("train", *joint, "optim.base_lr=0", "optim.head_lr=0", cwd=tmp_path)
    assert started.returncode == 0, started.stderr
    kept = tensors(tmp_path / "runs/joint")
    assert all(torch.equal(kept[f"trunk.{name}"], value) for name, value in trunk.items() if "position_ids" not in name)
    dense = whole.cls.predictions.transform.dense.weight  # what a fresh head warm-starts from
    assert torch.equal(kept["head.transform.weight"], dense)
    objective = load_file(tmp_path / "runs/joint/checkpoints/step-4/state/objectives.safetensors")
    assert torch.equal(objective["mlm.head.dense.weight"], dense)


@pytest.mark.parametrize(("kind", "term", "more"), [
    ("bert", "mlm", []), ("bert", "mlm", ["head=prefix_lm"]), ("llama", "clm", ["head=prefix_lm"])])
def test_a_run_from_a_base_trained_alone_goes_on_bitwise(kind: str, term: str, more: list[str], common: list[str],
                                                         tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base came with a head then, which model.path itself has not; without that folder it is told."""
    base = make_tiny_base(tmp_path / "base", kind)
    if kind == "llama":
        untie(base)
    common = [*common, f"model.path={base}", f"objective.base={term}"]
    assert alone(tmp_path, common, "alone", "objective.mlm.warm_steps=0").returncode == 0
    joint = [*common, *more, "objective=joint", f"objective.base={term}", "model.init_from=runs/alone"]
    straight = warm_cli("train", *joint, "run.name=straight", cwd=tmp_path)
    assert straight.returncode == 0, straight.stderr
    stop_at(monkeypatch, 1)
    assert warm_cli("train", *joint, "run.name=stopped", cwd=tmp_path).returncode == 143
    (tmp_path / "runs/alone").rename(tmp_path / "runs/away")
    gone = warm_cli("train", *joint, "run.name=stopped", cwd=tmp_path)
    assert gone.returncode in (2, 3) and gone.stderr.count("\n") == 1
    (tmp_path / "runs/away").rename(tmp_path / "runs/alone")
    resumed = warm_cli("train", *joint, "run.name=stopped", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    first, second = (tmp_path / "runs" / name / "checkpoints/step-4" for name in ("straight", "stopped"))
    files = sorted(file.relative_to(first) for file in first.rglob("*.safetensors"))
    assert len(files) > 2
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)
    assert (first / "model/config.json").read_bytes() == (second / "model/config.json").read_bytes()


def untie(base: Path) -> None:
    """Give a tiny decoder an output embedding of its own."""
    config = AutoConfig.from_pretrained(base)
    config.tie_word_embeddings = False
    torch.manual_seed(5)
    AutoModelForCausalLM.from_config(config).save_pretrained(base)


@pytest.mark.parametrize(("change", "told"), [
    (lambda base: swap_ids(base / "tokenizer.json"), "the tokenizer of model.path="),
    (lambda base: rewrite(base / "tokenizer_config.json", do_lower_case=False), "the tokenizer of model.path="),
    (lambda base: rewrite(base / "config.json", hidden_act="relu"), "hidden_act of the base is relu and was gelu")],
    ids=["ids", "case", "activation"])
def test_a_base_changed_since_the_stop_is_refused(change: Callable[[Path], None], told: str, common: list[str],
                                                  tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = make_tiny_base(tmp_path / "base")
    common = [*common, f"model.path={base}", "run.name=run", "model.dropout=0.1"]
    stop_at(monkeypatch, 2)
    assert warm_cli("train", *common, cwd=tmp_path).returncode == 143
    changed = shutil.copytree(base, tmp_path / "kept")
    change(base)
    refused = warm_cli("train", *common, cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert f"model.path is {base}, which held something else when that run began" in refused.stderr
    without_fingerprints(tmp_path / "runs/run")
    refused = warm_cli("train", *common, cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert told in refused.stderr and "step-2" in refused.stderr
    shutil.rmtree(base)
    changed.rename(base)
    assert warm_cli("train", *common, cwd=tmp_path).returncode == 0
    longer = [*common[:-2], "run.name=longer", "run.extend_from=runs/run", "trainer.max_steps=5", "model.dropout=0"]
    done = warm_cli("train", *longer, cwd=tmp_path)  # another dropout is no other base
    assert done.returncode == 0, done.stderr


def swap_ids(path: Path) -> None:
    """Give two words of a WordPiece vocabulary each other's id."""
    content = json.loads(path.read_text())
    words = content["model"]["vocab"]
    (one, first), (two, second) = list(words.items())[-2:]
    words[one], words[two] = second, first
    path.write_text(json.dumps(content))


def rewrite(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_base_alone_predicts_nothing_and_says_so(common: list[str], tmp_path: Path) -> None:
    assert alone(tmp_path, common, "alone", "trainer.max_steps=1").returncode == 0
    for command in (["eval", "checkpoint=runs/alone"], ["summarize", "checkpoint=runs/alone", "input=alone.jsonl"]):
        refused = warm_cli(*command, cwd=tmp_path)
        assert (refused.returncode, refused.stderr.count("\n")) == (3, 1)
        assert "trained alone and predicts nothing; train a task on it" in refused.stderr
    with pytest.raises(CheckpointError, match="trained alone"):
        Summarizer(tmp_path / "runs/alone")


def test_init_from_wants_the_same_base(common: list[str], tmp_path: Path) -> None:
    assert alone(tmp_path, common, "alone", "trainer.max_steps=1").returncode == 0
    other = make_tiny_base(tmp_path / "other", "roberta")
    refused = warm_cli("train", *common, f"model.path={other}", "model.init_from=runs/alone", cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("use the same model")) == (2, 1)


def test_documents_without_summaries_join_a_joint_run(common: list[str], tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    command = [*common, "objective.base=mlm", "data.unlabelled=alone.jsonl", "data.unlabelled_share=0.25"]
    done = warm_cli("train", *command, "run.name=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = done.stderr + done.stdout
    assert ", 24 / 6 / 6 train / validation / test pairs" in told
    assert "40 documents of data.unlabelled are read by the base's own term alone" in told
    assert "2 of a step's 8 rows are documents of data.unlabelled" in told
    rows = [json.loads(line) for line in (tmp_path / "runs/run/metrics.jsonl").read_text().splitlines()]
    assert all(row["loss.mlm"] > 0 for row in rows)
    results = json.loads((tmp_path / "runs/run/results.json").read_text())
    assert results["metrics"]["test"]["rouge1"] is not None

    stop_at(monkeypatch, 3)
    assert warm_cli("train", *command, "run.name=stopped", cwd=tmp_path).returncode == 143
    assert warm_cli("train", *command, "run.name=stopped", cwd=tmp_path).returncode == 0
    first, second = tensors(tmp_path / "runs/run"), tensors(tmp_path / "runs/stopped")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_checkpoint_whose_epochs_had_another_length_is_refused(common: list[str], tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """As a version that ordered its rows otherwise would have left it."""
    command = [*common, "run.name=run"]
    stop_at(monkeypatch, 2)
    assert warm_cli("train", *command, cwd=tmp_path).returncode == 143
    monkeypatch.setattr(Order, "steps_per_epoch", 5)
    refused = warm_cli("train", *command, cwd=tmp_path)
    assert refused.returncode == 2
    assert "an epoch has 5 steps and had 3 at" in refused.stderr and "choose another run.name" in refused.stderr


@pytest.mark.parametrize(("overrides", "told"), [
    (["objective.base=select", "data.unlabelled=alone.jsonl"],
     "needs a base term that reads documents alone; use an objective.base of clm, denoise, mlm"),
    (["objective.base=mlm", "data.unlabelled=alone.jsonl", "data.unlabelled_share=1"], "data.unlabelled_share=1 must"),
    (["objective.base=mlm", "data.unlabelled=alone.jsonl", "trainer.batch_size=1"], "set trainer.batch_size to 2"),
    (["objective.base=select", "objective.lam=null", "data.train=alone.jsonl"], "no column 'summary'"),
    (["objective.base=mlm", "data.train=alone.jsonl"], "no column 'summary'"),
    (["objective=base_only", "trainer.best_metric=rouge1"], "rouge1 is not logged")])
def test_what_needs_summaries_refuses_documents_alone(common: list[str], tmp_path: Path, overrides: list[str],
                                                      told: str) -> None:
    refused = warm_cli("train", *common, *overrides, cwd=tmp_path)
    assert refused.returncode == 2
    assert told in refused.stderr
