"""The broken programs can still be made: what each changes stands where it says, whatever its variables are called."""

from __future__ import annotations

import ast

import pytest

from helpers import SOURCE
from torture.change import Change, drop, places_of, scopes_of, swap
from torture.mutants import MUTANTS
from torture.rows import ROWS

PACKAGE = SOURCE / "llmtrain"


def source_of(change: Change) -> str:
    return (PACKAGE / change.file).read_text(encoding="utf-8")


def test_every_mutant_can_be_made() -> None:
    problems = []
    for name, mutant in MUTANTS.items():
        try:
            ast.parse(mutant.change.apply(source_of(mutant.change)))
        except (OSError, ValueError) as error:
            places = places_of(mutant.change, PACKAGE)
            problems.append(f"{name}: {error}; it stands in {', '.join(places) or 'no function of the package'}")
    assert not problems, "\n" + "\n".join(problems)


def test_every_mutant_changes_its_function_alone() -> None:
    for name, mutant in MUTANTS.items():
        before = ast.parse(source_of(mutant.change))
        after = ast.parse(mutant.change.apply(source_of(mutant.change)))
        (changed,) = (one for one, other in zip(before.body, after.body, strict=True)
                      if ast.dump(one) != ast.dump(other))
        if function := mutant.change.where.partition(":")[2]:
            assert changed.name == function.partition(".")[0], name  # type: ignore[attr-defined]


class Renamed(ast.NodeTransformer):
    """Calls every variable of a function something else."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(f"{node.id}_anew", node.ctx) if node.id in self.names else node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        node.name = f"{node.name}_anew" if node.name in self.names else node.name
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.arg = f"{node.arg}_anew" if node.arg in self.names else node.arg
        return node


def test_no_mutant_depends_on_the_name_of_a_variable_or_on_a_line() -> None:
    for name, mutant in MUTANTS.items():
        tree = ast.parse(source_of(mutant.change))
        scope = scopes_of(tree)[mutant.change.where.partition(":")[2]]
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        for node in scope.nodes if scope.local else ():
            Renamed(scope.local - functions - {"self"}).visit(node)
        tree.body.insert(1, ast.Pass())
        try:
            mutant.change.apply(ast.unparse(ast.fix_missing_locations(tree)))
        except ValueError as error:
            pytest.fail(f"{name}: {error}")


def test_every_mutant_is_some_rows() -> None:
    assert {row for mutant in MUTANTS.values() for row in mutant.caught_by} <= ROWS.keys()
    assert all(mutant.caught_by for mutant in MUTANTS.values())


TOY = """
from elsewhere import Part, check, closing

LIMIT = 3

class Box:
    code = 2

    def fill(self, given):
        parts = [Part(given), Part("last", deep=True, wide=given)]
        parts.append(check(given))
        for index, one in enumerate(parts):
            if one and not check(one):
                check(one, index)
        with closing(given), open(given) as file:
            file.read()
        return parts
"""


@pytest.mark.parametrize(("change", "wanted"), [
    (swap("toy:Box.fill", "for i, x in enumerate(_1):\n    ...", "for i, x in enumerate(_1[1:]):\n    ..."),
     "for index, one in enumerate(parts[1:]):"),
    (swap("toy:Box.fill", "check(x, i)", "check(i, x)"), "check(index, one)"),
    (swap("toy:Box.fill", "Part(_1, wide=_2, **_)", "Part(_2, **_)"), "Part(given, deep=True)"),
    (swap("toy:Box", "code = 2", "code = 1"), "    code = 1"),
    (swap("toy", "LIMIT = _", "LIMIT = 9"), "LIMIT = 9"),
    (drop("toy:Box.fill", "Part(x)"), "parts = [Part('last', deep=True, wide=given)]"),
    (drop("toy:Box.fill", "not check(x)"), "            if one:"),
    (drop("toy:Box.fill", "check(x, i)"), "                pass"),
    (drop("toy:Box.fill", "closing(_)"), "        with open(given) as file:"),
    (drop("toy:Box.fill", "x.append(_)"), "parts = [Part(given), Part('last', deep=True, wide=given)]\n        for"),
])
def test_a_change_is_made_where_it_says(change: Change, wanted: str) -> None:
    after = change.apply(TOY)
    assert wanted in after and wanted not in ast.unparse(ast.parse(TOY))


@pytest.mark.parametrize(("change", "told"), [
    (drop("toy:Box.empty", "check(_)"), "toy.py has no Box.empty"),
    (drop("toy:Box.fill", "check(_)"), "holds 'check(_)' 2 times, not once"),
    (drop("toy:Box.fill", "checked(_)"), "holds 'checked(_)' 0 times"),  # no variable, and no name of the module
    (drop("toy:Box.fill", "check(x, x)"), "0 times"),  # one name is one variable
    (drop("toy:Box.fill", "Part(_, deep=True)"), "0 times"),  # there is one keyword more
    (drop("toy:Box.fill", "enumerate(_)"), "cannot be taken away"),
    (swap("toy:Box.fill", "check(x, i)", "check(other)"), "names other, which the old one does not"),
])
def test_a_change_that_fits_nowhere_or_twice_is_refused(change: Change, told: str) -> None:
    with pytest.raises(ValueError, match="(?s)" + told.replace("(", r"\(").replace(")", r"\)")):
        change.apply(TOY)
