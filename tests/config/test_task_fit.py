"""A head and a base term that a task cannot use are refused by name, before any weight is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from llmtrain import registry
from llmtrain.config.keys import key
from llmtrain.config.load import load_config
from llmtrain.config.sections.data import DataConfig, RowColumns
from llmtrain.config.sections.eval import EvalConfig
from llmtrain.core.errors import ConfigError


@dataclass(kw_only=True, slots=True)
class CountHead:
    name: str = key("counter", "registered name of the head")


@dataclass(kw_only=True, slots=True)
class CountTask:
    name: str = key("counting", "registered name of the task")


@dataclass(kw_only=True, slots=True)
class CountData(DataConfig):
    def columns(self) -> RowColumns:
        return RowColumns("text", "number")


@pytest.fixture(autouse=True)
def counting() -> Iterator[None]:
    with registry.registering("counting.py"):
        registry.register("architecture", "count", CountHead, "nowhere:Model", "counts", text=False)
        registry.register("head", "counter", CountHead, "nowhere:Head", "counts", architecture="count")
        registry.register("task", "counting", CountTask, "nowhere:Task", "counts", term="count", head="counter",
                          data=CountData, eval=EvalConfig, metrics=("right",), architectures=("count",),
                          text_targets=False)
    yield
    registry.drop("counting.py")


def problems(*overrides: str) -> list[str]:
    try:
        load_config("train", ["data=files", "data.train=a", *overrides])
    except ConfigError as error:
        return error.problems
    return []


def test_a_head_of_another_architecture_is_refused_with_those_that_serve_the_task() -> None:
    assert problems("task=counting") == []
    assert problems("task=counting", "head=gru") == [
        "head=gru (seq2seq) makes nothing that task=counting asks for; use a head of counter"]
    told = problems("head=counter")
    assert len(told) == 1 and "head=counter (count) makes nothing that task=summarization asks for" in told[0]
    assert re.search(r"use a head of .*extractive.*transformer", told[0]) and told[0].count("counter") == 1


def test_a_base_term_that_reads_texts_is_refused_where_targets_are_none() -> None:
    told = problems("task=counting", "objective=joint")
    assert any("the objective select reads targets as texts and those of task=counting are none" in line
               for line in told)
    assert load_config("train", ["data=files", "data.train=a", "task=counting"]).objective.base == "mlm"
    assert load_config("train", ["data=files", "data.train=a"]).objective.base == "select"
