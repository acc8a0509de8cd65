"""Every combination trains, resumes bitwise and is scored, or is refused with the reason before any weight is read.

The whole of docs/records/combinations.md is `scripts/combinations`; here each value stands in some row, and some
refusals of that page are asked for again.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from combinations import NEUTRAL, Bench, Cell, covering, difference, factors, named, pairwise_in_processes
from helpers import warm_cli
from llmtrain import registry
from llmtrain.cli.commands.sweep import checked, jobs_of
from llmtrain.config.compose import config_dir
from llmtrain.core.errors import ConfigError

PAGE: dict[str, Any] = json.loads((Path(__file__).resolve().parents[2] / "docs/records/combinations.json").read_text())
REFUSED: list[Cell] = [entry["cell"] for entry in PAGE["refused"]]
ROWS = covering(PAGE["factors"], 1, REFUSED, seed=1)[0]
SEVERAL = [*covering(PAGE["factors"], 2, [*REFUSED, {"processes": "1"}], seed=2)[0][:2],
           {"objective": "mlm alone", "processes": "2"}]
NOT_INSTALLED = "is not installed; run: pip install"  # an extra's package, which not every machine has


def whole(row: Cell) -> Cell:
    """A row with a value for factors that the page does not have."""
    return {factor: NEUTRAL[factor] for factor in factors()} | row


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("combinations"))


def holds(rows: list[Cell], pair: tuple[tuple[str, str], ...]) -> bool:
    return any(dict(pair).items() <= row.items() for row in rows)


def test_the_rows_hold_every_pair_that_may_be() -> None:
    values = {"a": ["1", "2", "3"], "b": ["x", "y"], "c": ["p", "q", "r"], "d": ["0", "1"]}
    forbidden = [{"a": "1", "b": "x"}, {"a": "2", "c": "q", "d": "0"}, {"b": "y", "c": "r"}, {"c": "r", "a": "1"}]
    rows, impossible = covering(values, 2, forbidden, seed=3)
    assert (rows, impossible) == covering(values, 2, forbidden, seed=3)
    assert not [row for row in rows for cell in forbidden if cell.items() <= row.items()]
    told = {frozenset(pair) for pair in impossible}
    assert told == {frozenset(cell.items()) for cell in forbidden if len(cell) == 2}
    for one, two in itertools.combinations(values, 2):
        for pair in itertools.product(values[one], values[two]):
            named_pair = ((one, pair[0]), (two, pair[1]))
            assert holds(rows, named_pair) != (frozenset(named_pair) in told), named_pair
    assert len(rows) <= 12, "9 are the least without what is forbidden"
    assert len(covering(values, 1)[0]) == 3


def test_the_page_is_of_these_parts() -> None:
    gone = {factor: set(values) - set(factors().get(factor, [])) for factor, values in PAGE["factors"].items()}
    assert not any(gone.values()), f"parts went: {gone}; run scripts/combinations"
    assert all(row["outcome"] == "well" for row in PAGE["rows"])
    impossible = {frozenset(pair) for pair in covering(PAGE["factors"], 2, REFUSED, PAGE["seed"])[1]}
    for one, two in itertools.combinations(PAGE["factors"], 2):
        for pair in itertools.product(PAGE["factors"][one], PAGE["factors"][two]):
            named_pair = ((one, pair[0]), (two, pair[1]))
            assert holds(PAGE["rows"], named_pair) or frozenset(named_pair) in impossible, named_pair


@pytest.mark.parametrize("entry", random.Random(4).sample(PAGE["refused"], min(8, len(PAGE["refused"]))),
                         ids=lambda entry: named(entry["cell"]))
def test_what_is_refused_is_refused_before_weights_are_read(entry: dict[str, Any], bench: Bench) -> None:
    cell = {factor: NEUTRAL[factor] for factor in factors()} | entry["cell"]
    assert bench.refusal(cell) == entry["reason"]


@pytest.mark.parametrize("row", [*(row | {"processes": "1"} for row in ROWS), {"objective": "extraction alone"}],
                         ids=named)
def test_each_part_trains_resumes_and_is_scored(row: Cell, bench: Bench) -> None:
    problem = bench.check(whole(row))
    if NOT_INSTALLED in problem:
        pytest.skip(problem)
    assert problem == ""


@pytest.mark.usefixtures("warm_children")
def test_so_it_is_with_two_processes(bench: Bench) -> None:
    rows = list(map(whole, SEVERAL))
    outcomes = zip(map(named, rows), pairwise_in_processes(rows, bench.folder), strict=True)
    assert not {name: problem for name, problem in outcomes if problem and NOT_INSTALLED not in problem}


def test_a_resumed_run_that_is_another_is_told(bench: Bench) -> None:
    """Else the tests above could pass on anything."""
    assert bench.trains({factor: NEUTRAL[factor] for factor in factors()}, "told") == ""
    run, other = bench.folder / "runs/told", bench.folder / "runs/other"
    shutil.copytree(run, other)
    assert difference(run, other) == ""
    file = other / "checkpoints/step-3/state/optimizer.safetensors"
    tensors = load_file(file)
    name = sorted(tensors)[-1]
    save_file(tensors | {name: tensors[name] + 1e-6}, file)
    assert difference(run, other) == f"resumed: 1 tensors differ in state/optimizer.safetensors, first {name}"
    save_file(tensors, file)
    log = other / "metrics.jsonl"
    log.write_text(log.read_text().replace('"grad_norm": ', '"grad_norm": 1'))
    assert difference(run, other) == "resumed: metrics.jsonl differs"


SWEPT = {"head": ["objective=summary_only"], "model": ["objective=summary_only"], "precision": [], "tuning": [],
         "optim.name": [], "objective": ["objective.base=mlm"], "objective.base": [],
         "objective.weighting": ["objective.lam_start=2", "objective.lam_steps=3"]}


def choices(key: str) -> list[str]:
    """Everything that a key can be set to, by name."""
    kind = {"optim.name": "optimizer", "objective.base": "objective", "objective.weighting": "weighting"}.get(key)
    if kind is not None:
        return [part.name for part in registry.parts(kind)]
    return sorted(path.stem for path in (config_dir() / key).glob("*.yaml"))


@pytest.mark.parametrize("key", SWEPT)
def test_all_compose_in_a_multirun(key: str, bench: Bench) -> None:
    """Each is composed; what the checks before a run say is of what cannot go together, and none of the keys."""
    values = choices(key)
    sweep = [f"{key}={','.join(values)}", *SWEPT[key], "trainer.max_steps=1"]
    shown = warm_cli("train", "--multirun", "--cfg", "job", *sweep, cwd=bench.folder)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("# job") == len(values) >= 2
    try:
        checked(jobs_of(sweep))
    except ConfigError as error:
        told = " ".join(error.problems)
        assert "unknown" not in told and "did you mean" not in told and "not one of" not in told, told
        assert len(error.problems) < len(values), told
