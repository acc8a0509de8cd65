"""A change to one function of the program, found by its syntax: what is moved, reformatted or renamed is found again.

    swap("training.step:TrainStep.agree", "counts[name] += int(count)", "counts[name] = int(count)")
    drop("training.build:build", "RandomPart(_)")

``where`` is ``module:function``, ``module:Class.method``, ``module:Class`` or ``module`` below llmtrain. ``old`` is
Python that must stand exactly once in it, with these freedoms:

- A variable of the function (an argument, what is assigned or caught) may have any name there, unless it is called.
- ``_`` stands for any expression; ``_1``, ``_2`` too, and ``new`` may use them again.
- ``*_`` and ``**_`` stand for any further arguments or elements; ``...`` on a line of its own for further statements.

Whatever else a pattern names (functions, classes, attributes, keywords, texts) must be there as it says.
"""

from __future__ import annotations

import ast
import builtins
import copy
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

IGNORED = {"ctx", "kind", "type_comment", "type_ignores"}
Found = dict[str, Any]  # what the names and wildcards of a pattern stood for


@dataclass(frozen=True)
class Change:
    """See the top of this file.

    Attributes:
        new: What takes the place of ``old``; None takes it away: a statement, an argument, an element, an operand.
    """

    where: str
    old: str
    new: str | None

    @property
    def file(self) -> str:
        return self.where.partition(":")[0].replace(".", "/") + ".py"

    def apply(self, source: str) -> str:
        """The file's text with the change made.

        Raises:
            ValueError: The function is not there, or holds ``old`` never or more than once.
        """
        tree, function = ast.parse(source), self.where.partition(":")[2]
        scope = scopes_of(tree).get(function)
        if scope is None:
            raise ValueError(f"{self.file} has no {function}")
        bound = bound_in(tree) | scope.fixed
        places = list(find(parsed(self.old), scope, bound))
        if len(places) != 1:
            raise ValueError(f"{self.where} holds {self.old!r} {len(places)} times, not once")
        place = places[0]
        if self.new is None:
            remove(tree, place)
        else:
            replace(tree, place, [Fill(place.found, bound).visit(node) for node in parsed(self.new)])
        return ast.unparse(ast.fix_missing_locations(tree))


def swap(where: str, old: str, new: str) -> Change:
    """``new`` in the place of ``old``."""
    return Change(where, old, new)


def drop(where: str, old: str) -> Change:
    """Without ``old``."""
    return Change(where, old, None)


def places_of(change: Change, package: Path) -> list[str]:
    """Every ``module:function`` of the package that holds ``old`` once: where it may have moved to."""
    found = []
    pattern = parsed(change.old)
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        module, bound = ".".join(path.relative_to(package).with_suffix("").parts), bound_in(tree)
        found += [f"{module}:{name}" for name, scope in scopes_of(tree).items()
                  if name and not scope.fixed and len(list(find(pattern, scope, bound))) == 1]
    return found


class Scope(NamedTuple):
    """Where a change is looked for: a function, a class, or a module; and what it names itself."""

    nodes: list[ast.AST]
    local: set[str]
    fixed: frozenset[str] = frozenset()  # a class's own names are what others call it by


class Place(NamedTuple):
    """Nodes of the program that a pattern matched: one expression, or statements that follow each other."""

    nodes: list[Any]
    found: Found


# Reading


def parsed(code: str) -> list[Any]:
    """The expression that the code is, or its statements."""
    body = ast.parse(textwrap.dedent(code)).body
    return [body[0].value] if len(body) == 1 and isinstance(body[0], ast.Expr) else body


def scopes_of(tree: ast.Module) -> dict[str, Scope]:
    """Every function and class by its dotted name, and the module by ""."""
    scopes = {"": Scope(list(tree.body), set())}

    def walk(node: ast.AST, above: tuple[str, ...], local: set[str]) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
                own = local | made_in(child) if inner else local
                scopes[".".join((*above, child.name))] = Scope(
                    [child], own, frozenset(() if inner else made_in(child)))
                walk(child, (*above, child.name), own)
            else:
                walk(child, above, local)

    walk(tree, (), set())
    return scopes


