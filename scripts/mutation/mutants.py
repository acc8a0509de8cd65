"""Small breaks of a module, made on its syntax tree: one operator, number, call, argument or statement at a time.

Messages, type hints, assertions, what is raised and the texts of options are left alone.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

OPERATORS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,), ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,), ast.Pow: (ast.Mult,), ast.BitAnd: (ast.BitOr,), ast.BitOr: (ast.BitAnd,),
    ast.LShift: (ast.RShift,), ast.RShift: (ast.LShift,), ast.And: (ast.Or,), ast.Or: (ast.And,),
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,)}
TWINS = (("max", "min"), ("mean", "sum"), ("any", "all"), ("argmax", "argmin"), ("amax", "amin"), ("sin", "cos"),
         ("zeros", "ones"), ("zeros_like", "ones_like"), ("new_zeros", "new_ones"), ("floor", "ceil"),
         ("clamp_min", "clamp_max"), ("softmax", "log_softmax"), ("softmax", "sigmoid"), ("sqrt", "square"),
         ("add_", "sub_"), ("mul_", "div_"), ("zeros_", "ones_"), ("tril", "triu"), ("gather", "index_select"))
INSTEAD: dict[str, list[str]] = {}
for one, other in TWINS:
    INSTEAD.setdefault(one, []).append(other)
    INSTEAD.setdefault(other, []).append(one)
# Calls that give something of the same kind as what they are given or called on, so that they can be left out.
LEFT_OUT = {
    "abs", "clamp", "clamp_", "clamp_max", "clamp_min", "clone", "contiguous", "copy", "cos", "cumsum", "detach",
    "dropout", "exp", "exp_", "expand", "flip", "float", "gelu", "log", "log_", "logsigmoid", "lower", "masked_fill",
    "masked_fill_", "mul_", "add_", "sub_", "div_", "relu", "removesuffix", "repeat_interleave", "reversed", "round",
    "sigmoid", "sin", "softmax", "sorted", "sqrt", "square", "squeeze", "strip", "tanh", "to", "transpose", "unsqueeze",
    "scatter_add", "norm"}
MESSAGES = {"describe", "rule", "course", "problems", "problems_in", "notes", "describe_decoding", "__repr__"}
SILENT_CALLS = {"register", "_register", "key", "log", "warn", "warning", "info", "debug", "say", "fail", "getLogger"}
SHOWN = 12  # characters of source that a mutant is told by, at least


@dataclass
class Mutant:
    """One break: ``parent.field`` (its ``index``-th, in a list) becomes ``new``."""

    parent: ast.AST
    field: str
    index: int | None
    new: Any
    line: int
    lines: range  # of the statement, whose run shows whether a test reaches it
    inside: bool  # of a function: its code can be exchanged in a process that has imported the module
    name: str = ""  # WHERE: old -> new, the same as long as the code there is

    def swap(self, new: Any) -> Any:
        old = getattr(self.parent, self.field)
        if self.index is None:
            setattr(self.parent, self.field, new)
            return old
        old, old_list = old[self.index], old
        old_list[self.index] = new
        return old

    def compiled(self, tree: ast.Module, path: str) -> CodeType:
        """The whole module's code with this break; the tree is as before afterwards."""
        old = self.swap(self.new)
        try:
            return compile(tree, path, "exec", dont_inherit=True)
        finally:
            self.swap(old)


def mutants_of(source: str) -> tuple[ast.Module, list[Mutant]]:
    """The module's tree, and every break of it in the order of the text."""
    tree = ast.parse(source)
    finder = _Finder()
    finder.block(tree, "body", "", False)
    seen: Counter[str] = Counter()
    for mutant in finder.found:
        seen[mutant.name] += 1
        if seen[mutant.name] > 1:
            mutant.name += f" (#{seen[mutant.name]})"
    return tree, finder.found


