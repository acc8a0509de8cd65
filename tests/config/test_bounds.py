"""Every number has a range at its key, which the command line enforces and shows, for a plugin's options too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from helpers import warm_cli
from llmtrain import registry
from llmtrain.config.bounds import LARGEST, Bounds, out_of_range
from llmtrain.config.checks import problems_of
from llmtrain.config.from_checkpoint import FIXED, FIXED_KEYS
from llmtrain.config.keys import key
from llmtrain.config.load import load_config
from llmtrain.config.reference import Key, keys, section_keys
from llmtrain.config.sections.doctor import DoctorConfig
from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.config.sections.preprocess import typed_steps
from llmtrain.config.sections.show import ShowConfig
from llmtrain.config.sections.task import DEFAULT
from llmtrain.core.errors import ConfigError

UNBOUNDED: dict[str, str] = {}  # path of a number that may be anything: why
DOCS = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
OBJECTIVES = [part.name for part in registry.parts("objective")]
HEADS, OPTIMIZERS, WEIGHTINGS = ([part.name for part in registry.parts(kind)]
                                 for kind in ("head", "optimizer", "weighting"))


def numbers(listed: list[Key]) -> list[Key]:
    """Those of the keys that hold numbers, alone or in a list."""
    return [one for one in listed if {one.type, *get_args(one.type)} & {int, float}]


def all_numbers() -> Iterator[tuple[str, Key]]:
    """(where it stands, key) of every numeric key of every command, step and list of groups."""
    for head in HEADS:
        yield from ((f"head={head}", one) for one in numbers(list(keys("train", head).values())))
    for command in ("eval", "summarize"):
        yield from ((command, one) for one in numbers(list(keys(command).values())))
    yield from (("data show", one) for one in numbers(section_keys(ShowConfig, "show.")))
    yield from (("doctor", one) for one in numbers(section_keys(DoctorConfig, "doctor.")))
    for step in registry.parts("preprocess"):
        yield from ((f"step {step.name}", one) for one in numbers(section_keys(step.options, "")))
    for one in keys("train").values():
        for entry in get_args(one.type):
            if is_dataclass(entry) and isinstance(entry, type):
                yield from ((one.path, inner) for inner in numbers(section_keys(entry, f"{one.path}[0].")))


def beyond(one: Key, end: str) -> float | None:
    """A number a little beyond one end of a key's range; None where that end is open."""
    bounds, step = one.bounds, 1 if one.type is int else 0.5
    if end == "low":
        return bounds.above if bounds.min is None else bounds.min - step
    if bounds.max is None and bounds.below is None:
        return LARGEST + 1 if one.type is int else None
    return bounds.below if bounds.max is None else max(bounds.max + step, bounds.max * 1.5 if one.type is float else 0)


def beyond_all(listed: list[Key], end: str) -> dict[str, float]:
    return {one.path: value for one in listed if (value := beyond(one, end)) is not None}


def assert_all_told(problems: list[str], given: dict[str, float]) -> None:
    for path, value in given.items():
        shown = str(value) if isinstance(value, int) else f"{value:g}"
        assert any(line.startswith(f"{path}={shown} must be ") and line.endswith("; change it")
                   for line in problems), (path, problems)


def test_every_number_has_a_range_or_a_reason_to_have_none() -> None:
    found = dict(all_numbers())
    assert len(found) >= 10
    open_ended = {f"{where}: {one.path}" for where, one in all_numbers() if not one.bounds}
    assert open_ended == set(UNBOUNDED), "give the key min=, max=, above= or below=, or say here why it has none"
    wrong = [one.path for command in ("train", "eval", "summarize") for one in keys(command).values()
             if one.bounds and one not in numbers([one])]
    assert not wrong, "a range at what is no number"


@pytest.mark.parametrize("end", ["low", "high"])
@pytest.mark.parametrize("index", range(max(map(len, (HEADS, OPTIMIZERS, WEIGHTINGS)))))
def test_train_refuses_every_number_beyond_an_end_of_its_range_at_once(index: int, end: str, tmp_path: Path) -> None:
    head, optimizer, weighting = (names[index % len(names)] for names in (HEADS, OPTIMIZERS, WEIGHTINGS))
    unread = {f"{section}.{name}." for section, names in (("optim", OPTIMIZERS), ("objective", WEIGHTINGS))
              for name in names if name not in (optimizer, weighting)}
    chosen = [one for one in numbers(list(keys("train", head, DEFAULT).values()))
              if not one.path.startswith(tuple(unread))]
    terms = ", ".join(f"{{name: {name}, lam: -1}}" for name in OBJECTIVES)
    given = beyond_all(chosen, end)
    chosen_parts = (f"head={head}", f"optim.name={optimizer}", f"objective.weighting={weighting}",
                    f"objective.terms=[{terms}]", "tuning=lora")
    result = warm_cli("train", *chosen_parts, *(f"{path}={value}" for path, value in given.items()), cwd=tmp_path)
    assert result.returncode == 2
    problems = [line.removeprefix("llmtrain: ").strip() for line in result.stderr.splitlines()]
    assert_all_told(problems, given | {f"objective.terms[{i}].lam": -1.0 for i in range(len(OBJECTIVES))})