def made_in(function: ast.AST) -> set[str]:
    """The names that a function makes: arguments, and whatever is assigned, caught or defined inside."""
    names: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ExceptHandler | ast.FunctionDef) and node is not function:
            names |= {node.name} - {None}
    return names


def bound_in(tree: ast.Module) -> set[str]:
    """The names that a module has or imports, and Python's own: a pattern means these and no others."""
    names = set(dir(builtins))
    names |= {(node.asname or node.name).partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.alias)}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        else:
            names |= {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    return names


# Finding


def find(pattern: list[Any], scope: Scope, bound: set[str]) -> Iterator[Place]:
    expression = isinstance(pattern[0], ast.expr)
    for root in scope.nodes:
        for node in ast.walk(root):
            if expression and isinstance(node, ast.expr):
                if (found := Match(scope.local, bound).one(pattern[0], node, {})) is not None:
                    yield Place([node], found)
            elif not expression:
                for body in bodies(node):
                    yield from _runs(pattern, body, scope, bound)
    if not expression and len(scope.nodes) > 1:
        yield from _runs(pattern, scope.nodes, scope, bound)  # a module's own statements


def _runs(pattern: list[Any], body: list[Any], scope: Scope, bound: set[str]) -> Iterator[Place]:
    for start in range(len(body) - len(pattern) + 1):
        nodes = body[start:start + len(pattern)]
        if (found := Match(scope.local, bound).many(pattern, nodes, {})) is not None:
            yield Place(nodes, found)


def bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for _, value in ast.iter_fields(node):
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            yield value


def wildcard(node: Any) -> str | None:
    """The name of what stands for any number of arguments, elements or statements; None for all else."""
    if isinstance(node, ast.Starred) and isinstance(node.value, ast.Name) and node.value.id == "_":
        return "*_"
    if isinstance(node, ast.keyword) and node.arg is None and isinstance(node.value, ast.Name) and node.value.id == "_":
        return "**_"
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ...:
        return "..."
    return None


def any_expression(name: str) -> bool:
    return name == "_" or (name[:1] == "_" and name[1:].isdecimal())


class Match:
    """Compares a pattern with the program; each method gives what the pattern's names stood for, or None."""

    def __init__(self, local: set[str], bound: set[str]) -> None:
        self.local, self.bound = local, bound

    def one(self, pattern: Any, node: Any, found: Found) -> Found | None:
        if isinstance(pattern, ast.Name):
            return self._name(pattern.id, node, found)
        if isinstance(pattern, ast.arg):
            return self._name(pattern.arg, ast.Name(node.arg), found) if isinstance(node, ast.arg) else None
        if type(pattern) is not type(node):
            return None
        if not isinstance(pattern, ast.AST):
            return found if pattern == node else None
        result: Found | None = found
        for name in pattern._fields:
            if name in IGNORED:
                continue
            mine, other = getattr(pattern, name, None), getattr(node, name, None)
            if name == "func" and isinstance(mine, ast.Name) and not any_expression(mine.id):
                if not isinstance(other, ast.Name) or other.id != mine.id:
                    return None
                continue
            if isinstance(pattern, ast.Call) and name == "keywords":
                result = self._keywords(mine, other, result)
            elif isinstance(mine, list):
                result = self.many(mine, other, result) if isinstance(other, list) else None
            else:
                result = self.one(mine, other, result)
            if result is None:
                return None
        return result

    def many(self, patterns: list[Any], nodes: list[Any], found: Found) -> Found | None:
        if not patterns:
            return found if not nodes else None
        if (name := wildcard(patterns[0])) is None:
            first = self.one(patterns[0], nodes[0], found) if nodes else None
            return None if first is None else self.many(patterns[1:], nodes[1:], first)
        for end in range(len(nodes) + 1):
            if (rest := self.many(patterns[1:], nodes[end:], {**found, name: nodes[:end]})) is not None:
                return rest
        return None

    def _keywords(self, patterns: list[ast.keyword], given: list[ast.keyword], found: Found) -> Found | None:
        """Keywords may be given in any order."""
        rest, result = list(given), found
        for pattern in patterns:
            if wildcard(pattern) is not None:
                continue
            fitting = next((one for one in rest if one.arg == pattern.arg), None)
            if fitting is None or (matched := self.one(pattern.value, fitting.value, result)) is None:
                return None
            rest.remove(fitting)
            result = matched
        if any(map(wildcard, patterns)):
            return {**result, "**_": rest}
        return None if rest else result

    def _name(self, name: str, node: Any, found: Found) -> Found | None:
        if any_expression(name):
            if not isinstance(node, ast.expr):
                return None
            if name == "_":
                return found
            return {**found, name: node} if name not in found or same(found[name], node) else None
        if not isinstance(node, ast.Name):
            return None
        if name in self.bound:
            return found if node.id == name else None
        if node.id not in self.local or found.get(name, node.id) != node.id:
            return None
        if any(other == node.id and key != name for key, other in found.items() if isinstance(other, str)):
            return None  # two names of the pattern are two names of the function
        return {**found, name: node.id}


def same(one: ast.AST, other: ast.AST) -> bool:
    return ast.dump(one) == ast.dump(other)


# Changing


class Fill(ast.NodeTransformer):
    """Puts what the old code's names and wildcards stood for into the new code."""

    def __init__(self, found: Found, bound: set[str]) -> None:
        self.found, self.bound = found, bound

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self.found and any_expression(node.id):
            return copy.deepcopy(self.found[node.id])  # type: ignore[no-any-return]
        if node.id in self.found:
            return ast.Name(self.found[node.id], node.ctx)
        if node.id not in self.bound:
            raise ValueError(f"the new code names {node.id}, which the old one does not")
        return node

    def generic_visit(self, node: ast.AST) -> Any:
        if (name := wildcard(node)) is not None and name in self.found:
            return copy.deepcopy(self.found[name])
        return super().generic_visit(node)


def parents_of(tree: ast.AST) -> dict[ast.AST, ast.AST]:
    return {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}


def replace(tree: ast.AST, place: Place, new: list[Any]) -> None:
    first = place.nodes[0]
    parent = parents_of(tree)[first]
    flat = [node for one in new for node in (one if isinstance(one, list) else [one])]
    if isinstance(first, ast.expr) and not isinstance(flat[0], ast.expr):
        raise ValueError("an expression cannot become statements; write the statement that it stands in")
    if isinstance(first, ast.stmt):
        flat = [ast.Expr(node) if isinstance(node, ast.expr) else node for node in flat]
    for name, value in ast.iter_fields(parent):
        if value is first:
            setattr(parent, name, flat[0])
        elif isinstance(value, list) and any(node is first for node in value):
            at = next(i for i, node in enumerate(value) if node is first)
            value[at:at + len(place.nodes)] = flat


def cut_out(parent: ast.AST, statements: list[Any]) -> None:
    """Take statements out of the body that holds them, which must not be left empty."""
    body = next(body for body in bodies(parent) if any(one is statements[0] for one in body))
    at = next(i for i, one in enumerate(body) if one is statements[0])
    body[at:at + len(statements)] = [] if len(body) > len(statements) else [ast.Pass()]


def remove(tree: ast.AST, place: Place) -> None:
    """Take the nodes away: statements, or an expression with what makes no sense without it."""
    parents = parents_of(tree)
    if isinstance(place.nodes[0], ast.stmt):
        cut_out(parents[place.nodes[0]], place.nodes)
        return
    child: Any = place.nodes[0]
    while True:
        parent: Any = parents[child]
        if isinstance(parent, ast.stmt | ast.Call) and not isinstance(parent, ast.Expr | ast.With | ast.Call):
            raise ValueError(f"{ast.unparse(child)} cannot be taken away from {ast.unparse(parent)[:80]}; swap it")
        if isinstance(parent, ast.Expr):
            cut_out(parents[parent], [parent])
            return
        if isinstance(parent, ast.List | ast.Tuple | ast.Set):
            parent.elts.remove(child)
            return
        if isinstance(parent, ast.BoolOp):
            parent.values.remove(child)
            if len(parent.values) == 1:
                replace(tree, Place([parent], {}), parent.values)
            return
        if isinstance(parent, ast.With) and len(parent.items) > 1:
            parent.items.remove(child)
            return
        if isinstance(parent, ast.Call) and child in parent.args and not isinstance(parents[parent], ast.Expr):
            parent.args.remove(child)
            return
        child = parent  # a starred one, a with item, the only thing that a statement's call is about
