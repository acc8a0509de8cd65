"""Imports point down, and the light layers stay light."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "llmtrain"
LAYERS = {
    0: ["core", "registry", "plugins"],
    1: ["config", "fetch"],
    2: ["nn", "data"],
    3: ["models", "hf"],
    4: ["objectives", "optim", "checkpoint", "inference", "integrity"],
    5: ["tasks", "evaluation", "training"],
    6: ["cli", "__main__"],
}
LEVEL = {name: level for level, names in LAYERS.items() for name in names}
HEAVY = {"torch", "transformers", "accelerate", "datasets"}
LIGHT = ("core", "registry", "plugins", "config", "cli")
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = {".".join(("llmtrain", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
           for path in FILES}


def room(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imports(path: Path) -> list[tuple[str, bool]]:
    """(module, whether at the top of the file) of every import that is not for type checking alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in MODULES else node.module
                     for alias in node.names]
            found += [(name, id(node) in top) for name in names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    assert here in LEVEL, f"{here} has no layer; give it one"
    for module, _ in imports(path):
        if module.startswith("llmtrain.") and (target := module.split(".")[1]) in LEVEL:
            assert LEVEL[target] <= LEVEL[here], f"{path.name} (L{LEVEL[here]}) imports {module} (L{LEVEL[target]})"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_light_layers_do_not_import_torch(path: Path) -> None:
    if room(path) in LIGHT or path.name in ("options.py",):
        heavy = [module for module, top in imports(path) if top and module.split(".")[0] in HEAVY]
        assert not heavy, f"{path} imports {heavy}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 330, f"{path} is crowded; is a room missing?"


def test_no_import_circles() -> None:
    """Files import each other in one direction, late imports included."""
    graph = {name: {module for module, _ in imports(path) if module in MODULES and module != name}
             for name, path in MODULES.items() if name != "llmtrain"}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above[above.index(name):], name))
        if name not in done:
            for module in sorted(graph.get(name, ())):
                visit(module, (*above, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())
