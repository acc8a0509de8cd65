"""``llmtrain list``: what there is to choose from, one line each."""

from __future__ import annotations

from pathlib import Path

from llmtrain import registry
from llmtrain.cli.options import Given
from llmtrain.config.compose import config_dir
from llmtrain.config.convert import did_you_mean
from llmtrain.config.hydra_store import register_schemas
from llmtrain.config.overrides import config_files
from llmtrain.core.errors import ConfigError

GROUPS = ("experiment", "model", "data", "tuning", "schedule")  # of yaml files; registered parts come by themselves


def kinds() -> list[str]:
    """What can be listed: groups of yaml files and kinds of registered parts, in the plural."""
    groups = [group for group in GROUPS if (config_dir() / group).is_dir()]
    return [_plural(name) for name in dict.fromkeys([*groups[:2], *registry.KINDS, *groups[2:]])]


def run(wanted: list[str], _given: Given) -> int:
    """Print one kind, or all of them."""
    known = kinds()
    for kind in wanted:
        if kind not in known:
            raise ConfigError(f"unknown list {kind!r}; {did_you_mean(kind, known, 'choose from ' + ', '.join(known))}")
    for kind in wanted or known:
        rows = entries(kind)
        width = max((len(name) for name, _ in rows), default=0)
        print(f"{kind}:")
        for name, about in rows:
            print(f"  {name:<{width}}  {about}".rstrip())
    return 0


def entries(kind: str) -> list[tuple[str, str]]:
    """(name, one line) of everything of a kind; what a plugin brought says so."""
    for group in registry.KINDS:
        if _plural(group) == kind:
            return [(part.name, part.about + (f" (from {part.origin})" if part.origin else ""))
                    for part in registry.parts(group)]
    group = next(group for group in GROUPS if _plural(group) == kind)
    files = {path.stem: first_comment(path) for path in (config_dir() / group).glob("*.yaml")}
    for name, path in config_files.options(group).items():
        if name not in files:
            files[name] = " ".join(filter(None, (first_comment(path), f"(from {path})")))
    return sorted(files.items()) + [(name, about) for name, about in _in_code(group) if name not in files]


def _in_code(group: str) -> list[tuple[str, str]]:
    """Options of a group that a plugin put into Hydra's ConfigStore, and what each says it changes."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    register_schemas(config_dir(), "train")
    found = []
    stored = ConfigStore.instance().repo.get(group, {})
    for name, entry in sorted((name, entry) for name, entry in stored.items() if name.endswith(".yaml")):
        content = OmegaConf.to_container(entry.node)
        chosen = [f"{key.removeprefix('override /')}={value}" for one in content.get("defaults", [])
                  if isinstance(one, dict) for key, value in one.items()] if isinstance(content, dict) else []
        found.append((name.removesuffix(".yaml"), " ".join([*chosen, f"(from {entry.provider or 'code'})"])))
    return found


def _plural(name: str) -> str:
    return name if name in ("data", "preprocess") else f"{name}s"


def first_comment(path: Path) -> str:
    """The first comment of a yaml that is not Hydra's package line."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("# ") and not line.startswith("# @package"):
            return line.removeprefix("# ")
    return ""
