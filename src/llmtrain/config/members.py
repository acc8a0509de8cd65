"""The tasks of a run: one, or several that are learnt together, each as the configuration of a run of its own.

A task that is registered with ``several=True`` has a list of tasks in its key ``task.tasks``. An entry names a task and
what it has of its own: its name in the run, the weight of its loss, its data, head, scoring and decoding. What it
leaves out is the run's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from llmtrain import registry
from llmtrain.config.bounds import out_of_range
from llmtrain.config.compose import config_dir
from llmtrain.config.convert import build, did_you_mean
from llmtrain.config.plain import plain
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.data import DataConfig
from llmtrain.config.sections.eval import EvalConfig
from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.config.sections.objective import reads_labels
from llmtrain.config.sections.preprocess import settled
from llmtrain.config.sections.task import MEMBERS as KEY
from llmtrain.config.sections.task import SECTIONS, every_task
from llmtrain.core.errors import ConfigError, LlmtrainError

ENTRY = ("task", "name", "lam", "data", "head", "eval", "generation")
OF_FILES = ("train", "validation", "test", "unlabelled", "hub")  # of data: where each task's own rows lie
SHARED = {"data": DataConfig, "eval": EvalConfig}  # whose keys a task takes over from the run
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
TAKEN = ("total", "mean", "lr", "loss", "members")  # parts of names in metrics.jsonl and results.json


@dataclass(frozen=True, slots=True)
class Member:
    """A task of a run.

    Attributes:
        name: What its term, metrics and predictions are called; empty for the only one.
        lam: Weight of its term's mean among the tasks.
        config: The run's configuration, as that of a run of this task alone.
        at: Where it stands in the run's, for messages; empty for the only one.
    """

    name: str
    lam: float
    config: TrainConfig
    at: str = ""

    def told(self, line: str) -> str:
        """A line about it."""
        return f"{self.at} ({self.name}): {line}" if self.at else line

    def named(self, name: str) -> str:
        """What one of its metrics, baselines ... is called in the run."""
        return f"{self.name}.{name}" if self.name else name


def is_several(task: str) -> bool:
    """Whether a registered task is several that are learnt together."""
    return bool(registry.get("task", task).requires.get("several"))


def members_of(config: TrainConfig) -> tuple[Member, ...]:
    """The tasks of a run.

    Raises:
        ConfigError: With one line for each thing that is wrong with an entry of ``task.tasks``.
    """
    if not is_several(config.task.name):
        return (Member("", 1.0, config),)
    entries: Any = getattr(config.task, "tasks", None)
    found: list[Member] = []
    problems: list[str] = []
    for index, entry in enumerate(entries):
        try:
            found.append(_member(config, entry, f"{KEY}[{index}]"))
        except LlmtrainError as error:
            problems += error.problems
    if problems or (problems := list(_together(config, found))):
        raise ConfigError(problems)
    return tuple(found)


def settle_members(config: TrainConfig) -> None:
    """Write each entry of ``task.tasks`` in full, and the heads that it asks for into ``head``.

    Raises:
        ConfigError: An entry is wrong.
    """
    if not is_several(config.task.name):
        return
    heads = {member.name: plain(member.config.head) for member in members_of(config)}
    head: Any = config.head
    if head.name == registry.get("task", config.task.name).requires["head"]:
        if head.heads not in ({}, heads):
            raise ConfigError(f"head.heads is what {KEY} says of each task's head; leave it out")
        head.heads = heads
    task: Any = config.task
    task.tasks = [_in_full(member, entry) for member, entry in zip(members_of(config), task.tasks, strict=True)]


def each(config: TrainConfig, problems: Callable[[TrainConfig], Iterator[str]]) -> Iterator[str]:
    """What is wrong with each task of a run, looked at as a run of its own."""
    for member in members_of(config):
        yield from (member.told(line) for line in problems(member.config))


def ranges_of_members(config: TrainConfig) -> Iterator[str]:
    """One line for each number of an entry that is out of its key's range."""
    if not is_several(config.task.name):
        return
    for member, entry in zip(members_of(config), config.task.tasks, strict=True):  # type: ignore[attr-defined]
        for section in ("task", "data", "head", "eval", "generation"):
            given = entry.get(section)
            own = set(given) if isinstance(given, dict) else set()
            unread = {f"{member.at}.data.docstrings"} if member.config.data.name != "docstrings" else set()
            for line in out_of_range(getattr(member.config, section), f"{member.at}.{section}", unread):
                if line.removeprefix(f"{member.at}.{section}.").partition("=")[0].partition(".")[0] in own:
                    yield line