class _Finder:
    def __init__(self) -> None:
        self.found: list[Mutant] = []
        self.where = ""
        self.inside = False
        self.statement: ast.stmt
        self.around: list[ast.AST] = []  # from the statement down to the node in hand

    # Statements

    def block(self, parent: ast.AST, field: str, where: str, inside: bool) -> None:
        for index, statement in enumerate(getattr(parent, field)):
            self.where, self.inside = where, inside
            self.visit_statement(statement, parent, field, index)

    def visit_statement(self, statement: ast.stmt, parent: ast.AST, field: str, index: int) -> None:
        where, inside = self.where, self.inside
        self.statement, self.around = statement, [statement]
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{where}.{statement.name}".lstrip(".")
            function = not isinstance(statement, ast.ClassDef)
            if statement.name in MESSAGES:
                return
            if function:
                for position, default in enumerate(statement.args.defaults):
                    self.visit(default, statement.args, "defaults", position)
                for position, default in enumerate(statement.args.kw_defaults):
                    if default is not None:
                        self.visit(default, statement.args, "kw_defaults", position)
            self.block(statement, "body", name, inside or function)
            return
        if isinstance(statement, ast.Raise | ast.Assert | ast.Import | ast.ImportFrom | ast.Global | ast.Nonlocal):
            return
        if isinstance(statement, ast.Expr):
            if isinstance(statement.value, ast.Constant | ast.Yield | ast.YieldFrom):
                if not isinstance(statement.value, ast.Constant):
                    self.children(statement)
                return
            if _called(statement.value) in SILENT_CALLS:
                return
            self.add(parent, field, index, ast.copy_location(ast.Pass(), statement), shown=statement)
        if isinstance(statement, ast.AnnAssign):
            if statement.value is not None:
                self.visit(statement.value, statement, "value", None)
            return
        if isinstance(statement, ast.AugAssign):
            for other in OPERATORS.get(type(statement.op), ()):
                self.add(statement, "op", None, other(), shown=statement)
            plain = ast.Assign(targets=[statement.target], value=statement.value)
            self.add(parent, field, index, ast.copy_location(plain, statement), shown=statement)
            self.visit(statement.value, statement, "value", None)
            return
        if isinstance(statement, ast.If | ast.While):
            self.condition(statement.test, statement, "test", None)
        for name, value in ast.iter_fields(statement):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                self.block(statement, name, where, inside)
            elif isinstance(value, list) and value and isinstance(value[0], ast.ExceptHandler):
                for handler in value:
                    self.block(handler, "body", where, inside)
            else:
                self.where, self.inside, self.statement, self.around = where, inside, statement, [statement]
                self.each(statement, name, value)

    # Expressions

    def children(self, node: ast.AST) -> None:
        for name, value in ast.iter_fields(node):
            self.each(node, name, value)

    def each(self, parent: ast.AST, name: str, value: Any) -> None:
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST):
                self.visit(child, parent, name, index)

    def visit(self, node: ast.AST, parent: ast.AST, field: str, index: int | None) -> None:
        if isinstance(node, ast.JoinedStr | ast.expr_context | ast.operator | ast.unaryop | ast.cmpop | ast.boolop):
            return
        if isinstance(node, ast.Call) and _called(node) in SILENT_CALLS:
            return
        put: Callable[[Any], None] = lambda new: self.add(parent, field, index, new)  # noqa: E731
        self.around.append(node)
        if isinstance(node, ast.Constant):
            for value in _other_numbers(node.value):
                put(ast.Constant(value))
        elif isinstance(node, ast.UnaryOp):
            number = node.operand.value if isinstance(node.operand, ast.Constant) else None
            if isinstance(node.op, ast.USub) and isinstance(number, int | float):
                for value in _other_numbers(-number):
                    put(_number(value))
                self.around.pop()
                return
            put(node.operand)
        elif isinstance(node, ast.BinOp):
            if isinstance(node.op, ast.BitOr) and not self.inside:
                self.around.pop()  # a type
                return
            for other in OPERATORS.get(type(node.op), ()):
                put(ast.BinOp(node.left, other(), node.right))
            put(node.left)
            put(node.right)
        elif isinstance(node, ast.BoolOp):
            for other in OPERATORS[type(node.op)]:
                put(ast.BoolOp(other(), node.values))
            for position in range(len(node.values)):
                rest = node.values[:position] + node.values[position + 1:]
                put(rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest))
        elif isinstance(node, ast.Compare):
            for position, operator in enumerate(node.ops):
                for other in OPERATORS[type(operator)]:
                    operators = list(node.ops)
                    operators[position] = other()
                    put(ast.Compare(node.left, operators, node.comparators))
        elif isinstance(node, ast.IfExp):
            put(ast.IfExp(node.test, node.orelse, node.body))
        elif isinstance(node, ast.Call):
            for new in _other_calls(node):
                put(new)
        elif isinstance(node, ast.comprehension):
            for position in range(len(node.ifs)):
                self.add(node, "ifs", position, ast.Constant(True), shown=parent)
        self.children(node)
        self.around.pop()

    def condition(self, test: ast.expr, parent: ast.AST, field: str, index: int | None) -> None:
        if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant):
            self.around.append(test)
            self.add(parent, field, index, ast.UnaryOp(ast.Not(), test))
            self.around.pop()

    def add(self, parent: ast.AST, field: str, index: int | None, new: ast.AST, shown: ast.AST | None = None) -> None:
        at = shown or self.around[-1]
        line = next(node.lineno for node in (at, *reversed(self.around)) if hasattr(node, "lineno"))
        statement = self.statement
        body = getattr(statement, "body", None)
        end = body[0].lineno - 1 if isinstance(body, list) else statement.end_lineno or statement.lineno
        self._located(new, statement)
        mutant = Mutant(parent, field, index, new, line, range(statement.lineno, max(end, statement.lineno) + 1),
                        self.inside)
        show = shown
        if show is None:
            wide = [node for node in self.around if isinstance(node, ast.expr)]
            show = next((node for node in reversed(wide) if len(_text(node)) >= SHOWN), wide[0] if wide else statement)
        mutant.name = self._named(mutant, show)
        self.found.append(mutant)

    def _located(self, new: ast.AST, like: ast.AST) -> None:
        for node in ast.walk(new):
            if not hasattr(node, "lineno") and "lineno" in node._attributes:
                ast.copy_location(node, like)

    def _named(self, mutant: Mutant, show: ast.AST) -> str:
        where = self.where or "module"
        before = _text(show)
        if isinstance(show, ast.stmt) and mutant.new is not show and isinstance(mutant.new, ast.stmt):
            return f"{where}: {before} -> {_text(mutant.new)}"
        if getattr(mutant.parent, mutant.field) is show or (
                mutant.index is not None and getattr(mutant.parent, mutant.field)[mutant.index] is show):
            return f"{where}: {before} -> {_text(mutant.new)}"
        old = mutant.swap(mutant.new)
        after = _text(show)
        mutant.swap(old)
        return f"{where}: {before} -> {after}"


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


