"""Parts of a study: cells, lengths, rungs, GPUs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from llmtrain.config.convert import to_dict
from llmtrain.config.run_id import result_dict
from llmtrain.core.children import Forwarding
from llmtrain.core.errors import ConfigError, ResourceError
from llmtrain.study.conduct import Course, halve, measured, with_lengths
from llmtrain.study.halving import going_on, rungs_of
from llmtrain.study.measured import seconds_until, step_of_score
from llmtrain.study.paces import MEASURED, Pace, Paces, lengths
from llmtrain.study.plan import plan
from llmtrain.study.results import _beside_loss, front, twin_of
from llmtrain.study.starting import check_disk, check_parallel, share
from llmtrain.study.work import Started, StudyRuns
from llmtrain.tasks.metric import Metric

BERT = "+experiment=bert_sum_bf16"


def test_halving_leaves_cells_at_rungs_and_keeps_the_base(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="needs optuna, of the extra study")
    made = with_lengths(plan([BERT, "study.lam=[0.25,0.5,1,2]", "study.seeds=2", "study.halving=2",
                              f"run.root={tmp_path}"]), {})
    assert made.cells[1].length == ("trainer.max_steps=148", "trainer.eval_every=37")
    trained: list[tuple[list[str], int | None]] = []

    class Done(StudyRuns):
        def train(self, runs: Any, pause: dict[str, int] | None = None) -> None:
            trained.append(([run.name for run in runs], pause and pause["base"]))
            for run in runs:
                self.folder(run).mkdir(parents=True, exist_ok=True)
                score = 0.0 if run.cell.base else run.cell.axes["lam"] + run.seed
                row = {"split": "validation", "step": pause and pause[run.cell.name], "rouge1": score}
                with (self.folder(run) / "metrics.jsonl").open("a") as file:
                    file.write(json.dumps(row) + "\n")

    course = Course()
    halve(made, Done(made, Forwarding(), {}), course, more_is_better=True)
    assert course.pruned == {"lam=0.25": 37, "lam=0.5": 37, "lam=1": 74}
    assert course.scores["lam=2"] == [2.5, 2.5] and course.scores["base"] == [0.0, 0.0]
    assert [(len(names), step) for names, step in trained] == [(10, 37), (6, 74), (4, None)]


def test_halving_without_optuna_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'llmtrain\[study\]'"):
        plan([BERT, "study.lam=[0.5,1]", "study.halving=2"])


def test_the_base_cell_is_found_among_the_others_or_added() -> None:
    found = plan([BERT, "study.lam=[none,0.5]", "study.precision=[bf16,fp32]", "objective.weighting=pcgrad"])
    assert [cell.name for cell in found.cells] == [
        "lam=none-precision=fp32", "lam=none-precision=bf16", "lam=0.5-precision=bf16", "lam=0.5-precision=fp32"]
    base, alone = found.config, found.cells[1].config
    assert (base.objective.base, base.objective.weighting, base.precision.name.value) == ("none", "fixed", "fp32")
    assert (alone.objective.base, alone.precision.name.value) == ("none", "bf16")
    twins = [twin_of(cell, found.cells) for cell in found.cells]
    assert twins == [None, found.cells[0], found.cells[3], None]
    added = plan([BERT, "study.axes={head: [gru,transformer], objective.base: [mlm]}"])
    assert [cell.name for cell in added.cells][:2] == ["base", "head=gru-base=mlm"]
    assert (added.config.head.name, added.config.objective.base) == ("gru", "none")
    recipes = plan([BERT, 'study.recipes={deep: "head.layers=4 objective.lam=2", alone: "objective=task_only '
                          'precision=fp32"}'])
    assert [cell.name for cell in recipes.cells] == ["recipe=alone", "recipe=deep"]
    assert recipes.cells[1].config.head.layers == 4  # type: ignore[attr-defined]
    ordinary = result_dict(recipes.cells[1].config)
    assert ordinary["objective.lam.summary"] == 2.0


def test_a_cell_is_held_against_what_differs_by_one_thing_alone() -> None:
    """In fp32 it is the same joint cell, not the base cell; and a head of its own stands beside the loss."""
    found = plan([BERT, "study.axes={head: [gru,lstm], objective.base: [mlm]}", "study.precision=[fp32,bf16]"])
    base, first, low, other, _ = found.cells
    assert base.axes == {"head": "gru", "base": None, "precision": "fp32"}
    assert (low.name, twin_of(low, found.cells)) == ("head=gru-base=mlm-precision=bf16", first)
    assert [_beside_loss(base, cell)[:1] for cell in (first, low)] == [[], []]
    assert "head.name" in _beside_loss(base, other)
    for text, told in (("trainer.max_steps=900", "lengths are equal"), ("data.test=x.jsonl", "make a study of each")):
        with pytest.raises(ConfigError, match=told):
            plan([BERT, f'study.recipes={{a: "objective=task_only", b: "{text}"}}'])


def test_a_base_cell_that_comes_into_the_grid_later_keeps_its_runs(tmp_path: Path) -> None:
    words = [BERT, "precision=fp32", f"run.root={tmp_path}", "run.name=grown", "study.seeds=1"]
    begun = plan([*words, "study.lam=[0.5]"])
    (tmp_path / "grown/base-seed=0").mkdir(parents=True)
    stored = tmp_path / "grown/base-seed=0/config.yaml"
    stored.write_text(yaml.safe_dump(to_dict(begun.config)))
    assert [run.name for run in plan([*words, "study.lam=[0.5,none]"]).runs()] == ["base-seed=0", "lam=0.5-seed=0"]
    stored.write_text(yaml.safe_dump(to_dict(begun.cells[1].config)))  # another study's
    assert plan([*words, "study.lam=[0.5,none]"]).runs()[0].name == "lam=none-seed=0"


def test_combinations_that_do_not_go_together_are_left_out() -> None:
    found = plan([BERT, "study.axes={objective.weighting: [fixed,step]}", "study.lam=[1,auto]"])
    assert len(found.cells) == 4
    assert [one.name for one in found.left_out] == ["weighting=step-lam=auto"]
    assert "both say what lambda is" in found.left_out[0].problem


def test_equal_minutes_are_steps_at_the_measured_pace(tmp_path: Path) -> None:
    found = plan([BERT, "study.lam=[0.5]", "study.seeds=2", "study.total_minutes=8", "study.equal=minutes",
                  f"run.root={tmp_path}"])
    assert found.minutes == 2.0 and not found.is_measured
    paces, asked = Paces(found.folder), []

    def train(more: list[str], name: str) -> Path:
        assert more == MEASURED
        asked.append(name)
        run = tmp_path / name
        run.mkdir()
        step = (2.0 if "base" in name else 4.0) + (50 if name.endswith("-0") else 0)  # the first round is disturbed
        (run / "metrics.jsonl").write_text(json.dumps({"split": "train", "step": 32, "time.step": step}))
        (run / "results.json").write_text('{"seconds": 0.0}')
        return run

    for cell, turn in paces.missing(found.cells, 3):
        paces.measure(cell, turn, train)
    assert asked == [f"pace-{name}-{turn}" for turn in range(3) for name in ("base", "lam=0.5")]
    kept = Paces(found.folder)
    assert kept.missing(found.cells, 3) == []
    known = {cell.name: kept.get(cell) for cell in found.cells}
    assert {name: pace.step for name, pace in known.items() if pace} == {"base": 2.0, "lam=0.5": 4.0}
    two = {"base": Pace(2.0, 0), "lam=0.5": Pace(4.0, 0)}
    assert lengths(found.cells, two, 2.0, equal_steps=False) == {"base": 60, "lam=0.5": 30}
    assert lengths(found.cells, two, 2.0, equal_steps=True) == {"base": 40, "lam=0.5": 40}


def test_a_cell_whose_pace_cannot_be_measured_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan([BERT, "study.lam=[0.5,2]", "study.total_minutes=9", "study.rounds=2", f"run.root={tmp_path}"])

    def measure(self: Paces, cell: Any, turn: int, train: Any) -> None:
        if cell.name == "lam=2":
            raise ResourceError("lam=2 failed while its pace was measured: out of memory")
        self._found.setdefault(cell.name, []).append({"step": 1.0, "start": 0.0})

    monkeypatch.setattr(Paces, "measure", measure)
    known, left = measured(made, Forwarding())
    assert known.keys() == {"base", "lam=0.5"} == {cell.name for cell in left.cells}
    assert left.left_out[0].name == "lam=2" and "out of memory" in left.left_out[0].problem
    assert left.cells[0].config.trainer.max_steps == 60  # of the minutes of three cells


def test_runs_at_a_time_have_a_gpu_each_or_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan([BERT, "study.lam=[0.5,1]", "study.parallel=3", "study.seeds=1"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert [share(slot, 2) for slot in (0, 1)] == [{"CUDA_VISIBLE_DEVICES": "2"}, {"CUDA_VISIBLE_DEVICES": "5"}]
    assert share(0, 1) == {}
    with pytest.raises(ConfigError, match="study.parallel=3 and 2 GPUs are seen; use study.parallel=2"):
        check_parallel(made)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    check_parallel(made)
    assert share(0, 1000) == {"OMP_NUM_THREADS": "1"}
    most, slots = [], []

    class Counting(StudyRuns):
        def _start(self, run: Any, slot: int, pause: Any) -> Started:
            slots.append(slot)
            return Started(run, subprocess.Popen(["sleep", "0.1"]), slot, Path(), 0, 0.0)

        def _wait(self, at_work: list[Started], waiting: Any) -> list[Started]:
            most.append(len(at_work))
            return super()._wait(at_work, waiting)

        def _tell(self, one: Started) -> None:
            pass

    Counting(made, Forwarding(), {}).train(made.runs() * 2)
    assert max(most) == 3 and set(slots) == {0, 1, 2} and len(slots) == 6


def test_a_disk_that_holds_no_more_runs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").write_bytes(bytes(2**20))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=3 * 2**20))
    assert check_disk(tmp_path, 3) is None
    told = check_disk(tmp_path, 4)
    assert told is not None and "4 more are to come" in told


def test_rungs_and_who_goes_on() -> None:
    pytest.importorskip("optuna", reason="needs optuna, of the extra study")
    assert rungs_of(8, 2).shares == (0.125, 0.25, 0.5) and rungs_of(8, 2).cost(8) == 3.5
    scores = {"a": 1.0, "b": 4.0, "c": 2.0, "d": 3.0, "e": 0.0}
    assert going_on(scores, 2, True) == ["b", "d"] and going_on(scores, 2, False) == ["a", "e"]
    assert going_on(dict(reversed(scores.items())), 2, True) == ["d", "b"]


def test_the_front_holds_what_no_other_beats_in_score_and_cost() -> None:
    cells = [{"name": name, "cost": cost, "metrics": {"f1": {"mean": mean}}} for name, cost, mean in (
        ("slow", 9.0, 50.0), ("best", 5.0, 50.0), ("cheap", 1.0, 40.0), ("beaten", 2.0, 39.0), ("unknown", None, 99.0))]
    assert front(cells, "f1", Metric("f1", "F1"), "cost") == ["cheap", "best"]
    assert front(cells, "f1", Metric("f1", "F1", more_is_better=False), "cost") == ["cheap", "beaten"]


def test_when_a_score_was_reached() -> None:
    rows: list[dict[str, Any]] = [
        {"split": "train", "step": 10, "time.step": 1.0}, {"split": "validation", "step": 10, "f1": 40.0},
        {"split": "train", "step": 20, "time.step": 2.0}, {"split": "validation", "step": 15, "f1": 60.0}]
    assert step_of_score(rows, "f1", 50, True) == 15 and step_of_score(rows, "f1", 50, False) == 10
    assert step_of_score(rows, "f1", 70, True) is None
    assert seconds_until(rows, 15) == 10 + 5 * 2.0