def _member(config: TrainConfig, entry: Any, at: str) -> Member:
    if not isinstance(entry, dict):
        raise ConfigError(f"{at}={entry!r} is no task; write {{task: NAME, data: {{...}}}}")
    problems = [f"unknown key {at}.{name}; {did_you_mean(str(name), ENTRY, 'an entry has ' + ', '.join(ENTRY))}"
                for name in entry if name not in ENTRY]
    if "task" not in entry:
        problems.append(f"{at} names no task; write {{task: NAME, data: {{...}}}}")
    if problems:
        raise ConfigError(problems)
    options = _group(entry["task"], f"{at}.task")
    try:
        task = registry.get("task", str(options.get("name", "")))
    except LlmtrainError as error:
        raise ConfigError(f"{at}.task: {line}" for line in error.problems) from error
    if task.requires.get("several"):
        raise ConfigError(f"{at}.task={task.name} is several tasks itself; list those of it")
    name, lam = entry.get("name", task.name), entry.get("lam", 1.0)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        problems.append(f"{at}.name={name} is no name; use letters, digits, _ and -, a letter first")
    elif name in TAKEN or name in {part.name for part in registry.parts("objective")}:
        problems.append(f"{at}.name={name} is what something else is called in metrics.jsonl; use another name")
    if isinstance(lam, bool) or not isinstance(lam, int | float) or not 0 <= lam < float("inf"):
        problems.append(f"{at}.lam={'null' if lam is None else lam} is no weight; give a number, 0 or more")
    sections, found = _sections(config, task, options, entry, at)
    if problems + found:
        raise ConfigError(problems + found)
    best = task.requires["metrics"][0]
    return Member(name, float(lam), replace(config, trainer=replace(config.trainer, best_metric=best), **sections), at)


def _sections(config: TrainConfig, task: registry.RegisteredPart, options: dict[str, Any], entry: dict[str, Any],
              at: str) -> tuple[dict[str, Any], list[str]]:
    """The typed sections of a member, and what is wrong with them."""
    problems: list[str] = []
    made: dict[str, Any] = {}

    def attempt(section: str, schema: type, values: dict[str, Any]) -> None:
        try:
            made[section] = build(schema, values, f"{at}.{section}")
        except LlmtrainError as error:
            problems.extend(error.problems)

    attempt("task", task.options, options)
    for section in SECTIONS:
        given = _group(entry.get(section, {}), f"{at}.{section}") if section in entry else {}
        given, strange = _own(section, task, given, at)
        problems += strange
        shared = {field.name: plain(getattr(getattr(config, section), field.name))
                  for field in fields(SHARED[section]) if field.name not in OF_FILES}
        if section == "data":
            shared |= _source_of(given)
        attempt(section, task.requires[section], shared | given)
    head = _group(entry.get("head", task.requires["head"]), f"{at}.head")
    try:
        attempt("head", registry.get("head", str(head.get("name", task.requires["head"]))).options,
                {"name": task.requires["head"]} | head)
    except LlmtrainError as error:
        problems += [f"{at}.head: {line}" for line in error.problems]
    try:
        attempt("generation", GenerationConfig, _decoding(config, task, entry.get("generation"), at))
    except LlmtrainError as error:
        problems += error.problems
    if not problems:
        made["data"].preprocess = _settled(made["data"].preprocess, at, problems)
    return made, problems


def _decoding(config: TrainConfig, task: registry.RegisteredPart, given: Any, at: str) -> dict[str, Any]:
    """The keys of a member's decoding: the entry's own, before those that the run changes, before what the task is
    registered with."""
    usual = plain(GenerationConfig())
    changed = {name: value for name, value in plain(config.generation).items() if value != usual[name]}
    chosen = task.requires.get("generation")
    made = usual | (_preset(chosen, at) if chosen else {}) | changed
    return made | (_preset(given, at) if isinstance(given, str) else _group(given or {}, f"{at}.generation"))


