"""The changes of one node of a syntax tree: an operator, a constant, a condition or a name becomes another."""

import ast
import functools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

SWAPS = [
    ("arithmetic", ast.Add, ast.Sub),
    ("arithmetic", ast.Mult, ast.Div),
    ("comparison", ast.Lt, ast.LtE),
    ("comparison", ast.Gt, ast.GtE),
    ("comparison", ast.Eq, ast.NotEq),
    ("comparison", ast.Is, ast.IsNot),
    ("comparison", ast.In, ast.NotIn),
    ("logic", ast.And, ast.Or),
    ("logic", ast.BitAnd, ast.BitOr),
]
OPERATORS: dict[type, tuple[str, type]] = {
    **{first: (family, second) for family, first, second in SWAPS},
    **{second: (family, first) for family, first, second in SWAPS},
    # These have no opposite.
    ast.FloorDiv: ("arithmetic", ast.Mult),
    ast.Mod: ("arithmetic", ast.FloorDiv),
    ast.Pow: ("arithmetic", ast.Mult),
}
SYMBOLS: dict[type, str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.And: "and",
    ast.Or: "or",
    ast.BitAnd: "&",
    ast.BitOr: "|",
}
# Functions that are easily confused, called as names or as attributes of jnp, np or jax.lax.
_FUNCTIONS = {
    "maximum": "minimum",
    "minimum": "maximum",
    "max": "min",
    "min": "max",
    "zeros": "ones",
    "ones": "zeros",
    "rsqrt": "sqrt",
    "sqrt": "square",
    "square": "abs",
    "sign": "abs",
    "cos": "sin",
    "expm1": "exp",
    "log_softmax": "softmax",
    "any": "all",
    "all": "any",
    "reversed": "list",
}
# Only as attributes: the built-in of that name differs, or has no counterpart.
_METHODS = {"sum": "mean", "mean": "sum"}
FAMILIES = (
    "arithmetic",
    "comparison",
    "logic",
    "condition",
    "sign",
    "constant",
    "flag",
    "function",
    "branches",
)


class Change(NamedTuple):
    """One possible change of a node.

    Attributes:
        family: one of FAMILIES.
        location: the node whose line and column name the change.
        what: the change in words, such as "+ -> -".
        make: applies the change to the tree, in place.
    """

    family: str
    location: ast.expr
    what: str
    make: Callable[[], None]


def changes(node: ast.AST) -> Iterator[Change]:
    """Every change of a node itself, without the nodes below it."""
    if isinstance(node, ast.BinOp):
        yield from _operator(node, node.right, node.op)
    elif isinstance(node, ast.AugAssign):
        yield from _operator(node, node.value, node.op)
    elif isinstance(node, ast.BoolOp):
        yield from _operator(node, node.values[1], node.op)
        for number, value in enumerate(node.values):
            yield from _negated(value, functools.partial(node.values.__setitem__, number))
    elif isinstance(node, ast.Compare):
        for number, (operator, right) in enumerate(zip(node.ops, node.comparators, strict=True)):
            yield from _operator(node, right, operator, number)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield Change("sign", node, "drop -", lambda: _set(node, op=ast.UAdd()))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        # `not not x` and not `x`: the value stays a bool.
        inner = ast.UnaryOp(ast.Not(), node.operand)
        yield Change("logic", node, "drop not", lambda: _set(node, operand=inner))
    elif isinstance(node, ast.Constant):
        yield from _constant(node)
    elif isinstance(node, ast.If | ast.IfExp):
        yield from _negated(node.test, lambda test: _set(node, test=test))
    elif isinstance(node, ast.Call):
        yield from _call(node)


def _operator(node: ast.AST, location: ast.expr, operator: ast.AST, number: int = 0) -> Iterator[Change]:
    if type(operator) not in OPERATORS:
        return
    family, other = OPERATORS[type(operator)]
    what = f"{SYMBOLS[type(operator)]} -> {SYMBOLS[other]}"

    def make() -> None:
        if isinstance(node, ast.Compare):
            node.ops[number] = other()
        else:
            _set(node, op=other())

    yield Change(family, location, what, make)


def _negated(test: ast.expr, put: Callable[[ast.expr], None]) -> Iterator[Change]:
    """Negate a condition that is a name or a call, because it has no operator to swap."""
    if isinstance(test, ast.Name | ast.Attribute | ast.Subscript | ast.Call):
        negation = ast.copy_location(ast.UnaryOp(ast.Not(), test), test)
        yield Change("condition", test, "condition negated", lambda: put(negation))


def _constant(node: ast.Constant) -> Iterator[Change]:
    value = node.value
    if isinstance(value, bool):
        yield _valued("flag", node, not value)
    elif isinstance(value, int):
        yield _valued("constant", node, value + 1)
    elif isinstance(value, float) and math.isfinite(value):
        # Rounded, because its name would be 0.10099999999999999.
        yield _valued("constant", node, float(f"{1.01 * value:.12g}") if value else 1.0)


def _valued(family: str, node: ast.Constant, value: bool | int | float) -> Change:
    return Change(family, node, f"{node.value!r} -> {value!r}", lambda: _set(node, value=value))


def _call(node: ast.Call) -> Iterator[Change]:
    yield from _renamed(node.func)
    for argument in node.args:
        # A function may be an argument: functools.reduce(jnp.maximum, values).
        yield from _renamed(argument)
    if isinstance(node.func, ast.Attribute) and node.func.attr == "where" and len(node.args) == 3:
        swapped = [node.args[0], node.args[2], node.args[1]]
        yield Change("branches", node, "where: branches swapped", lambda: _set(node, args=swapped))


def _renamed(function: ast.expr) -> Iterator[Change]:
    if isinstance(function, ast.Attribute) and function.attr in _FUNCTIONS | _METHODS:
        other = (_FUNCTIONS | _METHODS)[function.attr]
        what = f"{function.attr} -> {other}"
        yield Change("function", function, what, lambda: _set(function, attr=other))
    elif isinstance(function, ast.Name) and function.id in _FUNCTIONS:
        other = _FUNCTIONS[function.id]
        yield Change("function", function, f"{function.id} -> {other}", lambda: _set(function, id=other))


def _set(node: ast.AST, **fields: object) -> None:
    for name, value in fields.items():
        setattr(node, name, value)