@pytest.mark.parametrize("end", ["low", "high"])
@pytest.mark.parametrize("command", ["eval", "summarize"])
def test_eval_and_summarize_refuse_every_number_beyond_an_end_of_its_range(command: str, end: str) -> None:
    free = [one for one in keys(command, task=DEFAULT).values()
            if one.path.partition(".")[0] not in FIXED and one.path not in FIXED_KEYS]
    given = beyond_all(numbers(free), end)
    with pytest.raises(ConfigError) as refused:
        load_config(command, [f"{path}={value}" for path, value in given.items()])
    assert_all_told(refused.value.problems, given)


@pytest.mark.parametrize("end", ["low", "high"])
@pytest.mark.parametrize("task", [part.name for part in registry.parts("task") if part.name != DEFAULT])
def test_train_refuses_every_number_of_another_task_beyond_an_end_of_its_range(task: str, end: str) -> None:
    default = keys("train", task=DEFAULT)
    own = [one for one in numbers(list(keys("train", task=task).values())) if one.path not in default]
    given = beyond_all(own, end)
    with pytest.raises(ConfigError) as refused:
        load_config("train", [f"task={task}", "data=files", "data.train=rows.csv",
                              *(f"{path}={value}" for path, value in given.items())])
    assert_all_told(refused.value.problems, given)


@pytest.mark.parametrize("end", ["low", "high"])
@pytest.mark.parametrize(("command", "schema", "section"), [
    (("data", "show"), ShowConfig, "show."), (("doctor",), DoctorConfig, "doctor.")])
def test_a_commands_own_keys_refuse_every_number_beyond_an_end_of_its_range(
        command: tuple[str, ...], schema: type, section: str, end: str, tmp_path: Path) -> None:
    given = beyond_all(numbers(section_keys(schema, section)), end)
    result = warm_cli(*command, *(f"{path}={value}" for path, value in given.items()), cwd=tmp_path)
    assert result.returncode == 2
    assert_all_told([line.removeprefix("llmtrain: ").strip() for line in result.stderr.splitlines()], given)


@pytest.mark.parametrize("end", ["low", "high"])
def test_steps_refuse_every_number_beyond_an_end_of_its_range(end: str) -> None:
    for step in registry.parts("preprocess"):
        if given := beyond_all(numbers(section_keys(step.options, "")), end):
            with pytest.raises(ConfigError) as refused:
                typed_steps([{"name": step.name, **given}])
            start = f"data.preprocess[0] ({step.name}): "
            assert_all_told([line.removeprefix(start) for line in refused.value.problems if line.startswith(start)],
                            given)