def _preset(name: str, at: str) -> dict[str, Any]:
    """The keys of a shipped way of decoding."""
    import yaml

    folder = config_dir() / "generation"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise ConfigError(f"{at}.generation={name} is no way of decoding; "
                          f"{did_you_mean(name, known, 'choose from ' + ', '.join(known))}")
    found: dict[str, Any] = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def _settled(steps: Any, at: str, problems: list[str]) -> Any:
    try:
        return settled(steps)
    except LlmtrainError as error:
        problems += [f"{at}: {line}" for line in error.problems]
        return steps


def _group(value: Any, at: str) -> dict[str, Any]:
    """A group of keys; a text is the name of one."""
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, dict):
        raise ConfigError(f"{at}={value!r} is no group of keys; write {{key: value, ...}}")
    return value


def _source_of(given: dict[str, Any]) -> dict[str, str]:
    """Where a member's rows come from, where it does not say so: files that it names, a dataset that it names."""
    if any(name in given for name in ("train", "validation", "test")):
        return {"name": "files"}
    return {"name": "hub"} if "hub" in given else {}


def _own(section: str, task: registry.RegisteredPart, given: dict[str, Any], at: str,
         ) -> tuple[dict[str, Any], list[str]]:
    """An entry's keys of a section without those that other tasks alone have, and a line for each of these."""
    own = {field.name for field in fields(task.requires[section])}
    others = {field.name for field in fields(every_task(section))} - own
    lines = []
    for name in sorted(given.keys() & others):
        belong = [part.name for part in registry.parts("task")
                  if name in {field.name for field in fields(part.requires[section])}]
        lines.append(f"{at}.{section}.{name} is a key of task={' and '.join(belong)} and the task there is "
                     f"{task.name}; leave it out, or choose that task")
    return {name: value for name, value in given.items() if name not in others}, lines


def _together(config: TrainConfig, found: list[Member]) -> Iterator[str]:
    """What is wrong with the list as a whole."""
    task = config.task.name
    if len(found) < 2:
        alone = f"task={found[0].config.task.name} learns it alone" if found else "write {task: NAME, data: {...}} each"
        yield f"task={task} learns several tasks and {KEY} has {len(found) or 'none'}; list two or more, {alone}"
    for name, count in Counter(member.name for member in found).items():
        if count > 1:
            yield (f"{count} entries of {KEY} are named {name}; give each a name of its own, {{task: ..., name: ...}}")
    if found and all(member.lam == 0 for member in found):
        yield f"every lam of {KEY} is 0 and nothing would be learnt; raise one"
    for name in OF_FILES:
        value = getattr(config.data, name)
        if value not in (None, type(config.data)().hub):
            yield f"data.{name} belongs to a task here; write it into {KEY}, {{task: ..., data: {{{name}: ...}}}}"
    shared = {key: {plain(getattr(member.config.data, key)) for member in found} for key in ("long", "window_overlap")}
    ways = shared["long"]
    if len(ways) > 1 and ways & {"sliding", "interpolate"}:
        yield (f"data.long is how the base reads and {KEY} has {' and '.join(sorted(ways))}; set data.long for all")
    elif ways == {"sliding"} and len(shared["window_overlap"]) > 1:
        yield f"data.window_overlap is how the base reads and differs in {KEY}; set it for all"
    if reads_labels(config.objective):
        yield (f"a label beside a row's target is a term of one task's run; list the labels as a task of {KEY}, with "
               "the same file")
    for member in found:
        if "select_then_write" in plain(member.config.data.long):
            yield member.told("data.long=select_then_write puts another model in front of the only one of a run; use "
                              "data.long=truncate, head_tail or sliding")
        if getattr(member.config.task, "native", False):
            yield member.told("task.native=true publishes a plain model of one task; leave it out")
        if member.config.data.unlabelled is not None:
            yield member.told("data.unlabelled goes with one task alone; leave it out")


def _in_full(member: Member, entry: dict[str, Any]) -> dict[str, Any]:
    """An entry as a run keeps it: nothing of it follows from a default that may change, but for the run's own keys."""
    data = _group(entry.get("data", {}), member.at)
    made = {"name": member.name, "task": plain(member.config.task), "lam": member.lam,
            "head": plain(member.config.head),
            "data": {**plain(data), "name": member.config.data.name, "preprocess": member.config.data.preprocess}}
    if "generation" in entry or "generation" in registry.get("task", member.config.task.name).requires:
        made["generation"] = plain(member.config.generation)
    return made | ({"eval": plain(entry["eval"])} if "eval" in entry else {})
