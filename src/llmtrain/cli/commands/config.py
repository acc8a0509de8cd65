"""``llmtrain config``: the composed configuration, each key with its meaning, unit and default."""

from __future__ import annotations

from typing import Any

from llmtrain.cli.options import DEFAULTS, Given
from llmtrain.config.compose import config_dir, parse, session, take_in_files
from llmtrain.config.hydra_store import TYPES
from llmtrain.config.load import load
from llmtrain.config.overrides import config_files
from llmtrain.config.overrides.texts import quote_overrides
from llmtrain.config.reference import Key, keys
from llmtrain.config.schema import SCHEMAS
from llmtrain.core.logging import warn


def run(arguments: list[str], given: Given) -> int:
    """Print the configuration of ``train`` (or the command named first) with the given overrides.

    ``--defaults`` adds what set each key. What does not go together is told after it and is no failure here.
    """
    command = arguments[0] if arguments and arguments[0] in SCHEMAS else "train"
    files, overrides = DEFAULTS in given, arguments[arguments[:1] == [command]:]
    loaded = load(command, overrides)
    values, origins = loaded.values, _origins(command, overrides) | loaded.origins if files else {}
    head = values["head"]["name"] if command == "train" else None
    for key in keys(command, head, values["task"]["name"]).values():
        print(_line(key, _at(values, key.path), origins.get(key.path, "schema default") if files else None))
    for problem in loaded.problems:
        warn(problem)
    return 0


def _at(values: Any, path: str) -> Any:
    for name in path.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _line(key: Key, value: Any, origin: str | None) -> str:
    shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
    facts = [", ".join(filter(None, (key.unit and f"in {key.unit}", key.range)))] if key.unit or key.range else []
    if value != key.default:
        facts.append(f"default {'null' if key.default is None else key.default}")
    if origin:
        facts.append(f"set by {origin}")
    return f"{key.path}: {shown}  # {key.meaning}" + (f" ({'; '.join(facts)})" if facts else "")


def _origins(command: str, overrides: list[str]) -> dict[str, str]:
    """The last yaml file, or the command line, that set each key."""
    known = keys(command)
    plain = {o: o.partition("=")[0].lstrip("+~") for o in overrides}
    groups = [o for o in overrides if plain[o] not in known and "." not in plain[o]]
    found: dict[str, str] = {}
    quoted = quote_overrides(groups, command)
    parsed = parse(quoted)
    with session(command, parsed) as loader:
        from hydra.types import RunMode

        tree = loader.compute_defaults_list(command, take_in_files(command, quoted, parsed, loader)[0], RunMode.RUN)
        for entry in tree.defaults:
            if not entry.config_path.startswith("hydra"):
                content, origin = _content(entry.config_path)
                content.pop("defaults", None)
                package = entry.package or ""
                _note(content, f"{package}." if package else "", origin, found)
    return found | {name: "the command line" for override, name in plain.items() if override not in groups}


def _content(name: str) -> tuple[dict[str, Any], str]:
    """What an entry of the defaults list says, and where: a yaml file or a plugin's code; nothing for a schema."""
    import yaml
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    if (mine := config_files.file_of(name)) is not None:
        return dict(mine.content), str(mine.path)
    path = config_dir() / f"{name}.yaml"
    if path.is_file():
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}, f"configs/{name}.yaml"
    node = ConfigStore.instance().load(f"{name}.yaml")
    content = OmegaConf.to_container(node.node) if node.provider != TYPES else {}
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}, f"{name}, registered in code"


def _note(content: dict[str, Any], prefix: str, origin: str, found: dict[str, str]) -> None:
    for name, value in content.items():
        if isinstance(value, dict):
            _note(value, f"{prefix}{name}.", origin, found)
        else:
            found[f"{prefix}{name}"] = origin