def test_every_range_is_shown_beside_its_key(tmp_path: Path) -> None:
    for command in ("train", "eval", "summarize"):
        shown = warm_cli("config", command, *(["trainer.max_steps=1"] if command == "train" else []), cwd=tmp_path)
        lines = {line.partition(":")[0]: line for line in shown.stdout.splitlines()}
        for one in numbers(list(keys(command, "transformer" if command == "train" else None, DEFAULT).values())):
            assert str(one.bounds) in lines[one.path].rpartition(" (")[2], lines[one.path]
    table = (line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| `"))
    rows = {line.split("`")[1]: line for line in table}
    assert "| from 1 to 4096 |" in rows["trainer.threads"] and "| lam 0 or more |" in rows["objective.terms"]


def test_options_of_what_is_not_chosen_are_not_checked() -> None:
    unread = ("objective.mlm.fraction=2", "objective.dwa.window=0", "optim.muon.momentum=1", "tuning.rank=0")
    config: Any = load_config("train", ["trainer.max_steps=1", *unread])
    assert not problems_of(config)
    config.objective.base, config.objective.weighting, config.optim.name = "mlm", "dwa", "muon"
    config.tuning = type(config.tuning)(name=type(config.tuning.name).lora, rank=0)
    assert_all_told(problems_of(config), {"objective.mlm.fraction": 2.0, "objective.dwa.window": 0,
                                          "optim.muon.momentum": 1.0, "tuning.rank": 0})


@pytest.mark.parametrize(("bounds", "text"), [
    (Bounds(min=0), "0 or more"), (Bounds(max=0), "0 or less"), (Bounds(above=0), "more than 0"),
    (Bounds(below=1), "less than 1"), (Bounds(min=0, max=1), "from 0 to 1"), (Bounds(min=1, max=99), "from 1 to 99"),
    (Bounds(min=0, below=1), "from 0 to less than 1"), (Bounds(above=0, max=1), "more than 0 and at most 1"),
    (Bounds(above=0, below=1), "more than 0 and less than 1"), (Bounds(), "")])
def test_a_range_in_words(bounds: Bounds, text: str) -> None:
    assert str(bounds) == text and bool(bounds) == bool(text)


@pytest.mark.parametrize(("bounds", "value", "told"), [
    (Bounds(min=1), 0, "more than 0"), (Bounds(min=1), 0.5, "1 or more"), (Bounds(min=2), 1, "2 or more"),
    (Bounds(min=0), -1, "0 or more"), (Bounds(above=0), 0.0, "more than 0"), (Bounds(max=0), 0.1, "0 or less"),
    (Bounds(min=0, max=1), 1.5, "from 0 to 1"), (Bounds(min=0, max=1), -0.5, "from 0 to 1"),
    (Bounds(min=1, max=9), 10, "at most 9"), (Bounds(min=0, below=1), 1.0, "less than 1"),
    (Bounds(min=0), float("nan"), "0 or more"), (Bounds(), float("nan"), "a number"),
    (Bounds(), float("inf"), "finite"), (Bounds(), -float("inf"), "finite"),
    (Bounds(min=1), LARGEST + 1, f"at most {LARGEST}"), (Bounds(), -LARGEST - 1, f"{-LARGEST} or more"),
    (Bounds(min=1, max=9), 9, None), (Bounds(min=1, max=9), 1, None), (Bounds(above=0, below=1), 0.5, None),
    (Bounds(), LARGEST, None), (Bounds(), -1e300, None)])
def test_what_a_number_must_be_and_is_not(bounds: Bounds, value: float, told: str | None) -> None:
    assert bounds.problem(value) == (told and f"must be {told}")


@dataclass(kw_only=True, slots=True)
class Inner:
    share: float = key(0.5, "a share", min=0, max=1)


@dataclass(kw_only=True, slots=True)
class Outer:
    inner: Inner = key(Inner, "a group")
    several: list[Inner] = key(list, "groups")
    widths: list[int] | None = key(None, "numbers", min=1)
    named: dict[str, float] = key(dict, "numbers by name", max=5)
    plain: int = field(default=1)
    switch: bool = key(False, "not a number")
    count: int | None = key(None, "a count", min=1)


def test_numbers_in_groups_lists_and_groups_in_lists_are_checked() -> None:
    assert list(out_of_range(Outer(), "x")) == []
    made = Outer(inner=Inner(share=2.0), several=[Inner(), Inner(share=-1.0)], widths=[3, 0], named={"a": 6.0},
                 plain=2**63, switch=True, count=0)
    assert list(out_of_range(made)) == [
        "inner.share=2 must be from 0 to 1; change it", "several[1].share=-1 must be from 0 to 1; change it",
        "widths[1]=0 must be more than 0; change it", "named.a=6 must be 5 or less; change it",
        f"plain={2**63} must be at most {LARGEST}; change it", "count=0 must be more than 0; change it"]
    assert list(out_of_range(made, "x", {"x.inner", "x.several", "x.widths", "x.named", "x.plain"})) == [
        "x.count=0 must be more than 0; change it"]
    assert list(out_of_range(GenerationConfig(num_beams=0))) == ["num_beams=0 must be more than 0; change it"]


@pytest.mark.parametrize("ends", [{"min": 0, "above": 0}, {"max": 1, "below": 1}, {"min": 2}, {"max": 0}])
def test_a_range_that_contradicts_itself_or_its_default_is_an_error_of_the_code(ends: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        key(1, "a number", **ends)
    with pytest.raises(ValueError):
        key("1", "a text", min=0)
    assert {one.name for one in fields(Outer)} >= {"inner", "count"}


PLUGIN = '''
from dataclasses import dataclass
from llmtrain.config.keys import key
from llmtrain.objectives.weighting.base import Weighting
from llmtrain.registry import register

@dataclass(kw_only=True, slots=True)
class SpreadConfig:
    spread: float = key(1.0, "how far", "units", min=0, below=3)
    cuts: list[float] = key(list, "where", max=9)

class Spread(Weighting):
    pass

register("weighting", "spread", SpreadConfig, Spread, "a test's")
'''


def test_a_plugins_numbers_are_checked_and_shown_like_our_own(tmp_path: Path) -> None:
    (tmp_path / "spread.py").write_text(PLUGIN, encoding="utf-8")
    common = ("--plugin", "spread.py", "trainer.max_steps=1", "objective.weighting=spread")
    result = warm_cli("train", *common, "objective.spread.spread=3", "objective.spread.cuts=[1,10]", cwd=tmp_path)
    assert (result.returncode, result.stderr.splitlines()) == (2, [
        "llmtrain: objective.spread.spread=3 must be less than 3; change it",
        "llmtrain: objective.spread.cuts[1]=10 must be 9 or less; change it"])
    shown = warm_cli("config", *common, cwd=tmp_path).stdout
    assert "objective.spread.spread: 1.0  # how far (in units, from 0 to less than 3)\n" in shown
    (tmp_path / "spread.py").write_text(PLUGIN.replace("key(1.0,", "key(4.0,"), encoding="utf-8")
    wrong = warm_cli("train", *common, cwd=tmp_path)
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1
    assert "the default 4.0 is not from 0 to less than 3" in wrong.stderr
