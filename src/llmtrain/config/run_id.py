"""What tells two runs apart: the result-changing keys, their hash, and the folder name made of it.

A path counts by what lies there (``TrainConfig.fingerprints``), so that data or a base that were moved, packed, or are
named in another way make no other run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any

from llmtrain import registry
from llmtrain.config.choices import Mix, TuningName
from llmtrain.config.keys import CONTENT, RESULTS
from llmtrain.config.members import is_several, members_of
from llmtrain.config.plain import plain
from llmtrain.config.reference import keys
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.objective import AUTO, base_terms_of, measures_lambda, needs_targets, terms_of
from llmtrain.config.sections.task import MEMBERS

HASH_LENGTH = 8
LONG_OPTIONS = {  # the mode of data.long that reads each
    "head_share": "head_tail", "window_overlap": "sliding", "selector": "select_then_write"}
ADAM_KEYS = ("optim.beta1", "optim.beta2", "optim.eps")
LOOKED_IN = "data.folder"  # only says where the files of other keys are looked for
STARTS = ("model.init_from", "run.extend_from")  # read once, at a run's first step; what lies there may go on


def result_dict(config: Any, by_path: bool = False) -> dict[str, Any]:
    """Flat dotted keys and plain values of everything that can change weights or scores.

    Paths are given as the fingerprint of what lies there, as far as the configuration holds it; ``by_path``: as typed.

    Options of a base objective, weighting, optimizer or data source that is not in use are left out: installing a
    plugin changes no hash. So are Adam's shared keys under an optimizer that does not read them. The terms of the joint
    loss count as resolved, as objective.lam.TERM: the short form and the equal list are alike.
    """
    flat: dict[str, Any] = {}
    _collect(config, "", flat)
    if isinstance(config, TrainConfig) and is_several(config.task.name):
        flat = _of_several(config, flat)
    unused = []
    if isinstance(config, TrainConfig):
        used = (*base_terms_of(config.objective), config.objective.weighting)
        unused += [f"objective.{part.name}." for kind in ("objective", "weighting") for part in registry.parts(kind)
                   if part.name not in used]
        for name in ("base", "lam", "terms"):
            del flat[f"objective.{name}"]
        measured = measures_lambda(config.objective)
        flat |= {f"objective.lam.{term.name}": AUTO if measured and term.of_task else term.lam
                 for term in terms_of(config.objective)}
        if not measured:
            unused.append("objective.auto_steps")
        if config.data.unlabelled is None or not needs_targets(config.objective):
            unused.append("data.unlabelled_share")
        if config.tuning.name is not TuningName.lora:
            unused.append("tuning.")
        for part in registry.parts("optimizer"):
            if part.name != config.optim.name:
                unused.append(f"optim.{part.name}.")
            elif not part.requires.get("betas"):
                unused += ADAM_KEYS
    unused += _unused_of_data(flat, config)
    if not by_path:
        fingerprints = getattr(config, "fingerprints", None) or {}
        flat |= {key: fingerprint for key, fingerprint in fingerprints.items() if key in flat and is_path(key)}
        if LOOKED_IN in flat:
            flat[LOOKED_IN] = None
    return {key: value for key, value in flat.items() if not key.startswith(tuple(unused))}


def _unused_of_data(flat: dict[str, Any], config: Any) -> list[str]:
    """What a configuration's other keys of data leave unread."""
    unused = [f"data.{name}." for name in ("docstrings", "hub") if name != config.data.name]
    if not flat.get("data.preprocess"):
        unused.append("data.preprocess")
    unused += [f"data.{name}" for name, mode in LONG_OPTIONS.items() if flat.get("data.long") != mode]
    if flat.get("data.long") == "truncate":
        unused.append("data.long")
    return unused


def _of_several(config: TrainConfig, flat: dict[str, Any]) -> dict[str, Any]:
    """The same with the sections that tasks have of their own once for each task, below its name, and not for all."""
    left = {key: value for key, value in flat.items()
            if not key.startswith((f"{MEMBERS}", "data.", "eval.", "generation.", "head.heads"))}
    if left.get("task.mix") != Mix.temperature.value:
        left.pop("task.temperature", None)
    for member in members_of(config):
        own = replace(config, task=member.config.task, data=member.config.data, eval=member.config.eval,
                      generation=member.config.generation, head=member.config.head)
        inner: dict[str, Any] = {}
        _collect(own, "", inner)
        unused = _unused_of_data(inner, member.config)
        left |= {member_key(member.name, key): value for key, value in inner.items()
                 if key.partition(".")[0] in ("task", "data", "eval", "generation", "head")
                 and not key.startswith(tuple(unused))}
        left[member_key(member.name, "lam")] = member.lam
        left[member_key(member.name, LOOKED_IN)] = None
    return left


