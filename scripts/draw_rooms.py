"""The picture of the rooms in docs/architecture.md, drawn from the code's own imports."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE, PAGE = ROOT / "src" / "llmtrain", ROOT / "docs" / "architecture.md"
BEGIN, END = "```mermaid\nflowchart TD\n", "```\n"
ENTRIES = ("__init__", "__main__")  # ways in from outside, which are no rooms


def imported(path: Path) -> set[str]:
    """The rooms that a file imports, at its top or where it needs them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else (
            [f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else [])
        found |= {name.split(".")[1] for name in names if name.startswith("llmtrain.")}
    return found


def rooms() -> dict[str, set[str]]:
    """Each room, a folder or a loose file of the package, with those that it imports."""
    graph: dict[str, set[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        here = path.relative_to(SOURCE).with_suffix("").parts[0]
        if here not in ENTRIES:
            graph.setdefault(here, set()).update(imported(path) - {here})
    return {here: {one for one in others if one in graph} for here, others in graph.items()}


def drawn(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The arrows that no way over other rooms stands for: all of them would be a hundred."""
    def below(room: str) -> set[str]:
        return {room}.union(*(below(other) for other in graph[room]))

    return [(room, other) for room, others in sorted(graph.items()) for other in sorted(others)
            if not any(other in below(between) for between in others - {other})]


def picture() -> str:
    """The block of the page, the rooms that import the most on top."""
    lines = [f"    {room} --> {other}\n" for room, other in drawn(rooms())]
    return BEGIN + "".join(lines) + END


def with_picture(page: str) -> str:
    """The page with the picture as the code is now."""
    start = page.index(BEGIN)
    return page[:start] + picture() + page[page.index(END, start + len(BEGIN)) + len(END):]


if __name__ == "__main__":
    PAGE.write_text(with_picture(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}")
