"""``llmtrain config``: the composed configuration, each key with its meaning, unit and default."""

from __future__ import annotations

from typing import Any

from llmtrain.config.load import compose, config_dir, session, to_container, to_typed
from llmtrain.config.paths import quote_overrides
from llmtrain.config.reference import Key, keys
from llmtrain.config.validate import validate
from llmtrain.errors import ConfigError


def run(arguments: list[str]) -> int:
    """Print the configuration of ``train`` with the given overrides; ``--defaults`` adds the file that set each key."""
    files = "--defaults" in arguments
    overrides = [a for a in arguments if a != "--defaults"]
    if unknown := [a for a in overrides if a.startswith("-")]:
        raise ConfigError(f"unknown option {unknown[0]!r}; config takes --defaults and overrides")
    composed = compose("train", overrides)
    validate(to_typed("train", composed))  # type: ignore[arg-type]
    values = to_container(composed)
    origins = _origins(overrides) if files else {}
    for key in keys("train", values["head"]["name"]).values():
        print(_line(key, _at(values, key.path), origins.get(key.path, "schema default") if files else None))
    return 0


def _at(values: Any, path: str) -> Any:
    for name in path.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _line(key: Key, value: Any, origin: str | None) -> str:
    shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
    facts = [f"in {key.unit}"] if key.unit else []
    if value != key.default:
        facts.append(f"default {'null' if key.default is None else key.default}")
    if origin:
        facts.append(f"set by {origin}")
    return f"{key.path}: {shown}  # {key.meaning}" + (f" ({'; '.join(facts)})" if facts else "")


def _origins(overrides: list[str]) -> dict[str, str]:
    """The last yaml file, or the command line, that set each key."""
    import yaml

    quoted = quote_overrides(overrides, set())
    found: dict[str, str] = {}
    with session() as loader:
        from hydra.types import RunMode

        groups = [o for o in quoted if "." not in o.partition("=")[0]]
        tree = loader.compute_defaults_list("train", groups, RunMode.RUN)
        for entry in tree.defaults:
            path = config_dir() / f"{entry.config_path}.yaml"
            if path.is_file() and not entry.config_path.startswith("hydra"):
                content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
                content.pop("defaults", None)
                package = entry.package or ""
                _note(content, f"{package}." if package else "", f"configs/{entry.config_path}.yaml", found)
    for override in overrides:
        if "." in override.partition("=")[0]:
            found[override.partition("=")[0].lstrip("+")] = "the command line"
    return found


def _note(content: dict[str, Any], prefix: str, origin: str, found: dict[str, str]) -> None:
    for name, value in content.items():
        if isinstance(value, dict):
            _note(value, f"{prefix}{name}.", origin, found)
        else:
            found[f"{prefix}{name}"] = origin
