"""Weightings by hand, over a stop, under an overflow; and the probe, which must change nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import pairs, warm_cli, write_jsonl
from llmtrain.core.errors import ConfigError
from llmtrain.objectives.weighting.pcgrad import projected
from llmtrain.training.diagnostics.gradient_probe import probe
from running import Runs, copies, gradients, take
from stopping import same, stop_at

MOVING = {"linear": ("objective.lam_start=2", "objective.lam_steps=3"),
          "cosine": ("objective.lam_start=2", "objective.lam_steps=3"), "step": ("objective.step.steps=2",),
          "uncertainty": ("objective.uncertainty.lr=0.1",), "dwa": ("objective.dwa.window=1",),
          "gradnorm": ("objective.gradnorm.lr=0.1",), "pcgrad": (), "famo": ("objective.famo.lr=0.1",),
          "auto": ("objective.lam=auto", "objective.auto_steps=3")}


def chosen(name: str) -> list[str]:
    return [*MOVING[name], *([] if name == "auto" else [f"objective.weighting={name}"])]


AUTO = ("objective.lam=auto", "objective.auto_steps=2")


@pytest.fixture
def runs(tiny_base: Path, tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tiny_base, tmp_path)
    yield made
    made.close()


@pytest.fixture
def command(tiny_base: Path, tmp_path: Path) -> list[str]:
    train, held = write_jsonl(tmp_path / "train.jsonl", pairs(40)), write_jsonl(tmp_path / "held.jsonl", pairs(6, 1))
    return ["train", f"model.path={tiny_base}", "head.layers=1", "data=files", f"data.train={train}",
            f"data.validation={held}", f"data.test={held}", f"data.cache_dir={tmp_path / 'cache'}",
            "data.max_source_tokens=32", "data.max_summary_tokens=8", "trainer.batch_size=8", "trainer.max_steps=4",
            "schedule.warmup_steps=1", "eval.baselines=false", "generation.max_new_tokens=6",
            "eval.bootstrap_samples=5", "trainer.log_every=1", "model.dropout=0.1", "trainer.accumulate=2"]



def rows(folder: Path) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if not key.startswith("time.")} for row in read]


@pytest.mark.parametrize("name", MOVING)
def test_a_stopped_run_goes_on_bitwise(name: str, command: list[str], tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    command = [*command, *chosen(name)]
    straight = warm_cli(*command, "run.name=straight", cwd=tmp_path)
    assert straight.returncode == 0, straight.stderr
    stop_at(monkeypatch, 2)
    assert warm_cli(*command, "run.name=stopped", cwd=tmp_path).returncode == 143
    resumed = warm_cli(*command, "run.name=stopped", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    same(tmp_path / "runs/straight/checkpoints/step-4", tmp_path / "runs/stopped/checkpoints/step-4")
    log = rows(tmp_path / "runs/straight")
    assert log == rows(tmp_path / "runs/stopped")
    if name != "pcgrad":
        weights = [row.get("weight.summary") for row in log if row["split"] == "train"]  # none where it is idle
        assert len(set(weights)) > 1


TERMS = "objective.terms=[{name: select, lam: 1}, {name: mlm, lam: 2}, {name: summary, lam: 0.5}]"


@pytest.mark.parametrize("options", [("precision=fp32",), ("precision=fp16",), ("objective.weighting=pcgrad",),
                                     ("objective.weighting=gradnorm", TERMS, "objective.mlm.warm_steps=0",
                                      "objective.mlm.fraction=1")], ids=str)
def test_a_probe_changes_nothing_and_tells_what_pulls(options: tuple[str, ...], command: list[str],
                                                      tmp_path: Path) -> None:
    command = [*command, *options]
    assert warm_cli(*command, "run.name=plain", cwd=tmp_path).returncode == 0
    probed = warm_cli(*command, "run.name=probed", "probe.every=2", cwd=tmp_path)
    assert probed.returncode == 0, probed.stderr
    same(tmp_path / "runs/plain/checkpoints/step-4", tmp_path / "runs/probed/checkpoints/step-4")
    log = rows(tmp_path / "runs/probed")
    found = [row for row in log if row["split"] == "probe"]
    assert [row for row in log if row["split"] != "probe"] == rows(tmp_path / "runs/plain")
    assert [row["step"] for row in found] == [0, 2]
    for row in found:
        whole = row["probe.summary.norm"]
        parts = [value for key, value in row.items() if key.startswith("probe.summary.") and key.count(".") == 3]
        assert whole == pytest.approx(math.sqrt(sum(part**2 for part in parts)), rel=1e-6)
        assert -1 <= row["probe.cosine.select.summary"] <= 1
        if TERMS in options:
            told = [f"{name} {row[f'probe.lam.{name}']:.3g}" for name in ("mlm", "select", "summary")]
            assert f"; lams that would balance them: {', '.join(told)}" in probed.stdout
            continue
        balanced = row["probe.lam.summary"] * whole
        assert balanced == pytest.approx(row["probe.lam.select"] * row["probe.select.norm"], rel=1e-6)
        lam = row["probe.lam.summary"] / row["probe.lam.select"]
        assert (f"probe at step {row['step']}: gradient on the base select {row['probe.select.norm']:.3g}, summary "
                f"{whole:.3g};") in probed.stdout
        assert f"; objective.lam={lam:.3g} would balance them" in probed.stdout


def test_auto_makes_both_terms_pull_alike_and_is_then_fixed(runs: Runs) -> None:
    """The ratio of the gradients that the probe finds; a step trains with the mean of those known by then."""
    run = runs(*AUTO, "precision=fp32", "trainer.accumulate=2")
    weighting, ratios, used = run.model.weighting, [], []
    for _ in range(3):
        step = run.state.progress.step
        (batch,) = [one for _, one in zip(range(1), run.data.loader.iterate(step), strict=False)]
        micro = [run.to_device(part) for part in batch.micro]
        work = run.optimization.step.work(micro, run.optimization.step.agree(micro, 0.0, 0, False), step)
        found = probe(work, weighting.lams)
        assert found is not None
        ratios.append(found.values["probe.lam.summary"] / found.values["probe.lam.select"])
        used.append(take(run)[0].weights)
    assert used[0] == pytest.approx({"select": 1, "summary": ratios[0]}, rel=1e-5)
    both = math.sqrt(ratios[0] * ratios[1])
    assert used[1]["summary"] == pytest.approx(both, rel=1e-5) and used[2]["summary"] == used[1]["summary"]
    assert weighting.report() == {"lam": {"value": used[1]["summary"], "measured_steps": 2}}
    assert abs(ratios[2] / both - 1) > 1e-3


def test_auto_does_not_count_steps_in_which_a_term_does_not_reach_the_base(runs: Runs) -> None:
    run = runs(*AUTO, "objective.base=mlm", "objective.mlm.fraction=0.6", "objective.mlm.warm_steps=2")
    first, second, third = take(run, 3)
    assert first.weights["summary"] == second.weights["summary"] == 1.0 != third.weights["summary"]
    assert run.model.weighting.report()["lam"]["measured_steps"] == 1


def test_auto_takes_the_step_that_its_lambda_would_take(runs: Runs) -> None:
    one = runs(*AUTO, "precision=fp32", "optim.clip_norm=0")
    lam = take(one)[0].weights["summary"]
    other = runs(f"objective.lam={lam!r}", "precision=fp32", "optim.clip_norm=0")
    take(other)
    for name, gradient in gradients(other).items():
        assert torch.allclose(gradient, gradients(one)[name], rtol=1e-4, atol=1e-7), name


def test_projection_takes_the_part_against_the_other_off() -> None:
    one, two = [torch.tensor([1.0, 0.0])], [torch.tensor([-1.0, 1.0])]
    (total,) = projected([one, two], torch.Generator().manual_seed(0))
    # one - (one.two / two.two) two = (0.5, 0.5);  two - (two.one / one.one) one = (0, 1)
    torch.testing.assert_close(total, torch.tensor([0.5, 1.5]))
    (total,) = projected([one, [torch.tensor([1.0, 1.0])]], torch.Generator().manual_seed(0))
    torch.testing.assert_close(total, torch.tensor([2.0, 1.0]))


def test_uncertainty_moves_each_log_variance_by_half_less_the_weighted_loss(runs: Runs) -> None:
    run = runs("objective.weighting=uncertainty", "objective.uncertainty.lr=0.1")
    weighting: Any = run.model.weighting
    before = weighting.log_variance.value_K.clone()
    assert torch.exp(-before).tolist() == pytest.approx([1.0, 0.5])
    (result,) = take(run)
    gradient = [0.5 - result.weights[name] * result.losses[name] for name in ("select", "summary")]
    moved = (weighting.log_variance.value_K - before).tolist()  # Adam's first step is the sign of the gradient
    assert moved == pytest.approx([-math.copysign(0.1, value) for value in gradient], rel=1e-3)


def test_dwa_weighs_by_the_ratio_of_two_windows(runs: Runs) -> None:
    run = runs("objective.weighting=dwa", "objective.dwa.window=1", "objective.dwa.temperature=2")
    results = take(run, 3)
    assert results[1].weights == {"select": 1.0, "summary": 0.5}
    ratio = {name: results[1].losses[name] / results[0].losses[name] for name in ("select", "summary")}
    parts = {name: math.exp(value / 2) for name, value in ratio.items()}
    total = sum(parts.values())
    assert results[2].weights["select"] == pytest.approx(2 * parts["select"] / total, rel=1e-6)
    assert results[2].weights["summary"] == pytest.approx(0.5 * 2 * parts["summary"] / total, rel=1e-6)


def test_gradnorm_keeps_the_sum_and_raises_the_weaker(runs: Runs) -> None:
    run = runs("objective.weighting=gradnorm", "objective.gradnorm.lr=0.05", "objective.gradnorm.alpha=0")
    take(run)
    weighting: Any = run.model.weighting
    norms = dict(zip(weighting.names, weighting.norms, strict=True))
    after = weighting.weights(1)
    assert sum(after.values()) == pytest.approx(1.5)
    weaker = min(norms, key=lambda name: norms[name])
    assert after[weaker] / sum(after.values()) > weighting.lams[weaker] / 1.5


def test_famo_weighs_by_the_inverse_loss(runs: Runs) -> None:
    run = runs("objective.weighting=famo")
    (result,) = take(run)
    share = {name: result.weights[name] * result.losses[name] for name in result.weights}
    assert share["select"] / share["summary"] == pytest.approx(2.0, rel=1e-4)  # z starts at the lams, 1 and 0.5
    assert sum(result.weights.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["uncertainty", "dwa", "gradnorm", "pcgrad", "famo", "auto"])
def test_a_step_that_overflows_leaves_no_trace(name: str, runs: Runs) -> None:
    run = runs("precision=fp16", "precision.init_scale=1e30", *chosen(name))
    before, kept = copies(run), json.dumps(run.model.weighting.save()[1])
    (result,) = take(run)
    assert result.skipped
    assert all(torch.equal(value, copies(run)[key]) for key, value in before.items())
    assert json.dumps(run.model.weighting.save()[1]) == kept


@pytest.mark.parametrize(("overrides", "told"), [
    (("objective.weighting=pcgrat",), "did you mean 'pcgrad'"),
    (("objective=summary_only", "objective.weighting=pcgrad"), "weighs at least 2 terms and there are 1"),
    (("objective.weighting=linear", "objective.lam_start=null"), "needs objective.lam_start"),
    (("objective.weighting=cosine", "trainer.max_steps=null", "trainer.max_minutes=1"),
     "needs objective.lam_steps, the steps over which lambda moves, since trainer.max_minutes"),
    (("objective.lam_start=1", "objective.lam_steps=0"), "use objective.weighting=linear or cosine"),
    (("objective.lam_start=1", "objective.lam_steps=5"), "objective.lam_start and objective.lam_steps are set"),
    (("objective.weighting=gradnorm", "model.freeze=all"), "model.freeze=all leaves none"),
    (("objective.weighting=uncertainty", "objective.lam=0"), "summary's is 0; give it more than 0"),
    (("objective.weighting=dwa", "trainer.best_metric=loss.total"), "changes its meaning"),
    (("objective.lam=otto",), "objective.lam=otto is not a number or auto or null; give one"),
    (("objective.lam=auto", "objective.auto_steps=4"), "all of trainer.max_steps=4; lower objective.auto_steps"),
    ((*AUTO, "objective=task_only"), "balances a base term with the summary and objective.base=none has none"),
    ((*AUTO, "objective.weighting=famo"), "both say what lambda is"),
    ((*AUTO, "model.freeze=all"), "model.freeze=all leaves none; give objective.lam a number"),
    ((*AUTO, "trainer.best_metric=loss.summary.weighted"), "objective.lam=auto moves the weights"),
    ((*AUTO, "objective.terms=[{name: mlm}, {name: summary}]"), "objective.lam=auto and objective.terms contradict")])
def test_what_does_not_fit_is_one_line(overrides: tuple[str, ...], told: str, tmp_path: Path) -> None:
    refused = warm_cli("train", "trainer.max_steps=4", *overrides, cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert told in refused.stderr


def test_lambda_moves_over_all_steps_of_a_run_told_in_epochs(command: list[str], tmp_path: Path) -> None:
    command = [*command, "objective.weighting=linear", "objective.lam_start=2", "trainer.accumulate=1"]
    courses = []
    for name, length in (("steps", ["trainer.max_steps=10"]),
                         ("epochs", ["trainer.max_steps=null", "trainer.max_epochs=2"])):
        done = warm_cli(*command, *length, f"run.name={name}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "lambda = 2 -> 0.5 over 10 steps (linear)" in done.stdout
        courses.append([row["weight.summary"] for row in rows(tmp_path / "runs" / name) if "weight.summary" in row])
    assert courses[0] == courses[1] and len(courses[0]) == 10
    assert courses[0] == pytest.approx([2 - 0.15 * step for step in range(10)])


@pytest.mark.parametrize(("name", "read"), [("pcgrad", "the base"), ("gradnorm", "the base's last layer")])
def test_a_base_that_is_frozen_layer_by_layer_has_no_gradients(name: str, read: str, runs: Runs) -> None:
    with pytest.raises(ConfigError, match=f"reads gradients of {read} and model.freeze=2 leaves none"):
        take(runs(f"objective.weighting={name}", "model.freeze=2"))
