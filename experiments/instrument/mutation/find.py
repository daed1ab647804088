"""Finds every mutant of a source file, from its syntax tree.

Code that guards arguments is left out: functions that check or require, calls of them, branches that only raise,
handlers of exceptions. Code that acts only when the module is imported is left out too: decorators, base classes,
annotations.
"""

import ast
import dataclasses
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeGuard

from experiments.instrument.mutation.changes import changes
from parity.errors import CannotCompare

ROOT = Path(__file__).parents[3]
# Without `choice.py`: all its choices compute the same, and tests/flaxcnn/ops/cpu/test_fast_rules.py tests them.
FILES = (
    *sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "flaxcnn" / "ops").rglob("[!_]*.py")
        if path.name != "choice.py"
    ),
    "flaxcnn/models/layers.py",
    "flaxcnn/models/blocks.py",
    *(f"flaxcnn/optim/{name}.py" for name in ("rules", "clipping", "schedules", "optimisers")),
)
_GUARD = re.compile(r"_?(check|require)(_|$)")


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        file: the path from the repository's root.
        function: the qualified name of the outermost function or method with the change; "" outside functions.
        line, column: the position of the change.
        what: the change in words, such as "+ -> -".
        family: see `experiments.instrument.mutation.changes.FAMILIES`.
        first, last: the lines of the changed statement; a case must run one of them to see the change.
        text: the changed line.
    """

    file: str
    function: str
    line: int
    column: int
    what: str
    family: str
    first: int
    last: int
    text: str

    @property
    def name(self) -> str:
        """`file:function:line:column:what`, unique."""
        return f"{self.file}:{self.function}:{self.line}:{self.column}:{self.what}"


class Site(NamedTuple):
    """A mutant; `make` applies it to the tree of its site; `assigned` is its assignment if it is outside functions."""

    mutant: Mutant
    make: Callable[[], None]
    assigned: "Assigned | None"


class Assigned(NamedTuple):
    """An assignment in a module, or in a class of it (`owner`, else "")."""

    owner: str
    names: tuple[str, ...]
    value: ast.expr


def source(file: str) -> str:
    """The text of a source file."""
    return (ROOT / file).read_text()


def mutants(text: str, file: str) -> list[Mutant]:
    """Every mutant of a source text, in the order of the source."""
    return list(_mutants(text, file))


@functools.cache
def _mutants(text: str, file: str) -> tuple[Mutant, ...]:
    unsorted = (site.mutant for site in sites(ast.parse(text), text, file))
    return tuple(sorted(unsorted, key=lambda mutant: (mutant.line, mutant.column, mutant.what)))


def all_mutants() -> list[Mutant]:
    """Every mutant of every file."""
    return [mutant for file in FILES for mutant in mutants(source(file), file)]


def mutated(mutant: Mutant, text: str) -> tuple[ast.Module, "Assigned | None"]:
    """The tree of a source text with one mutant, and the changed assignment if it is outside functions.

    Raises:
        CannotCompare: the text has no such mutant.
    """
    tree = ast.parse(text)
    for site in sites(tree, text, mutant.file):
        if site.mutant.name == mutant.name:
            site.make()
            return ast.fix_missing_locations(tree), site.assigned
    raise CannotCompare(f"There is no mutant {mutant.name}: the source was edited since it was found.")


def sites(tree: ast.Module, text: str, file: str) -> Iterator[Site]:
    """Every site of a tree; a site's `make` changes that tree."""
    finder = _Finder(text.splitlines(), file)
    for statement in tree.body:
        yield from finder.statement(statement)


class _Finder:
    """Walks a tree; keeps track of the classes, the outermost function and the statement that it is in."""

    def __init__(self, lines: list[str], file: str) -> None:
        self.lines, self.file = lines, file
        self.classes: list[ast.ClassDef] = []
        self.function = ""
        self.first = self.last = 0
        self.assigned: Assigned | None = None

    def statement(self, node: ast.stmt) -> Iterator[Site]:
        """The sites of a statement."""
        if _guards(node):
            return
        if isinstance(node, ast.ClassDef):
            self.classes.append(node)
            for inner in node.body:
                yield from self.statement(inner)
            self.classes.pop()
        elif isinstance(node, ast.FunctionDef):
            yield from self._function(node)
        elif self.function:
            yield from self._parts(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            yield from self._assignment(node, node.value)

    def _assignment(self, node: ast.Assign | ast.AnnAssign, value: ast.expr) -> Iterator[Site]:
        """The sites of an assignment outside functions; it acts in all methods of its class, or in all of its file."""
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr):
            return  # a union of types
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = tuple(target.id for target in targets if isinstance(target, ast.Name))
        self.assigned = Assigned(".".join(self._path()), names, value)
        owner = self.classes[-1] if self.classes else None
        if owner is not None and any(isinstance(member, ast.FunctionDef) for member in owner.body):
            self.first, self.last = owner.lineno, owner.end_lineno or owner.lineno
        else:
            self.first, self.last = 1, len(self.lines)
        yield from self._expression(value)
        self.assigned = None

    def _path(self) -> list[str]:
        return [node.name for node in self.classes]

    def _function(self, node: ast.FunctionDef) -> Iterator[Site]:
        outermost = not self.function
        if outermost:
            self.function = ".".join([*self._path(), node.name])
            # A default acts wherever the function is called.
            self.first, self.last = node.body[0].lineno, node.end_lineno or node.lineno
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                yield from self._expression(default)
        for inner in node.body:
            yield from self.statement(inner)
        if outermost:
            self.function = ""

    def _parts(self, node: ast.stmt) -> Iterator[Site]:
        """The sites of a statement in a function: those of its expressions, then of its statements."""
        blocks = [getattr(node, name, []) for name in ("body", "orelse", "finalbody")]
        inner = [statement for block in blocks for statement in block]
        span = node.lineno, (inner[0].lineno - 1 if inner else node.end_lineno) or node.lineno
        if not (isinstance(node, ast.If) and _only_raises(node.body)):
            self.first, self.last = span[0], max(span)
            yield from self._changes(node)
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr) and child is not getattr(node, "annotation", None):
                    yield from self._expression(child)
        else:
            inner = node.orelse
        for statement in inner:
            yield from self.statement(statement)

    def _expression(self, node: ast.AST) -> Iterator[Site]:
        yield from self._changes(node)
        for child in ast.iter_child_nodes(node):
            if not (_is_type_check(node) and child is node.args[1]):
                yield from self._expression(child)

    def _changes(self, node: ast.AST) -> Iterator[Site]:
        for change in changes(node):
            line = change.location.lineno
            mutant = Mutant(
                self.file,
                self.function,
                line,
                change.location.col_offset,
                change.what,
                change.family,
                self.first,
                self.last,
                self.lines[line - 1].strip(),
            )
            yield Site(mutant, change.make, self.assigned)


def _is_type_check(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether an expression is `isinstance(x, types)`; its types are not mutated."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance"


def _guards(node: ast.stmt) -> bool:
    """Whether a statement only guards arguments, or is a docstring."""
    if isinstance(node, ast.Raise | ast.Assert):
        return True
    if isinstance(node, ast.FunctionDef):
        return bool(_GUARD.match(node.name))
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        function = node.value.func
        return isinstance(function, ast.Name) and bool(_GUARD.match(function.id))
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _only_raises(body: list[ast.stmt]) -> bool:
    """Whether a branch only raises, perhaps after it built the message."""
    return isinstance(body[-1], ast.Raise) and all(
        isinstance(statement, ast.Assign) for statement in body[:-1]
    )
