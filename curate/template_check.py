"""What of Jinja an expression or a template may say, looked at before any of it is run."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.environment import Environment
from jinja2.visitor import NodeTransformer

LAZY = ["map", "select", "selectattr", "reject", "rejectattr"]
"""Filters that are told another filter or a test by its name."""
ORDERS = ["==", "eq", "equalto", "!=", "ne", ">", "gt", "greaterthan", ">=", "ge", "<", "lt", "lessthan", "<=", "le"]
"""Tests that compare."""
NODE = 64
"""Characters that a value, or a step of a template, counts as."""
STATEMENTS = (
    nodes.Template,
    nodes.Output,
    nodes.For,
    nodes.If,
    nodes.Assign,
    nodes.AssignBlock,
    nodes.With,
    nodes.Block,
    nodes.Macro,
    nodes.CallBlock,
    nodes.FilterBlock,
    nodes.ExprStmt,
    nodes.Break,
    nodes.Continue,
)
"""Statements that templates may have: none that reaches another template."""


class Checked(NodeTransformer):
    """Refuses what may not be named, and has what is made counted by filters of names that no expression can say.

    Args:
        environment: knows the filters, tests and functions; a method that may be called is its filter `.name`.

    Raises:
        TemplateError: of what is refused, with its line, where that is not the first.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.repeated = False
        """Whether within what may run several times."""
        self.within_literal = False
        """Whether within a list, tuple or object that is counted with all that is in it."""
        self.functions = {"caller", *environment.globals}

    def _filter(self, node: nodes.Node, name: str, args: Iterable[nodes.Expr] = ()) -> nodes.Filter:
        made = nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)
        return made.set_environment(self.environment)  # type: ignore[return-value]

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if isinstance(node, nodes.Stmt) and not isinstance(node, STATEMENTS):
            raise self._refused(node, f"{type(node).__name__.lower()} is no statement that templates have here")
        return super().generic_visit(node, *args, **kwargs)

    def _refused(self, node: nodes.Node, message: str) -> TemplateError:
        return TemplateError(message if node.lineno in (None, 1) else f"line {node.lineno}: {message}")

    def _expect(self, node: nodes.Node, kind: str, name: str, known: Iterable[str]) -> None:
        names = [each for each in known if each.isidentifier() or each in ORDERS]
        if name not in names:
            near = get_close_matches(name, names, 1, 0.7)
            said = f"; did you mean {near[0]}?" if near else ""
            raise self._refused(node, f"No {kind} named {name!r} may be used{said}; docs/expressions.md has them all")

    def visit_Template(self, node: nodes.Template) -> nodes.Node:
        self.functions |= {macro.name for macro in node.find_all(nodes.Macro)}
        return self.generic_visit(node)

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        if node.name.isidentifier() or "." in node.name:
            self._expect(node, "filter", node.name, self.environment.filters)
        if node.name in LAZY:
            place = int(node.name in ("selectattr", "rejectattr"))
            if node.dyn_args is not None:
                raise self._refused(node, f"{node.name} takes its arguments one by one, not as *list")
            for told in node.args[place : place + 1]:
                if not (isinstance(told, nodes.Const) and isinstance(told.value, str)):
                    raise self._refused(node, f"{node.name} takes a name in quotes, not a value")
                kind, known = ("filter", "filters") if node.name == "map" else ("test", "tests")
                self._expect(node, kind, told.value, getattr(self.environment, known))
        return self.generic_visit(node)

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        self._expect(node, "test", node.name, self.environment.tests)
        return self.generic_visit(node)

    def visit_Name(self, node: nodes.Name) -> nodes.Node:
        if node.name in ("self", "super"):
            raise self._refused(
                node, f"`{node.name}` is Jinja's own; write _row[{node.name!r}] for a column of that name"
            )
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        if isinstance(node.node, nodes.Getattr):
            name = node.node.attr
            self._expect(node, "method", name, [each[1:] for each in self.environment.filters if each.startswith(".")])
            args = [self.visit(each) for each in (node.node.node, *node.args)]
            call = self._filter(args[0], f".{name}", args[1:])
            call.kwargs = [self.visit(each) for each in node.kwargs]
            if node.dyn_args is not None or node.dyn_kwargs is not None:
                raise self._refused(node, f"{name}() takes its arguments one by one, not as *list or **object")
            return call
        if not isinstance(node.node, nodes.Name):
            raise self._refused(node, "only methods that are named can be called, as text.strip()")
        self._expect(node, "function", node.node.name, self.functions)
        return self.generic_visit(node)

    def visit_NSRef(self, node: nodes.NSRef) -> nodes.Node:
        if node.attr.startswith("_"):
            raise self._refused(node, f"set {node.name}.{node.attr}: names in a namespace do not begin with _")
        return node

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:
        for target in (node.target, *node.target.find_all(nodes.NSRef)):
            if not isinstance(target, nodes.NSRef):
                continue
            # Jinja would not see to it that it is a namespace, and change what all rows share.
            place = f"{target.name}.{target.attr}"
            raise self._refused(node, f"set {place}: a block sets a plain name; then write set {place} = name")
        return self.generic_visit(node)

    def visit_Pow(self, node: nodes.Pow) -> nodes.Node:
        raise self._refused(node, "**: expressions take no powers")

    def visit_Mul(self, node: nodes.Mul) -> nodes.Node:
        return self._numbers(node)

    def visit_Mod(self, node: nodes.Mod) -> nodes.Node:
        return self._numbers(node)

    def _numbers(self, node: nodes.BinExpr) -> nodes.Node:
        for side in (node.left, node.right):
            if isinstance(side, (nodes.List, nodes.Tuple, nodes.Dict, nodes.Concat)) or (
                isinstance(side, nodes.Const) and isinstance(side.value, str)
            ):
                raise self._refused(node, f"{node.operator}: of numbers only; join texts by ~")
        return self.generic_visit(node)

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return self._literal(node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        return self._literal(node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        return self._literal(node) if node.ctx == "load" else self.generic_visit(node)

    def _literal(self, node: nodes.Expr) -> nodes.Node:
        outermost, self.within_literal = not self.within_literal, True
        self.generic_visit(node)
        self.within_literal = not outermost
        if not outermost or all(isinstance(leaf, (nodes.Const, nodes.Filter)) for leaf in _leaves(node)):
            return node  # what a filter gives has been counted
        return self._filter(node, " made")

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        parts = [self.visit(each) for each in node.nodes]
        return self._filter(parts[0], " concatenated", parts[1:])

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        sliced = isinstance(node.arg, nodes.Slice)
        self.generic_visit(node)
        return self._filter(node, " made") if sliced else node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        if self.repeated:
            node.expr = self._filter(node.expr, " made")
            for operand in node.ops:
                operand.expr = self._filter(operand.expr, " made")
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            raise self._refused(node, "for: loops cannot be recursive here")
        size = nodes.Const(_size(node))
        self._repeat(node)
        node.iter = self._filter(node.iter, " looped", [size])
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        return self._macro(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:
        return self._macro(node)

    def _macro(self, node: nodes.Macro | nodes.CallBlock) -> nodes.Node:
        size = nodes.Const(_size(node))
        self._repeat(node)
        node.body.insert(0, nodes.ExprStmt(self._filter(nodes.Const(None), " spent", [size]), lineno=node.lineno))
        return node

    def _repeat(self, node: nodes.Node) -> None:
        within, self.repeated = self.repeated, True
        self.generic_visit(node)
        self.repeated = within


def _leaves(node: nodes.Node) -> Iterator[nodes.Node]:
    if isinstance(node, (nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair)):
        for each in node.iter_child_nodes():
            yield from _leaves(each)
    else:
        yield node


def _size(node: nodes.Node) -> int:
    """What one pass through a statement costs, in nodes."""
    text: int = sum(len(each.data) for each in node.find_all(nodes.TemplateData))
    return sum(1 for _ in node.find_all(nodes.Node)) + text // NODE
