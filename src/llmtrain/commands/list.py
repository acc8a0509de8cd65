"""``llmtrain list``: what there is to choose from, one line each."""

from __future__ import annotations

from pathlib import Path

from llmtrain import registry
from llmtrain.config.load import config_dir
from llmtrain.config.typed import did_you_mean
from llmtrain.errors import ConfigError

KINDS = ("experiments", "models", "heads", "objectives", "optimizers", "data", "preprocess")
REGISTERED = {kind + "s": kind for kind in ("head", "objective", "optimizer")}  # kinds of the registry
FOLDERS = {"experiments": "experiment", "models": "model", "data": "data"}


def run(arguments: list[str]) -> int:
    """Print one kind, or all of them."""
    for kind in arguments:
        if kind not in KINDS:
            raise ConfigError(f"unknown list {kind!r}; {did_you_mean(kind, KINDS, 'choose from ' + ', '.join(KINDS))}")
    for kind in arguments or KINDS:
        rows = entries(kind)
        width = max(len(name) for name, _ in rows)
        print(f"{kind}:")
        for name, summary in rows:
            print(f"  {name:<{width}}  {summary}".rstrip())
    return 0


def entries(kind: str) -> list[tuple[str, str]]:
    """(name, one line) of everything of a kind."""
    if kind in FOLDERS:
        return [(path.stem, first_comment(path)) for path in sorted((config_dir() / FOLDERS[kind]).glob("*.yaml"))]
    return [(part.name, part.summary) for part in registry.parts(REGISTERED.get(kind, kind))]


def first_comment(path: Path) -> str:
    """The first comment of a yaml that is not Hydra's package line."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# ") and not line.startswith("# @package"):
            return line.removeprefix("# ")
    return ""
