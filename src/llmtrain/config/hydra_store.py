"""What Hydra's ConfigStore is told: the typed root of each command, and parts that have no yaml of their own."""

from __future__ import annotations

from dataclasses import field, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from llmtrain import registry
from llmtrain.config.schema import SCHEMAS, TrainConfig
from llmtrain.config.sections.objective import objective_schema
from llmtrain.config.sections.optim import optim_schema
from llmtrain.config.sections.task import has_text_targets, shared_sections
from llmtrain.core.errors import ConfigError

TYPES, NAMES = "llmtrain types", "llmtrain names"  # who stored a node: a schema, or the name of a part without a yaml


def register_schemas(folder: Path, command: str) -> None:
    """Store the schema of ``command`` and, for train, every part that ``folder``, the configs, has no yaml for; forget
    what was unloaded.

    Raises:
        ConfigError: Options of a part are of a type that a configuration cannot hold.
    """
    from hydra.core.config_store import ConfigStore

    if command != "train":
        _store(f"{command}_schema", _with_sections(SCHEMAS[command], shared_sections()), TYPES)
        _store_named("task", "task", folder)
        return
    repo: dict[str, Any] = ConfigStore.instance().repo
    for group, kind in ((repo.get("head"), "head"), (repo.get("schema", {}).get("head"), "head"),
                        (repo.get("optim"), "optimizer"), (repo.get("task"), "task")):
        known = {f"{part.name}.yaml" for part in registry.parts(kind)}
        for file in [file for file, node in (group or {}).items()
                     if file not in known and getattr(node, "provider", None) in (TYPES, NAMES)]:
            del group[file]  # type: ignore[index]
    sections = shared_sections() | {"objective": objective_schema(), "optim": optim_schema()}
    _store("train_schema", _with_sections(TrainConfig, sections, ("head",)), TYPES)
    for part in registry.parts("head"):
        _store(part.name, part.options, TYPES, "schema/head")
        if not (folder / "head" / f"{part.name}.yaml").is_file():
            _store(part.name, part.options, TYPES, "head")
    _store_named("optim", "optimizer", folder)
    _store_named("task", "task", folder, chooses=True)


def _with_sections(schema: type, sections: dict[str, type], typed_later: tuple[str, ...] = ()) -> type:
    """The schema with some of its sections of these classes, and others typed by the schema of the chosen option."""
    return _made_of(schema, tuple(sections.items()), typed_later)


@cache  # one class for one set of sections, so that it is stored once
def _made_of(schema: type, sections: tuple[tuple[str, type], ...], typed_later: tuple[str, ...]) -> type:
    return make_dataclass(f"{schema.__name__}Schema", [
        *((name, Any, field(default=None)) for name in typed_later),
        *((name, section, field(default_factory=section)) for name, section in sections)],
        bases=(schema,), kw_only=True)


def _store_named(group: str, kind: str, folder: Path, chooses: bool = False) -> None:
    """Make an option of a group of every part that has no yaml.

    Args:
        chooses: It is a task, and chooses the head, objective and generation that it is registered with, where the
            command line and the experiment name none; where its targets are no texts, an objective that reads none.
    """
    for part in registry.parts(kind):
        if not (folder / group / f"{part.name}.yaml").is_file():
            named = {group: part.requires.get(group) for group in ("head", "objective", "generation")}
            if named["objective"] is None and not has_text_targets(part):
                named["objective"] = "joint_mlm"
            chosen = [{f"override /{one}@_global_.{one}": name} for one, name in named.items() if name is not None]
            node = {"defaults": [*chosen, "_self_"]} if chooses else {}
            _store(part.name, node | {"name": part.name}, NAMES, group)


def _store(name: str, node: Any, provider: str, group: str | None = None) -> None:
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    repo: dict[str, Any] = ConfigStore.instance().repo
    for part in group.split("/") if group else ():
        repo = repo.get(part, {})
    stored = repo.get(f"{name}.yaml")
    if stored is not None and isinstance(node, type) and OmegaConf.get_type(stored.node) is node:
        return  # a command composes often, and to store takes a fifth of it
    try:
        ConfigStore.instance().store(group=group, name=name, node=node, provider=provider)
    except OmegaConfBaseException as error:
        line = " ".join(str(error).split())
        raise ConfigError(f"the options of {f'{group} {name}' if group else 'a registered part'} cannot be a "
                          f"configuration ({line}); use numbers, texts, lists, enums and groups of keys") from error