def member_key(name: str, key: str) -> str:
    """What a key of one of several tasks is called among those of the run."""
    return f"{MEMBERS}.{name}.{key}"


def is_path(key: str) -> bool:
    """Whether a key's value is a path, or may be one; of one of several tasks too."""
    if key.startswith(f"{MEMBERS}."):
        key = key.removeprefix(f"{MEMBERS}.").partition(".")[2]
    return key in paths()


def without_late(config: Any) -> dict[str, Any]:
    """A section as plain values, without the late keys that stand at their defaults: names made of it before they came
    stay."""
    left_out = {field.name for field in fields(config) if field.metadata.get("late")
                and getattr(config, field.name) == getattr(type(config)(), field.name)}
    return {field.name: without_late(value) if is_dataclass(value := getattr(config, field.name)) else plain(value)
            for field in fields(config) if field.name not in left_out}


def by_content(config: Any, fingerprints: Mapping[str, str], path: str) -> dict[str, Any]:
    """:func:`without_late` of a section by what lies at its paths; keys that change no result stand at their defaults.

    Args:
        fingerprints: Of the paths that are read, by key; the others count nothing.
        path: The section's key, ``data.``.
    """
    made, default = without_late(config), type(config)()
    for field in fields(config):
        affects, key = field.metadata.get("affects", RESULTS), path + field.name
        if field.name not in made:
            continue
        if is_dataclass(value := getattr(config, field.name)):
            made[field.name] = by_content(value, fingerprints, f"{key}.")
        elif affects == CONTENT:
            made[field.name] = fingerprints.get(key)
        elif affects != RESULTS:
            made[field.name] = plain(getattr(default, field.name))
    return made


def _collect(config: Any, path: str, flat: dict[str, Any]) -> None:
    for field in fields(config):
        if field.metadata.get("affects", RESULTS) not in (RESULTS, CONTENT):
            continue
        value = getattr(config, field.name)
        if field.metadata.get("late") and value == getattr(type(config)(), field.name):
            continue
        if is_dataclass(value):
            _collect(value, f"{path}{field.name}.", flat)
        else:
            flat[path + field.name] = plain(value)


def run_hash(config: TrainConfig, by_path: bool = False) -> str:
    """Eight hexadecimal digits over :func:`result_dict`; the same in every process and Python version."""
    text = json.dumps(result_dict(config, by_path), sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def run_name(config: TrainConfig, by_path: bool = False) -> str:
    """``run.name``, or the experiment's name and the hash. ``by_path``: as versions named it that hashed paths."""
    return config.run.name or f"{config.experiment_name}-{run_hash(config, by_path)}"


def differing_keys(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Keys of two :func:`result_dict` whose values differ, or that only one has, in order."""
    missing = object()
    return sorted(key for key in a.keys() | b.keys() if a.get(key, missing) != b.get(key, missing))


def other_run(there: TrainConfig, here: TrainConfig, finished: bool) -> list[str]:
    """Keys by which the run that was begun as ``there`` is not the one that ``here`` asks for; none for the same run.

    Args:
        there: Stored by a run. One from before there were fingerprints has None.
        here: Asked for now; a path at which nothing could be read has no fingerprint.
        finished: The run has its results: nothing will compare its data and its base once more.
    """
    return [key for key in differing_keys(result_dict(there), result_dict(here))
            if not _may_be_the_same(key, there, here, finished)]


def _may_be_the_same(key: str, there: TrainConfig, here: TrainConfig, finished: bool) -> bool:
    """Whether the values of a path key, which differ, may mean one thing all the same."""
    before, now = (result_dict(config, by_path=True).get(key) for config in (there, here))
    if before is None or now is None or not is_path(key):
        return False
    if there.fingerprints is None:  # what goes on is compared with the checkpoint's own hash of the data
        return before == now or not finished
    if key in there.fingerprints and key in (here.fingerprints or {}):
        return key in STARTS and before == now and not finished
    return key in there.fingerprints and before == now


@cache
def paths() -> frozenset[str]:
    """The keys whose value is a path, or may be one."""
    return frozenset(path for path, key in keys("train").items() if key.affects == CONTENT)
