"""Imports point down, and the light layers stay light."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "llmtrain"
LAYERS = {
    0: ["core", "registry", "plugins"],
    1: ["config", "fetch"],
    2: ["nn", "data"],
    3: ["models", "hf"],
    4: ["objectives", "optim", "checkpoint", "inference", "integrity"],
    5: ["tasks", "evaluation", "training"],
    6: ["report", "demo", "study"],
    7: ["cli", "__main__"],
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


def told(problems: list[str]) -> None:
    """Fail with every offender, a line each."""
    assert not problems, "\n" + "\n".join(problems)


def test_imports_point_down() -> None:
    problems = []
    for path in FILES:
        here, shown = room(path), path.relative_to(SOURCE)
        if here == "__init__":
            continue
        if here not in LEVEL:
            problems.append(f"{shown}: {here} has no layer; give it one in LAYERS")
            continue
        problems += [f"{shown} (layer {LEVEL[here]}) imports {module} (layer {LEVEL[target]})"
                     for module, _ in imports(path)
                     if module.startswith("llmtrain.") and (target := module.split(".")[1]) in LEVEL
                     and LEVEL[target] > LEVEL[here]]
    told(problems)


def test_light_layers_do_not_import_torch() -> None:
    told([f"{path.relative_to(SOURCE)} imports {module} at its top; import it where it is used"
          for path in FILES if room(path) in LIGHT or path.name == "options.py"
          for module, top in imports(path) if top and module.split(".")[0] in HEAVY])


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
