"""Texts arrive as they are typed, on the command line and in a sweep; numbers stay numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from llmtrain.cli.commands.sweep import jobs_of
from llmtrain.config.compose import compose, parse
from llmtrain.config.load import load
from llmtrain.config.overrides.texts import quote_overrides
from llmtrain.config.yaml_text import as_yaml
from llmtrain.core.errors import ConfigError

TEXTS = ["695e0514", "1e3", "1_000", "007", "007.jsonl", "true", "nan", "inf", "+3", ".5", "int(5)", "a=b", "on",
         "'tis"]


def at(command: str, key: str, *overrides: str) -> Any:
    found: Any = load(command, list(overrides)).values
    for name in key.split("."):
        found = found[name]
    return found


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("key", ["run.name", "model.revision", "data.document"])
def test_a_text_key_takes_the_text_as_typed(text: str, key: str) -> None:
    assert at("train", key, f"{key}={text}") == text


@pytest.mark.parametrize("command", ["train", "eval", "summarize"])
def test_every_command_keeps_texts(command: str) -> None:
    assert at(command, "data.hub.revision", "data.hub.revision=1e3") == "1e3"
    assert at(command, "data.train", "data.train=[1e3,2e4]") == ["1e3", "2e4"]
    assert at(command, "data.unlabelled", "data.unlabelled=1e5") == "1e5"


def test_null_and_quotes_keep_their_meaning() -> None:
    assert at("train", "run.name", "run.name=null") is None
    assert at("train", "run.name", "run.name='null'") == "null"
    assert at("train", "run.name", "run.name='1e3'") == "1e3"
    assert at("train", "data.document", "data.document=null") == "null"


def test_texts_inside_lists_and_groups_are_kept() -> None:
    assert at("train", "tuning.targets", "tuning.targets=[1e3,query]") == ["1e3", "query"]
    terms = at("train", "objective.terms", "objective.terms=[{name: 1e3, lam: 2}]")
    assert terms == [{"name": "1e3", "lam": 2.0}]
    steps = at("train", "data.preprocess", "data.preprocess=[{name: replace, pattern: a, by: 1e3, timeout: 2}, nfkc]")
    assert steps == [{"name": "replace", "pattern": "a", "by": "1e3", "timeout": 2}, "nfkc"]


def test_a_number_stays_a_number() -> None:
    assert at("train", "optim.base_lr", "optim.base_lr=1e-3") == 0.001
    assert quote_overrides(["trainer.max_steps=3", "objective.lam=1e3"], "train") == ["trainer.max_steps=3",
                                                                                     "objective.lam=1e3"]


def test_a_group_option_that_looks_like_a_number_is_a_name() -> None:
    with pytest.raises(ConfigError, match="unknown option experiment=1e3"):
        compose("train", ["+experiment=1e3"])


def test_a_sweep_keeps_texts_and_names_its_runs_by_what_they_change() -> None:
    assert jobs_of(["run.name=1,2"]) == [["run.name='1'"], ["run.name='2'"]]
    assert [at("train", "data.document", *job) for job in jobs_of(["data.document=choice(1e3,2e4)"])] == ["1e3", "2e4"]
    with pytest.raises(ConfigError, match="lists no values to train with"):
        jobs_of(["data.document=1e3,choice(2e4)"])
    jobs = jobs_of(["run.name=s", "objective.lam=0.3,0.5", "run.seed=0,1"])
    assert [parse(job)[-1].value() for job in jobs] == ["s-lam=0.3-seed=0", "s-lam=0.3-seed=1", "s-lam=0.5-seed=0",
                                                       "s-lam=0.5-seed=1"]
    assert [job[-1] for job in jobs_of(["run.name=a,b", "run.seed=0,1"])] == ["run.name=a", "run.name=b"]
    with pytest.raises(ConfigError, match="lists 3 names and there are 2 jobs"):
        jobs_of(["run.name=a,b,c", "run.seed=0,1"])


def test_long_and_strange_values_make_short_safe_names_that_differ() -> None:
    jobs = jobs_of(["run.name=s", f"data.document='{'a' * 300}/','{'a' * 300}:'"])
    names = [parse(job)[-1].value() for job in jobs]
    assert len(set(names)) == 2 and all(len(name) < 120 and "/" not in name for name in names)


def test_a_grown_sweep_goes_on_with_runs_that_are_there(tmp_path: Path) -> None:
    from llmtrain.cli.commands.sweep import checked
    from llmtrain.cli.commands.sweep_names import going_on
    from llmtrain.config.convert import to_dict

    base = [f"run.root={tmp_path}", "run.name=s", "trainer.max_steps=3"]
    (old,) = checked(jobs_of([*base, "objective.lam=0.3"]))
    (tmp_path / "s-1").mkdir()  # as an earlier version numbered it
    (tmp_path / "s-1/config.yaml").write_text(yaml.safe_dump(to_dict(old)))
    overrides = [*base, "objective.lam=0.2,0.3", f"optim.base_lr={old.optim.base_lr},0.1"]
    jobs = jobs_of(overrides)
    names = [parse(job)[-1].value() for job in going_on(jobs, checked(jobs), overrides)]
    assert names.count("s-1") == 1 and names[2] == "s-1" and len(set(names)) == 4


def test_what_is_shown_is_read_back_alike_by_other_readers() -> None:
    from omegaconf import OmegaConf

    content = {"run": {"name": "695e0514", "on": "yes", "n": 3}, "text": "1e3"}
    assert OmegaConf.to_container(OmegaConf.create(as_yaml(content))) == content


def test_all_wrong_values_are_told_at_once_and_other_programs_names_are_known() -> None:
    with pytest.raises(ConfigError) as caught:
        compose("train", ["trainer.max_steps=x", "optim.lr=1", "num_train_epochs=3", "fp16=true", "precision.name=fp17",
                          "objective.lambda=2", "train_file=a", "run.dir=a"])
    told = "\n".join(caught.value.problems)
    for line in ("trainer.max_steps=x is not a whole number or null", "did you mean optim.base_lr or optim.head_lr?",
                 "did you mean trainer.max_epochs?", "did you mean precision=fp16?",
                 "precision.name=fp17 is not one of", "did you mean objective.lam?", "did you mean data.train?",
                 "did you mean run.root or run.name?"):
        assert line in told, told


def test_every_name_in_the_table_of_synonyms_leads_somewhere() -> None:
    from llmtrain.config.overrides.synonyms import HERE
    from llmtrain.config.reference import keys
    from llmtrain.config.schema import SCHEMAS

    known = {path for command in SCHEMAS for path in keys(command)} | {"precision", "optim", "schedule", "data",
                                                                       "tuning", "objective"}
    assert {here for names in HERE.values() for here in names} <= known


def test_a_weighting_that_moves_lambda_takes_the_runs_steps_and_begins_at_0() -> None:
    overrides = ["objective.weighting=linear", "trainer.max_steps=9"]
    assert at("train", "objective.lam_start", *overrides) == 0.0
    assert at("train", "objective.lam_steps", *overrides) == 9
    assert at("train", "objective.lam_steps", *overrides, "objective.lam_steps=4") == 4
    assert at("train", "objective.lam_start", "objective.weighting=fixed", "trainer.max_steps=9") is None


AS_TYPED: dict[str, Any] = {
    "data.document=null": "null", "run.name=null": None, "data.document=": "", "data.train=1e3": "1e3",
    "data.train=[1e3,a b]": ["1e3", "a b"], "+experiment=1e3": "1e3", "precision=1e3": "1e3",
    "model={path: 1e3}": {"path": "1e3"}, "objective={base: 1e3,lam: 1e3}": {"base": "1e3", "lam": 1000.0},
    "data.empty_cells=[1,NA,null]": ["1", "NA", "null"], "data.empty_cells=[]": [], "data.empty_cells=1": 1,
    "data.preprocess=[1e3,{name: 2e3}]": ["1e3", {"name": "2e3"}], "data.preprocess={name: 1e3}": {"name": "1e3"},
    "data.preprocess={name: nosuch,x: 1e3}": {"name": "nosuch", "x": 1000.0},
    "objective.terms=[{name: 1e3,lam: 1e3}]": [{"name": "1e3", "lam": 1000.0}],
    "objective.terms={name: 1e3}": {"name": "1e3"}, "head.layers=1e3": 1000.0, "run.name=[1]": [1],
    "run.name={a: 1}": {"a": 1}, "data.document=" + "9" * 5000: "9" * 5000, "data.document=" + "[" * 2000: "[" * 2000,
    "data.document=1e3:2": "1e3:2", "~run.name": None, "run.name=a,b": ["a", "b"]}
SWEPT: dict[str, list[Any]] = {
    "run.name=1e3,2e3": ["1e3", "2e3"], "run.name=choice(1e3,a)": ["1e3", "a"], "run.name=range(1,3)": [1, 2],
    "precision=1e3,fp16": ["1e3", "fp16"], "objective.lam=0.3,1e3": [0.3, 1000.0],
    "data.empty_cells=[1],[2]": [["1"], ["2"]], "data.train=1e3,2e3": ["1e3", "2e3"]}


def plainly(value: Any) -> Any:
    """A parsed value without the grammar's own quotes."""
    if isinstance(value, list):
        return [plainly(one) for one in value]
    return getattr(value, "text", value)


@pytest.mark.parametrize("override", AS_TYPED, ids=lambda override: override[:40])
def test_a_value_is_read_as_its_key_has_it(override: str) -> None:
    (read,) = parse(quote_overrides([override], "train"))
    found = list(read.sweep_iterator()) if read.is_sweep_override() else read.value()
    assert plainly(found) == AS_TYPED[override]


@pytest.mark.parametrize("override", SWEPT)
def test_values_of_a_sweep_are_read_as_their_key_has_them(override: str) -> None:
    (read,) = parse(quote_overrides([override], "train", multirun=True))
    assert [plainly(value) for value in read.sweep_iterator()] == SWEPT[override]


def test_a_sweeps_values_may_be_drawn_in_another_order() -> None:
    (read,) = parse(quote_overrides(["run.name=shuffle(1,2)"], "train", multirun=True))
    assert sorted(plainly(value) for value in read.sweep_iterator()) == ["1", "2"]
