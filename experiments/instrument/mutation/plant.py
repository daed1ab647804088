"""Plant a defect in a live function: swap its code for the mutated one, and put it back.

Nothing is imported again, so whoever holds the function runs the mutated code: modules that imported it by name,
JAX's transformations of it, methods of objects that exist, and the functions that it made before.
"""

import ast
import contextlib
import gc
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import jax

from experiments.instrument.mutation.find import Assigned, Mutant, mutated, source
from parity.errors import CannotCompare


@contextlib.contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """While inside, our code has this defect.

    Raises:
        CannotCompare: the source has no such mutant, or nothing live was made from that source.
    """
    module = module_of(mutant.file)
    tree, assigned = mutated(mutant, source(mutant.file))
    swap = _reassigned(module, assigned) if assigned else _swapped(module, mutant.function, tree)
    with swap, _no_compiled_programs():
        yield


@contextlib.contextmanager
def edited(module: ModuleType, function: str, old: str, new: str) -> Iterator[None]:
    """While inside, a function's source reads `new` in the place of `old`.

    Args:
        module: of the function.
        function: its qualified name.
        old: a text that its source holds once.
        new: what to read instead.

    Raises:
        CannotCompare: the source does not hold `old`, or more than once.
    """
    text = Path(inspect.getsourcefile(module) or "").read_text()
    node = _definition(ast.parse(text), function)
    lines = text.splitlines(keepends=True)
    body = "".join(lines[node.lineno - 1 : node.end_lineno])
    if body.count(old) != 1:
        raise CannotCompare(
            f"{function} holds {old!r} {body.count(old)} times, but an edit needs exactly one."
        )
    before, after = "".join(lines[: node.lineno - 1]), "".join(lines[node.end_lineno :])
    tree = ast.parse(before + body.replace(old, new) + after)
    with _swapped(module, function, tree), _no_compiled_programs():
        yield


def module_of(file: str) -> ModuleType:
    """The module of a file of ours."""
    return importlib.import_module(file.removesuffix(".py").replace("/", "."))


def live_function(module: ModuleType, name: str) -> FunctionType:
    """The plain function under a qualified name, whatever wraps it: a property, jit, custom_jvp, a type checker.

    Raises:
        CannotCompare: there is none.
    """
    found: Any = module
    for part in name.split("."):
        found = vars(found).get(part)
    wrapped = True
    while wrapped:
        wrapped = False
        for attribute in ("__wrapped__", "fget", "__func__", "fun"):
            inner = getattr(found, attribute, None)
            if inner is not None:
                found, wrapped = inner, True
                break
    if not isinstance(found, FunctionType) or found.__code__.co_qualname != name:
        raise CannotCompare(f"{module.__name__} has no function {name} whose code could be changed.")
    return found


@contextlib.contextmanager
def _swapped(module: ModuleType, name: str, tree: ast.Module) -> Iterator[None]:
    """A function with the code and the defaults that it has in another tree of its module."""
    function = live_function(module, name)
    code = _code(compile(tree, function.__code__.co_filename, "exec"), name)
    arguments = _definition(tree, name).args
    # By hand, since a type checker's wrapper may have put a cell where the plain source has none.
    if code.co_freevars != function.__code__.co_freevars:
        raise CannotCompare(f"{name} closes over other names than its source, so its code cannot be changed.")
    kept = function.__code__, function.__defaults__, function.__kwdefaults__
    defaults = tuple(_value(default, module) for default in arguments.defaults)
    keywords = {
        argument.arg: _value(default, module)
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is not None
    }
    inner = _closures(function.__code__, code)
    before = [(closure, closure.__code__) for closure, _ in inner]
    try:
        function.__code__, function.__defaults__, function.__kwdefaults__ = code, defaults, keywords
        for closure, changed in inner:
            closure.__code__ = changed
        yield
    finally:
        function.__code__, function.__defaults__, function.__kwdefaults__ = kept
        for closure, original in before:
            closure.__code__ = original


def _closures(old: CodeType, new: CodeType) -> list[tuple[FunctionType, CodeType]]:
    """The functions that were made inside a function before, such as a rule of a primitive, and their changed code."""
    parts = [[one for one in code.co_consts if isinstance(one, CodeType)] for code in (old, new)]
    # Where an edit adds or takes a function away, none can be told to be which.
    pairs = zip(*parts, strict=True) if len(parts[0]) == len(parts[1]) else ()
    changed = [pair for pair in pairs if pair[0] != pair[1]]
    if not changed:
        return []
    functions = [one for one in gc.get_objects() if type(one) is FunctionType]
    found = []
    for one, other in changed:
        if one.co_freevars == other.co_freevars:
            found += [(function, other) for function in functions if function.__code__ is one]
        found += _closures(one, other)
    return found


@contextlib.contextmanager
def _reassigned(module: ModuleType, assigned: Assigned) -> Iterator[None]:
    """A constant of a module or a class with another value; a field of a dataclass with another default."""
    owner: Any = getattr(module, assigned.owner) if assigned.owner else module
    value = _value(assigned.value, module)
    kept = {name: vars(owner)[name] for name in assigned.names}
    with contextlib.ExitStack() as stack:
        for name in assigned.names:
            stack.callback(setattr, owner, name, kept[name])
            setattr(owner, name, value)
            if name in getattr(owner, "__dataclass_fields__", {}):
                stack.enter_context(_default(inspect.unwrap(owner.__init__), name, value))
        yield


@contextlib.contextmanager
def _default(function: FunctionType, name: str, value: object) -> Iterator[None]:
    """A function with another default for one of its positional arguments."""
    kept = function.__defaults__ or ()
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    number = arguments.index(name) - (len(arguments) - len(kept))
    function.__defaults__ = (*kept[:number], value, *kept[number + 1 :])
    try:
        yield
    finally:
        function.__defaults__ = kept


@contextlib.contextmanager
def _no_compiled_programs() -> Iterator[None]:
    """No program that was traced outside is used inside, nor the other way round."""
    jax.clear_caches()
    try:
        yield
    finally:
        jax.clear_caches()


def _definition(tree: ast.Module, name: str) -> ast.FunctionDef:
    body: list[ast.stmt] = tree.body
    *classes, last = name.split(".")
    for one in classes:
        body = next(n.body for n in body if isinstance(n, ast.ClassDef) and n.name == one)
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == last:
            return node
    raise CannotCompare(f"The source has no function {name}.")


def _code(code: CodeType, name: str) -> CodeType:
    """The code of a function or method in the code of its module."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    for one in inner:
        if one.co_qualname == name:
            return one
        if name.startswith(f"{one.co_qualname}."):
            return _code(one, name)
    raise CannotCompare(f"The source has no function {name}.")


def _value(node: ast.expr, module: ModuleType) -> Any:
    expression = ast.fix_missing_locations(ast.Expression(node))
    return eval(compile(expression, module.__name__, "eval"), vars(module))