def _called(node: ast.AST) -> str:
    """The last name of what is called."""
    function = node.func if isinstance(node, ast.Call) else None
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _number(value: Any) -> ast.expr:
    return ast.UnaryOp(ast.USub(), ast.Constant(-value)) if value < 0 else ast.Constant(value)


def _other_numbers(value: Any) -> Iterator[Any]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
        yield value - 1
    elif isinstance(value, float):
        yield value * 2 if value else 1.0
        if value:
            yield 0.0


def _other_calls(node: ast.Call) -> Iterator[ast.expr]:
    """The call by another name, left out, and with its first two arguments the other way round."""
    name = _called(node)
    function = node.func
    for other in INSTEAD.get(name, ()):
        renamed = (ast.Attribute(function.value, other, ast.Load()) if isinstance(function, ast.Attribute)
                   else ast.Name(other, ast.Load()))
        yield ast.Call(renamed, node.args, node.keywords)
    if name in LEFT_OUT:
        library = isinstance(function, ast.Attribute) and getattr(function.value, "id", "") in (
            "torch", "F", "math", "np", "self", "functional")
        if isinstance(function, ast.Name) or library:
            if node.args:
                yield node.args[0]
        elif isinstance(function, ast.Attribute):
            yield function.value
    first = node.args[:2]
    plain = not any(isinstance(argument, ast.Constant | ast.Starred) for argument in first)
    if len(first) == 2 and plain and ast.dump(first[0]) != ast.dump(first[1]):
        yield ast.Call(function, [first[1], first[0], *node.args[2:]], node.keywords)
